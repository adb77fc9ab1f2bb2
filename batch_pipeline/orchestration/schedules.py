"""The schedule of one job: submit the newest partitions that the dataset has and nobody sent."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.orchestration.resources import PipelineResource
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
        description=f"Submits the newest partitions of {job.name} that were not submitted yet.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, pipeline: PipelineResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        stamp = context.scheduled_execution_time.isoformat()
        with pipeline.open(job) as shell:
            there = set(shell.partitions())
            sent = {name for name, (step, _) in shell.steps().items() if step is not Step.UNSENT}
        newest = _newest(job, context)
        due = [name for name in newest if name in there and name not in sent]
        if job.partitions.kind == "none":
            return [dg.RunRequest(run_key=stamp)]
        if not due:
            return dg.SkipReason(f"Nothing new among {', '.join(newest) or 'no partitions'}.")
        return [dg.RunRequest(run_key=f"{stamp}/{name}", partition_key=name) for name in due]

    return schedule


def _newest(job: BatchJob, context: dg.ScheduleEvaluationContext) -> list[str]:
    """The last partitions whose window is over at the tick's time, oldest first."""
    definition = partitions_def(job.partitions)
    if definition is None:
        return [UNPARTITIONED]
    with dg.partition_loading_context(effective_dt=context.scheduled_execution_time):
        keys = definition.get_partition_keys()
    return list(keys)[-LOOK_BACK:] if job.partitions.kind != "static" else list(keys)
