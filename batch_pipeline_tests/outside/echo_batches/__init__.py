"""Echo: a provider whose batches are files in a folder, and whose answers are the requests."""
