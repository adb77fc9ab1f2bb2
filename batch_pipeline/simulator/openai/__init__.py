"""OpenAI as a caller sees it: files, batches, and the lines in them."""
