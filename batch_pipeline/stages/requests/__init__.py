"""From the dataset's rows to request lines and the request table."""
