"""Tests of the Dagster component: job files that load, and errors that name the place."""
