"""The watch sensor of one job: look, record progress, ask for the runs that are due.

Level-triggered: everything comes from the ledger and the run history, so a lost, doubled or
previewed tick does no harm. It never uploads or downloads.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.errors import BatchPipelineError, ProviderError
from batch_pipeline.escaping import line
from batch_pipeline.model import AT_PROVIDER, PartitionSummary, Shard, ShardState
from batch_pipeline.orchestration import checks, progress
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.orchestration.run_requests import MOST_RUNS, Asked, asked
from batch_pipeline.pipeline import Pipeline
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
        with said(), pipeline.open(job, hurried=True) as shell:
            seen = _look(context, shell)
            found = asked(context.instance, job, seen.steps, now=seen.now)
        requests = found.runs[:MOST_RUNS]
        if seen.trouble is not None and not requests and not _passes(seen.trouble):
            raise seen.trouble
        events, cursor = _news(job, context.cursor, seen)
        why = None if requests else _reason(seen, found)
        return dg.SensorResult(
            run_requests=requests, asset_events=events, cursor=cursor, skip_reason=why
        )

    return watch


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a tick sees of its job; *stuck* are shards that are blocked or have a word to say."""

    steps: Mapping[str, tuple[Step, PartitionSummary]]
    stuck: Sequence[Shard]
    now: datetime
    skews: Mapping[str, float]
    trouble: BatchPipelineError | None = None
    foreign: tuple[Shard, ...] = ()
    odd: int = 0


def _look(context: dg.SensorEvaluationContext, shell: Pipeline) -> _Seen:
    trouble: BatchPipelineError | None
    foreign: tuple[Shard, ...] = ()
    odd = 0
    try:
        watched = shell.watch()
        trouble, foreign, odd = watched.problem, watched.foreign, watched.odd
    except BatchPipelineError as error:  # what has ended can still be collected
        trouble = error
        context.log.warning(str(error))
    steps = shell.steps()
    blocked = any(step is Step.BLOCKED for step, _ in steps.values())
    told = [shard for shard in shell.shards(states=AT_PROVIDER) if shard.message]
    stuck = [*(shell.shards(states=[ShardState.FAILED]) if blocked else []), *told]
    return _Seen(steps, stuck, shell.now(), shell.skews(), trouble, foreign, odd)


def _news(
    job: BatchJob, cursor: str | None, seen: _Seen
) -> tuple[list[dg.AssetObservation | dg.AssetCheckEvaluation], str]:
    """Events for what changed since the cursor, and the next one."""
    news, following = progress.news(cursor, seen.steps)
    events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = [
        progress.observation(job, name, *seen.steps[name]) for name in news
    ]
    changed, following = progress.run_out(cursor, following, seen.steps, seen.now)
    events += [checks.in_time(job, seen.steps, now=seen.now)] if changed else []
    return events, following


def _passes(trouble: BatchPipelineError) -> bool:
    return isinstance(trouble, ProviderError) and waiting_helps(trouble)


def _reason(seen: _Seen, found: Asked) -> str:
    """Why nothing is asked for: how things stand, and what a person should know."""
    standing = progress.standing(seen.steps, seen.stuck, now=seen.now, skews=seen.skews)
    notes = [standing, *found.notes]
    if seen.trouble is not None:
        notes.append(f"The provider is not answering: {seen.trouble}")
    if seen.foreign:
        notes.append(str(another_account(seen.foreign)))
    if seen.odd:
        notes.append(f"{seen.odd} batches of the account could not be read and were passed over.")
    return line(" ".join(notes))
