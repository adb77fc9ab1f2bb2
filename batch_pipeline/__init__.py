"""Parquet datasets through LLM batch APIs: nothing paid is lost, every cent is known."""
