"""Asset checks on `results`: every request accounted for, and not too many of them failed."""

import dagster as dg

from batch_pipeline.model import UNPARTITIONED, PartitionCounts
from batch_pipeline.orchestration.assets import asset_key
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.spec import BatchJob


def build_checks(job: BatchJob) -> list[dg.AssetChecksDefinition]:
    """`every_request_accounted_for` (error) and `failed_ratio` (warning) of *job*."""
    return [_accounted_for(job), _failed_ratio(job)]


def _accounted_for(job: BatchJob) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(job, "results"),
        name="every_request_accounted_for",
        description="Rows in `results` equal requests built: succeeded, or failed with a kind.",
    )
    def check(
        context: dg.AssetCheckExecutionContext, pipeline: PipelineResource
    ) -> dg.AssetCheckResult:
        counts = _counts(context, pipeline, job)
        lost = {c.partition: gap for c in counts if (gap := c.requests - c.succeeded - c.failed)}
        return dg.AssetCheckResult(
            passed=not lost,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "requests": sum(c.requests for c in counts),
                "rows": sum(c.succeeded + c.failed for c in counts),
                "partitions with a gap": dg.MetadataValue.json(lost),
            },
        )

    return check


def _failed_ratio(job: BatchJob) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(job, "results"),
        name="failed_ratio",
        description=f"At most {job.max_failed_ratio:.1%} of the rows failed (max_failed_ratio).",
    )
    def check(
        context: dg.AssetCheckExecutionContext, pipeline: PipelineResource
    ) -> dg.AssetCheckResult:
        counts = _counts(context, pipeline, job)
        rows = sum(c.requests for c in counts)
        failed = sum(c.failed for c in counts)
        ratio = failed / rows if rows else 0.0
        return dg.AssetCheckResult(
            passed=ratio <= job.max_failed_ratio,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "failed": failed,
                "requests": rows,
                "failed ratio": round(ratio, 6),
                "allowed": job.max_failed_ratio,
                "will be retried": sum(c.retryable for c in counts),
            },
        )

    return check


def _counts(
    context: dg.AssetCheckExecutionContext, pipeline: PipelineResource, job: BatchJob
) -> list[PartitionCounts]:
    """The ledger's counts of the partitions this run is about; all known ones without a run's."""
    run = context.op_execution_context
    with pipeline.open(job) as shell:
        known = {name: summary.counts for name, (_, summary) in shell.steps().items()}
    if job.partitions.kind == "none":
        names = [UNPARTITIONED]
    else:
        ranged = run.has_partition_key or run.has_partition_key_range
        names = list(run.partition_keys) if ranged else list(known)
    return [known[name] for name in names if name in known]
