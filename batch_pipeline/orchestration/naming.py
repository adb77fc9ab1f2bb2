"""What Dagster knows our things by: asset keys, steps, and the partitions of a run."""

import dagster as dg

from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.spec import BatchJob

SUBMIT, COLLECT, RETRY_FAILED = "submit", "collect", "retry_failed"


def asset_key(job: BatchJob, step: str) -> dg.AssetKey:
    """`<job>/<step>`."""
    return dg.AssetKey([job.name, step])


def asset_job(job: BatchJob, name: str) -> str:
    """`<job>_<name>`."""
    return f"{job.name}_{name}"


def retry_op(job: BatchJob) -> str:
    """What the op of `<job>_retry_failed` is called in a run's config."""
    return f"{job.name}__batches"


def partition_names(context: dg.AssetExecutionContext, job: BatchJob) -> list[str]:
    """The partitions this run is about; `all` for an unpartitioned job."""
    return [UNPARTITIONED] if job.partitions.kind == "none" else list(context.partition_keys)


def partition_of(job: BatchJob, name: str) -> str | None:
    """The partition as Dagster's events name it: an unpartitioned job's has no name there."""
    return None if job.partitions.kind == "none" else name
