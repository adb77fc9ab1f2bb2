"""The shell: the only place that joins the rooms; it imports no Dagster."""

from batch_pipeline.pipeline.shell import Pipeline

__all__ = ["Pipeline"]
