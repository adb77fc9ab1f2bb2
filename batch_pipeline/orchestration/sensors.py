"""The watch sensor of one job: look, record progress, ask for the runs that are due.

Level-triggered: everything comes from the ledger and the run history, so a lost, doubled or
previewed tick does no harm. It never uploads or downloads.
"""

import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from zlib import compress, decompress
from zlib import error as ZlibError  # noqa: N812 - it is a class

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.errors import BatchPipelineError, ProviderError
from batch_pipeline.escaping import line
from batch_pipeline.escaping import line as one_line
from batch_pipeline.model import BY_ANSWERS, PartitionSummary, Shard, ShardState
from batch_pipeline.orchestration import checks, metadata
from batch_pipeline.orchestration.naming import asset_key, partition_of
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.orchestration.run_requests import MOST_RUNS, Asked, asked
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.fetching import another_account
from batch_pipeline.pipeline.running import waiting_helps
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.policy.clocks import clock_is_off
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.policy.retention import runs_out, told
from batch_pipeline.spec import BatchJob

MOST_EVENTS = 50
"""Events of one tick; the next ticks tell the others."""
_MESSAGES = 3
_SOON = timedelta(days=2)
_LATE = " answers run out"  # in the cursor, beside names of partitions: none begins so
_LONG = 1000

NONE: Mapping[str, float] = MappingProxyType({})
Steps = Mapping[str, tuple[Step, PartitionSummary]]


def news(cursor: str | None, steps: Steps, *, late: bool = False) -> tuple[list[str], str]:
    """Partitions that stand otherwise than the cursor remembers, and the next cursor.

    It remembers what is on its way and forgets what has ended, so it stays small; a lost one
    only repeats the observations of what is on its way. It is a queue: who was told stands at its
    end, and who is left over for the next tick is in it, untold. *late* is remembered with them.
    """
    seen = _told(cursor)
    stand = {name: _digest(one) for name, (_, one) in steps.items() if one.shards}
    moving = {name for name in stand if steps[name][0] is not Step.DONE}
    queue = dict.fromkeys(name for name in (*seen, *stand) if name in seen or name in moving)
    changed = [name for name in queue if name in stand and seen.get(name) != stand[name]]
    now = changed[: MOST_EVENTS - (late is not _was_late(cursor))]
    told = {name: stand[name] for name in now}
    following = {name: seen.get(name, "") for name in queue if name not in told} | told
    kept = {
        name: text
        for name, text in following.items()
        if name in moving or text != stand.get(name, text)
    }
    return now, _remembered({**kept, _LATE: ""} if late else kept)


def _observation(
    job: BatchJob, name: str, step: Step, summary: PartitionSummary
) -> dg.AssetObservation:
    """Where the partition stands, as an event on `batches`."""
    return dg.AssetObservation(
        asset_key(job, "batches"),
        partition=partition_of(job, name),
        metadata=metadata.of_progress(step, summary),
    )


def standing(
    steps: Steps,
    stuck: Iterable[Shard] = (),
    *,
    now: datetime | None = None,
    skews: Mapping[str, float] = NONE,
) -> str:
    """One line for the tick: how many partitions are at which step, and what blocks some.

    With *now*, also how long answers that wait can still be fetched. *stuck* are shards that are
    blocked, or wait for something that is not as it should be.
    """
    if not steps:
        return "Nothing was built yet: materialize requests and batches, or backfill the job."
    numbers = Counter(step.value for step, _ in steps.values())
    line = ", ".join(f"{number} {step}" for step, number in sorted(numbers.items())) + "."
    held = [s.held for step, s in steps.values() if step is Step.BLOCKED and s.held]
    said = [(_how(shard), str(shard.message)) for shard in stuck]
    stopped = [h.reason for _, s in steps.values() for h in s.holds if h.kind in BY_ANSWERS]
    said += [("Blocked", reason) for reason in (*held, *stopped)]
    messages = list(dict.fromkeys(f"{how}: {one_line(message)}" for how, message in said))
    clocks = [clock_is_off(provider, ahead) for provider, ahead in skews.items()]
    return " ".join([line, *_time_left(steps, now), *clocks, *messages[:_MESSAGES]])


def _how(shard: Shard) -> str:
    return "Blocked" if shard.state is ShardState.FAILED else "Waiting"


def _time_left(steps: Steps, now: datetime | None) -> Iterator[str]:
    ends = [s.results_until for _, s in steps.values() if s.results_until is not None]
    if ends and now is not None and min(ends) - now <= _SOON:
        hours = (min(ends) - now).total_seconds() / 3600
        yield f"Answers that wait can be fetched for {max(hours, 0):.1f} h more."
    if now is not None and any(runs_out(s, now=now) for _, s in steps.values()):
        yield f"WARNING: {told(min(ends), now=now)}"


def _digest(summary: PartitionSummary) -> str:
    text = repr((sorted(summary.shards.items()), summary.counts.succeeded, summary.counts.failed))
    return sha256(text.encode()).hexdigest()[:8]


def _remembered(known: Mapping[str, str]) -> str:
    """The cursor: Dagster keeps it once a tick, for days, so a long one is pressed together."""
    text = json.dumps(known)
    return text if len(text) < _LONG else b64encode(compress(text.encode())).decode()


def _seen(cursor: str | None) -> dict[str, str]:
    text = cursor or "{}"
    try:
        loaded = json.loads(text if text.startswith("{") else decompress(b64decode(text)))
    except (ValueError, ZlibError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _told(cursor: str | None) -> dict[str, str]:
    return {name: text for name, text in _seen(cursor).items() if name != _LATE}


def _was_late(cursor: str | None) -> bool:
    return _LATE in _seen(cursor)


def build_watch(
    job: BatchJob, jobs: Iterable[UnresolvedAssetJobDefinition | dg.JobDefinition]
) -> dg.SensorDefinition:
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
    stuck = [*(shell.shards(states=[ShardState.FAILED]) if blocked else []), *shell.noted()]
    return _Seen(steps, stuck, shell.now(), shell.skews(), trouble, foreign, odd)


def _news(
    job: BatchJob, cursor: str | None, seen: _Seen
) -> tuple[list[dg.AssetObservation | dg.AssetCheckEvaluation], str]:
    """Events for what changed since the cursor, and the next one."""
    late = any(runs_out(summary, now=seen.now) for _, summary in seen.steps.values())
    names, following = news(cursor, seen.steps, late=late)
    events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = [
        _observation(job, name, *seen.steps[name]) for name in names
    ]
    if late is not _was_late(cursor):
        events.append(checks.in_time(job, seen.steps, now=seen.now))
    return events, following


def _passes(trouble: BatchPipelineError) -> bool:
    return isinstance(trouble, ProviderError) and waiting_helps(trouble)


def _reason(seen: _Seen, found: Asked) -> str:
    """Why nothing is asked for: how things stand, and what a person should know."""
    stands = standing(seen.steps, seen.stuck, now=seen.now, skews=seen.skews)
    notes = [stands, *found.notes]
    if seen.trouble is not None:
        notes.append(f"The provider is not answering: {seen.trouble}")
    if seen.foreign:
        notes.append(str(another_account(seen.foreign)))
    if seen.odd:
        notes.append(f"{seen.odd} batches of the account could not be read and were passed over.")
    return line(" ".join(notes))
