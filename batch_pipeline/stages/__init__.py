"""Bulk work on columns: files in, files out, no row in Python on the hot path."""
