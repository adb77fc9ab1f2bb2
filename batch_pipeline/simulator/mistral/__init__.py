"""Mistral as a caller sees it: files, batch jobs, and the lines in them."""
