"""OpenAI's Batch API, and services that speak it."""
