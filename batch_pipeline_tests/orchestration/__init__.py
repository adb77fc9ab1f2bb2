"""Tests of the Dagster skin, run in this process over a simulated provider."""
