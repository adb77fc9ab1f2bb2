"""The Dagster component: one YAML file is one job."""

from batch_pipeline.components.batch_job import BatchJobComponent

__all__ = ["BatchJobComponent"]
