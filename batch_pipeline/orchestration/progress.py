"""What the watch tells people: an observation when something changed, and a line for the tick."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from hashlib import sha256

import dagster as dg

from batch_pipeline.model import PartitionSummary, Shard
from batch_pipeline.orchestration import metadata
from batch_pipeline.orchestration.naming import asset_key, partition_of
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.shown import line as one_line
from batch_pipeline.spec import BatchJob

MOST_OBSERVATIONS = 100
_SETTLED = {Step.DONE, Step.BLOCKED, Step.UNSENT}
_MESSAGES = 3

Steps = Mapping[str, tuple[Step, PartitionSummary]]


def news(cursor: str | None, steps: Steps) -> tuple[list[str], str]:
    """Partitions that stand otherwise than the cursor remembers, and the next cursor.

    It remembers what is on its way and forgets what has ended, so it stays small; a lost one
    only repeats the observations of what is on its way.
    """
    seen = _seen(cursor)
    now = {name: _digest(summary) for name, (_, summary) in steps.items() if summary.shards}
    moving = {name for name in now if steps[name][0] is not Step.DONE}
    changed = [
        name for name, text in now.items() if seen.get(name) != text and name in moving | set(seen)
    ][:MOST_OBSERVATIONS]
    told = {**seen, **{name: now[name] for name in changed}}
    kept = {n: text for n, text in told.items() if n in moving or text != now.get(n)}
    return changed, json.dumps(kept)


def observation(
    job: BatchJob, name: str, step: Step, summary: PartitionSummary
) -> dg.AssetObservation:
    """Where the partition stands, as an event on `batches`."""
    return dg.AssetObservation(
        asset_key(job, "batches"),
        partition=partition_of(job, name),
        metadata=metadata.of_progress(step, summary),
    )


def standing(steps: Steps, stuck: Iterable[Shard] = (), *, now: datetime | None = None) -> str:
    """One line for the tick: how many partitions are at which step, and what blocks some.

    With *now*, also how long answers that wait can still be fetched, where a provider says so.
    """
    if not steps:
        return "Nothing was built yet: materialize requests and batches, or backfill the job."
    numbers = Counter(step.value for step, _ in steps.values())
    line = ", ".join(f"{number} {step}" for step, number in sorted(numbers.items())) + "."
    held = [s.counts.held for step, s in steps.values() if step is Step.BLOCKED and s.counts.held]
    stopped = [hold.reason for _, s in steps.values() for hold in s.holds]
    blocked = [*(str(shard.message) for shard in stuck), *held, *stopped]
    messages = list(dict.fromkeys(f"Blocked: {one_line(message)}" for message in blocked))
    return " ".join([line, *_time_left(steps, now), *messages[:_MESSAGES]])


def _time_left(steps: Steps, now: datetime | None) -> Iterator[str]:
    ends = [s.results_until for _, s in steps.values() if s.results_until is not None]
    if ends and now is not None:
        hours = (min(ends) - now).total_seconds() / 3600
        yield f"Answers that wait can be fetched for {max(hours, 0):.1f} h more."


def moves(line: str) -> bool:
    """True while a `standing` names a step that goes on by itself."""
    named = {part.strip().partition(" ")[2] for part in line.partition(".")[0].split(",")}
    return bool(named & {step.value for step in Step if step not in _SETTLED})


def _digest(summary: PartitionSummary) -> str:
    text = repr((sorted(summary.shards.items()), summary.counts.succeeded, summary.counts.failed))
    return sha256(text.encode()).hexdigest()[:8]


def _seen(cursor: str | None) -> dict[str, str]:
    try:
        loaded = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
