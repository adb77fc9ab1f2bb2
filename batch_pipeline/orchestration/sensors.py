"""The watch sensor of one job: look, record progress, ask for the runs that are due.

Level-triggered: everything comes from the ledger and the run history, so a lost, doubled or
previewed tick does no harm. It never uploads or downloads.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.errors import BatchPipelineError
from batch_pipeline.model import UNPARTITIONED, PartitionSummary
from batch_pipeline.orchestration import metadata
from batch_pipeline.orchestration.assets import asset_key
from batch_pipeline.orchestration.partitions import (
    partitions_def,
    range_of,
    range_tags,
    ranges,
)
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob

JOB_TAG, STEP_TAG, STATE_TAG = "batch_pipeline/job", "batch_pipeline/step", "batch_pipeline/state"
_ASSET_JOBS = {Step.COLLECT: "collect", Step.SUBMIT: "submit", Step.RETRY: "retry_failed"}
_PRIORITY = {Step.COLLECT: "10", Step.RETRY: "5", Step.SUBMIT: "5"}
_MOST_RUNS = 50
_MOST_OBSERVATIONS = 100
_MOST_FAILURES = 5

_Steps = Mapping[str, tuple[Step, PartitionSummary]]


def build_watch(job: BatchJob, jobs: Iterable[UnresolvedAssetJobDefinition]):  # noqa: ANN201
    """The sensor `<job>_watch`; on by default: batches are paid for whether watched or not."""

    @dg.sensor(
        name=f"{job.name}_watch",
        jobs=list(jobs),
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Polls what {job.name} has in flight and starts collect and retry runs.",
    )
    def watch(
        context: dg.SensorEvaluationContext, pipeline: PipelineResource
    ) -> dg.SensorResult | dg.SkipReason:
        trouble: BatchPipelineError | None = None
        with pipeline.open(job) as shell:
            try:
                shell.watch()
            except BatchPipelineError as error:  # what has ended can still be collected
                trouble = error
                context.log.warning(str(error))
            steps = shell.steps()
        requests = list(_run_requests(context.instance, job, steps))[:_MOST_RUNS]
        seen = _seen(context.cursor)
        news = _news(steps, seen)
        if trouble is not None and not requests:
            raise trouble
        return dg.SensorResult(
            run_requests=requests,
            asset_events=[_observation(job, name, *steps[name]) for name in news],
            cursor=json.dumps({**seen, **news}),
            skip_reason=None if requests else _standing(steps),
        )

    return watch


def _run_requests(
    instance: dg.DagsterInstance, job: BatchJob, steps: _Steps
) -> Iterator[dg.RunRequest]:
    ready: dict[Step, list[str]] = defaultdict(list)
    for name, (step, _) in steps.items():
        if step in _ASSET_JOBS:
            ready[step].append(name)
    known = _known(job, steps)
    for step, names in ready.items():
        busy = _busy(instance, job, step, known)
        free = [name for name in names if name not in busy]
        sends = step is not Step.COLLECT  # a finished partition in between sends nothing
        bridges = [one for one, (at, _) in steps.items() if sends and at is Step.DONE]
        for first, last in ranges(free, known, bridges=bridges):
            stretch = known[known.index(first) : known.index(last) + 1]
            request = _run_request(instance, job, step, stretch, steps)
            if request is not None:
                yield request


def _run_request(
    instance: dg.DagsterInstance, job: BatchJob, step: Step, stretch: list[str], steps: _Steps
) -> dg.RunRequest | None:
    """One run for the stretch; its key counts the earlier runs that were asked for this state."""
    first, last = stretch[0], stretch[-1]
    state = _state_of([steps[name][1] for name in stretch])
    tags = {JOB_TAG: job.name, STEP_TAG: step.value, STATE_TAG: state}
    earlier = instance.get_runs_count(dg.RunsFilter(tags=tags))
    if earlier > _MOST_FAILURES:
        return None  # it was tried and tried: the runs' own errors say why
    partitioned = {} if job.partitions.kind == "none" else range_tags(first, last)
    return dg.RunRequest(
        run_key=f"{job.name}/{step.value}/{first}..{last}/{state}/{earlier}",
        job_name=f"{job.name}_{_ASSET_JOBS[step]}",
        asset_selection=[asset_key(job, "batches")] if step is Step.SUBMIT else None,
        tags={**tags, **partitioned, "dagster/priority": _PRIORITY[step]},
    )


def _state_of(stretch: list[PartitionSummary]) -> str:
    """A short digest of what the ledger says of the stretch: the same need is the same state."""
    facts = [
        (one.counts.partition, one.counts.digest, one.counts.collected, one.counts.landed)
        for one in stretch
    ]
    shards = [(one.counts.failed, sorted(one.shards.items())) for one in stretch]
    return sha256(repr((facts, shards)).encode()).hexdigest()[:12]


def _busy(instance: dg.DagsterInstance, job: BatchJob, step: Step, known: list[str]) -> set[str]:
    """Partitions that a run which has not finished is already about."""
    kinds = [Step.COLLECT] if step is Step.COLLECT else [Step.SUBMIT, Step.RETRY]
    busy: set[str] = set()
    for kind in kinds:
        live = instance.get_run_records(
            dg.RunsFilter(tags={JOB_TAG: job.name, STEP_TAG: kind.value}, statuses=_LIVE)
        )
        for record in live:
            stretch = range_of(record.dagster_run.tags) or (UNPARTITIONED, UNPARTITIONED)
            if stretch[0] in known and stretch[1] in known:
                busy |= set(known[known.index(stretch[0]) : known.index(stretch[1]) + 1])
    return busy


_LIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def _known(job: BatchJob, steps: _Steps) -> list[str]:
    definition = partitions_def(job.partitions)
    return list(steps) if definition is None else list(definition.get_partition_keys())


def _news(steps: _Steps, seen: Mapping[str, str]) -> dict[str, str]:
    """Partitions whose standing differs from what was last recorded, with the standing."""
    now = {name: _progress(summary) for name, (_, summary) in steps.items()}
    changed = {name: text for name, text in now.items() if seen.get(name) != text}
    return dict(list(changed.items())[:_MOST_OBSERVATIONS])


def _progress(summary: PartitionSummary) -> str:
    text = repr((sorted(summary.shards.items()), summary.counts.succeeded, summary.counts.failed))
    return sha256(text.encode()).hexdigest()[:8]


def _seen(cursor: str | None) -> dict[str, str]:
    try:
        loaded = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _observation(
    job: BatchJob, name: str, step: Step, summary: PartitionSummary
) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key(job, "batches"),
        partition=None if job.partitions.kind == "none" else name,
        metadata=metadata.of_progress(step, summary),
    )


def _standing(steps: _Steps) -> str:
    """One line for the tick: how many partitions are at which step."""
    if not steps:
        return "Nothing was built yet."
    numbers: dict[str, int] = defaultdict(int)
    for step, _ in steps.values():
        numbers[step.value] += 1
    return ", ".join(f"{number} {step}" for step, number in sorted(numbers.items()))
