"""Bulk work on columns, from files to files."""
