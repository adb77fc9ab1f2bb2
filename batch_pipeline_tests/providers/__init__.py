"""Tests of the wire formats and SDK clients."""
