"""Dated prices with their source."""
