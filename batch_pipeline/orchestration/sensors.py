"""The watch sensor of one job: look, record progress, ask for the runs that are due.

Level-triggered: everything comes from the ledger and the run history, so a lost, doubled or
previewed tick does no harm. It never uploads or downloads.
"""

from collections.abc import Iterable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.errors import BatchPipelineError, ProviderError
from batch_pipeline.escaping import line
from batch_pipeline.model import Shard, ShardState
from batch_pipeline.orchestration import checks, progress
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.orchestration.run_requests import MOST_RUNS, Asked, asked
from batch_pipeline.pipeline.fetching import another_account
from batch_pipeline.pipeline.running import waiting_helps
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob


def build_watch(job: BatchJob, jobs: Iterable[UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    """The sensor `<job>_watch`; on by default: batches are paid for whether watched or not."""

    @dg.sensor(
        name=f"{job.name}_watch",
        jobs=list(jobs),
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks at what {job.name} has at the provider, records progress on "
        f"{job.name}/batches, and starts the runs that are due: collect what has ended, "
        "retry what failed, send what had to wait. A skipped tick says how things stand.",
    )
    def watch(context: dg.SensorEvaluationContext, pipeline: PipelineResource) -> dg.SensorResult:
        trouble: BatchPipelineError | None = None
        foreign: tuple[Shard, ...] = ()
        odd = 0
        with said(), pipeline.open(job, hurried=True) as shell:
            try:
                seen = shell.watch()
                trouble, foreign, odd = seen.problem, seen.foreign, seen.odd
            except BatchPipelineError as error:  # what has ended can still be collected
                trouble = error
                context.log.warning(str(error))
            steps = shell.steps()
            blocked = any(step is Step.BLOCKED for step, _ in steps.values())
            open_still = [ShardState.SUBMITTED, ShardState.ENDED]
            told = [shard for shard in shell.shards(states=open_still) if shard.message]
            stuck = [*(shell.shards(states=[ShardState.FAILED]) if blocked else []), *told]
            now, skews = shell.now(), shell.skews()
            found = asked(context.instance, job, steps, now=now)
        requests = found.runs[:MOST_RUNS]
        if trouble is not None and not requests and not _passes(trouble):
            raise trouble
        news, cursor = progress.news(context.cursor, steps)
        events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = [
            progress.observation(job, name, *steps[name]) for name in news
        ]
        changed, cursor = progress.run_out(context.cursor, cursor, steps, now)
        events += [checks.in_time(job, steps, now=now)] if changed else []
        standing = progress.standing(steps, stuck, now=now, skews=skews)
        return dg.SensorResult(
            run_requests=requests,
            asset_events=events,
            cursor=cursor,
            skip_reason=None if requests else _reason(standing, found, trouble, foreign, odd),
        )

    return watch


def _passes(trouble: BatchPipelineError) -> bool:
    return isinstance(trouble, ProviderError) and waiting_helps(trouble)


def _reason(
    standing: str,
    found: Asked,
    trouble: BatchPipelineError | None,
    foreign: tuple[Shard, ...],
    odd: int,
) -> str:
    """Why nothing is asked for: how things stand, and what a person should know."""
    notes = [standing, *found.notes]
    if trouble is not None:
        notes.append(f"The provider is not answering: {trouble}")
    if foreign:
        notes.append(str(another_account(foreign)))
    if odd:
        notes.append(f"{odd} batches of the account could not be read and were passed over.")
    return line(" ".join(notes))
