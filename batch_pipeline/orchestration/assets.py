"""The assets of one job: each fetches the resource, makes one call, and returns numbers."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from batch_pipeline.errors import UsageError
from batch_pipeline.model import UNPARTITIONED, FailureKind
from batch_pipeline.orchestration import metadata
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.orchestration.surfacing import failure, surfaced
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.shards import Only

STEPS = ("requests", "batches", "results", "cost_report")


class BatchesConfig(dg.Config):
    """What a by-hand retry sends again; empty means: whatever the job's own policy says."""

    failure_kinds: list[str] = Field(default_factory=list)
    custom_ids: list[str] = Field(default_factory=list)
    failed_in_run: str | None = None
    lost: bool = False

    def only(self) -> Only | None:
        """The selection, or None when nothing was named."""
        known = {kind.value for kind in FailureKind}
        unknown = sorted(set(self.failure_kinds) - known)
        if unknown:
            raise UsageError(
                f"failure_kinds {', '.join(unknown)}: not known; "
                f"there are {', '.join(sorted(known))}."
            )
        if not (self.failure_kinds or self.custom_ids or self.failed_in_run):
            return None
        return Only(
            custom_ids=tuple(self.custom_ids),
            kinds=tuple(self.failure_kinds),
            run_id=self.failed_in_run,
        )


def asset_key(job: BatchJob, step: str) -> dg.AssetKey:
    """`<job>/<step>`."""
    return dg.AssetKey([job.name, step])


def build_assets(job: BatchJob) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """`dataset` (external), `requests`, `batches`, `results` and `cost_report` of *job*."""
    return [_dataset(job), _requests(job), _batches(job), _results(job), _cost_report(job)]


def partition_names(context: dg.AssetExecutionContext, job: BatchJob) -> list[str]:
    """The partitions this run is about; `all` for an unpartitioned job."""
    return [UNPARTITIONED] if job.partitions.kind == "none" else list(context.partition_keys)


def _dataset(job: BatchJob) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(job, "dataset"),
        group_name=job.name,
        partitions_def=partitions_def(job.partitions),
        description=f"Input rows, one request each: `{job.dataset.path}`.",
        metadata={"dagster/uri": job.dataset.path, "key": ", ".join(job.dataset.key)},
        kinds={"parquet"},
    )


def _requests(job: BatchJob) -> dg.AssetsDefinition:
    @dg.asset(**metadata.common(job, "requests", after="dataset"), code_version=job.version)
    def requests(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> None:
        """Rows rendered to request lines, with their custom_ids and content hashes."""
        with surfaced(), pipeline.open(job) as shell:
            built = shell.build(partition_names(context, job))
        metadata.attach(context, {name: metadata.of_built(done) for name, done in built.items()})

    return requests


def _batches(job: BatchJob) -> dg.AssetsDefinition:
    @dg.asset(**metadata.common(job, "batches", after="requests"))
    def batches(
        context: dg.AssetExecutionContext, config: BatchesConfig, pipeline: PipelineResource
    ) -> None:
        """Shards at the provider; materializing sends only what is neither answered nor there."""
        names = partition_names(context, job)
        with surfaced(), pipeline.open(job) as shell:
            sent = shell.resend(names, run_id=context.run_id, only=config.only(), lost=config.lost)
            found = metadata.of_submission(shell, sent, names)
        metadata.attach(context, found)

    return batches


def _results(job: BatchJob) -> dg.AssetsDefinition:
    @dg.asset(**metadata.common(job, "results", after="batches"), output_required=False)
    def results(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """One row per request, typed and priced; too early is not an error, it stays as it was."""
        with surfaced(), pipeline.open(job) as shell:
            collected = shell.collect(partition_names(context, job))
            found = metadata.of_collected(shell, collected)
        if problem := collected.refusal:
            raise failure(problem)
        for name, landed in collected.waiting.items():
            context.log.warning(
                "%s: %d of %d requests are not answered yet; the watch comes back when they are.",
                *(name, landed.unanswered, landed.requests),
            )
        if not collected.waiting:
            metadata.attach(context, found)
            yield dg.MaterializeResult()
        else:  # a run over a range is all or nothing to Dagster: name those that did land
            for name, values in found.items():
                context.log_event(
                    dg.AssetMaterialization(
                        asset_key(job, "results"), partition=name, metadata=values
                    )
                )

    return results


def _cost_report(job: BatchJob) -> dg.AssetsDefinition:
    @dg.asset(**metadata.common(job, "cost_report", after="results"))
    def cost_report(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> None:
        """Tokens, cost at batch price and live, and failures by kind, per partition and model."""
        with surfaced(), pipeline.open(job) as shell:
            reports = shell.reports(partition_names(context, job))
        metadata.attach(context, {name: metadata.of_report(one) for name, one in reports.items()})

    return cost_report
