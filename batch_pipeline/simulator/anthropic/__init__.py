"""Anthropic's Message Batches as a caller sees them."""
