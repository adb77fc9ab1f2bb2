"""The schedule of one job: submit the newest partitions that the dataset has and nobody sent."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.orchestration import history, naming
from batch_pipeline.orchestration.naming import asset_job
from batch_pipeline.orchestration.partitions import partitions_def, range_tags, ranges
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.orchestration.run_requests import Steps
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob, Schedule

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
