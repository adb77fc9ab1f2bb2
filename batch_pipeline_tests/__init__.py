"""Behaviour of batch_pipeline, a sentence a test."""
