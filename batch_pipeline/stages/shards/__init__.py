"""From pending requests to the files that are sent."""
