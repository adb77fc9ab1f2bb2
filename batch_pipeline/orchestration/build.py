"""Everything Dagster sees of one job: assets with checks, asset jobs, watch sensor, schedule."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.orchestration import history, naming
from batch_pipeline.orchestration.assets import build_assets
from batch_pipeline.orchestration.naming import asset_job, asset_key
from batch_pipeline.orchestration.partitions import partitions_def, range_tags, ranges
from batch_pipeline.orchestration.resources import PIPELINE, PipelineResource
from batch_pipeline.orchestration.retrying import build_retry
from batch_pipeline.orchestration.run_requests import Steps
from batch_pipeline.orchestration.sensors import build_watch
from batch_pipeline.pipeline.checking import check
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob, Schedule


def build_defs(job: BatchJob, *, pipeline: PipelineResource = PIPELINE) -> dg.Definitions:
    """Everything Dagster sees of *job*, to be merged with other definitions.

    It brings its one resource, under the name `pipeline`: jobs of one code location share it.
    SpecError for a job that cannot run: now, and not as a paid failure.
    """
    job = job.resolved(Path.cwd())
    check(job, pipeline.settings())
    submit = _asset_job(job, naming.SUBMIT, "requests", "batches")
    collect = _asset_job(job, naming.COLLECT, "results", "cost_report")
    retry = build_retry(job, pipeline)
    with warnings.catch_warnings():  # of two young features of Dagster, known and used here alone
        warnings.filterwarnings("ignore", r"[^`]*`backfill_policy` of", dg.BetaWarning)
        warnings.filterwarnings("ignore", r".*partitions_def on an AssetCheck", dg.PreviewWarning)
        assets = build_assets(job)
    return dg.Definitions(
        assets=assets,
        resources={"pipeline": pipeline},
        jobs=[submit, collect, retry],
        sensors=[build_watch(job, [submit, collect, retry])],
        schedules=[] if job.schedule is None else [build_schedule(job, job.schedule, submit)],
    )


_MEANT_FOR = {
    naming.SUBMIT: "Build requests and send what is not answered: backfill this one.",
    naming.COLLECT: "Fetch what has ended, land results, write the report.",
}


def _asset_job(job: BatchJob, name: str, *steps: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        asset_job(job, name),
        selection=dg.AssetSelection.assets(*(asset_key(job, step) for step in steps)),
        description=_MEANT_FOR[name],
        tags=job.tags,
    )


LOOK_BACK = 7
"""Partitions looked at in one tick: a tick that was missed or failed is made up for."""


def build_schedule(
    job: BatchJob, said: Schedule, submit: UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    """`<job>_schedule`; a partition that was submitted already is left out."""

    @dg.schedule(
        name=f"{job.name}_schedule",
        cron_schedule=said.cron,
        execution_timezone=said.timezone,
        job=submit,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Submits the newest partitions of {job.name} that the dataset has and that "
        f"were not submitted yet, up to {LOOK_BACK} back.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, pipeline: PipelineResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        stamp = context.scheduled_execution_time.isoformat()
        if job.partitions.kind == "none":
            return [dg.RunRequest(run_key=stamp)]
        known = _known(job, context)
        newest = known if job.partitions.kind == "static" else known[-LOOK_BACK:]
        due = _due(job, pipeline, newest, taken=_busy(job, context.instance, known))
        if not due:
            return dg.SkipReason(f"Nothing new among {', '.join(newest) or 'no partitions'}.")
        keys = {f"{stamp}/{first}": (first, last) for first, last in ranges(due, known)}
        return [dg.RunRequest(run_key=key, tags=range_tags(*span)) for key, span in keys.items()]

    return schedule


def _due(
    job: BatchJob, pipeline: PipelineResource, newest: Sequence[str], *, taken: set[str]
) -> list[str]:
    """Of the newest partitions those that the dataset has and nobody sent, sends or holds."""
    with pipeline.open(job) as shell:
        free = set(shell.partitions()) - _sent(shell.steps()) - taken
    return [name for name in newest if name in free]


def _busy(job: BatchJob, instance: dg.DagsterInstance, known: Sequence[str]) -> set[str]:
    """Partitions with a live run that sends."""
    rivals = [asset_job(job, name) for name in (naming.SUBMIT, naming.RETRY_FAILED)]
    return history.busy(instance, rivals, known)


def _sent(steps: Steps) -> set[str]:
    """Partitions that were submitted, or that a person holds back."""
    return {
        name
        for name, (step, summary) in steps.items()
        if step is not Step.UNSENT or summary.held is not None
    }


def _known(job: BatchJob, context: dg.ScheduleEvaluationContext) -> list[str]:
    """The partitions whose window is over at the tick's time, oldest first."""
    definition = partitions_def(job.partitions)
    with dg.partition_loading_context(effective_dt=context.scheduled_execution_time):
        return [] if definition is None else list(definition.get_partition_keys())
