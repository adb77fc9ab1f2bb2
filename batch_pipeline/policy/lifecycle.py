"""What happens next: to a partition, and to a batch that the provider says has ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from batch_pipeline.model import (
    TERMINAL,
    Observation,
    PartitionSummary,
    RemoteStatus,
    Shard,
    ShardState,
)

TOKEN_LIMIT = "token_limit_exceeded"  # noqa: S105 - a provider's error code, no secret
OVERDUE = timedelta(hours=1)
"""Grace after a batch's window before we cancel it ourselves."""
SETTLING = timedelta(seconds=60)
"""How long a batch that completed may lack the files its counts promise."""


class Step(StrEnum):
    """The next thing to do for a partition."""

    SUBMIT = "submit"
    COLLECT = "collect"
    RETRY = "retry"
    WAIT = "wait"
    BLOCKED = "blocked"
    UNSENT = "unsent"
    DONE = "done"


class Verdict(StrEnum):
    """What a look at a batch means for its shard."""

    WAIT = "wait"
    COLLECT = "collect"
    REQUEUE = "requeue"
    CANCEL = "cancel"


_WAITING = (ShardState.PLANNED, ShardState.SUBMITTING, ShardState.IN_DOUBT)


def next_step(summary: PartitionSummary, *, now: datetime) -> Step:  # noqa: PLR0911 - a ladder
    """The one next step; what is paid for is fetched before anything else is decided."""
    counts, shards = summary.counts, summary.shards
    waiting = any(shards.get(state) for state in _WAITING)
    in_flight = waiting or bool(shards.get(ShardState.SUBMITTED))
    if shards.get(ShardState.ENDED):
        return Step.COLLECT
    held = counts.held is not None
    if waiting and not held and summary.next_due is not None and summary.next_due <= now:
        return Step.SUBMIT
    if in_flight:
        return Step.WAIT
    if _stale(summary):
        return Step.COLLECT
    if shards.get(ShardState.FAILED):
        return Step.BLOCKED
    if counts.unanswered or counts.landed < 0:
        return Step.UNSENT
    return Step.RETRY if counts.retryable and not held else Step.DONE


def verdict(observation: Observation, *, now: datetime) -> Verdict:
    """Whether to wait, fetch, send again later, or stop a batch that outlived its window."""
    if observation.status not in TERMINAL:
        overdue = observation.expires_at is not None and now > observation.expires_at + OVERDUE
        ending = observation.status is RemoteStatus.ENDING
        return Verdict.CANCEL if overdue and not ending else Verdict.WAIT
    if observation.status is RemoteStatus.FAILED and any(
        problem.code == TOKEN_LIMIT for problem in observation.problems
    ):
        return Verdict.REQUEUE
    if _files_still_to_come(observation) and now < _ended(observation) + SETTLING:
        return Verdict.WAIT
    return Verdict.COLLECT


def backoff(tries: int, *, retry_after: float | None = None) -> timedelta:
    """How long a refused shard waits: 30 s doubling to 15 min, or what the provider asks for."""
    seconds = min(30.0 * 2 ** min(tries, 10), 900.0)
    if retry_after is not None:
        seconds = min(max(retry_after, 1.0), 900.0)
    return timedelta(seconds=seconds)


def ready_to_land(shards: Iterable[Shard]) -> bool:
    """True when no shard still owes the partition an outcome."""
    owing = {*_WAITING, ShardState.SUBMITTED, ShardState.ENDED}
    return not any(shard.state in owing for shard in shards)


def _stale(summary: PartitionSummary) -> bool:
    counts = summary.counts
    nothing_to_send = counts.requests == counts.rejected
    if counts.landed < 0 and counts.collected == 0:
        return nothing_to_send
    return counts.landed != counts.collected


def _files_still_to_come(observation: Observation) -> bool:
    missing_output = observation.completed > 0 and observation.output_file_id is None
    missing_errors = observation.failed > 0 and observation.error_file_id is None
    return observation.status is RemoteStatus.COMPLETED and (missing_output or missing_errors)


def _ended(observation: Observation) -> datetime:
    return observation.ended_at or observation.created_at
