"""What happens next: to a partition, and to a batch that the provider says has ended."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from batch_pipeline.model import (
    BY_ANSWERS,
    TERMINAL,
    UNSENT,
    Ask,
    Hold,
    HoldKind,
    Observation,
    PartitionSummary,
    Remedy,
    RemoteStatus,
    ShardState,
)
from batch_pipeline.policy.clocks import known_time
from batch_pipeline.settings import CLOCK_JUMP

OVERDUE = timedelta(hours=1)
"""Grace after a batch's window before we cancel it ourselves."""
OVERDUE_ENDING = timedelta(hours=6)
"""The same of a batch that is ending by itself, or was cancelled already."""
STUCK = timedelta(hours=25)
"""Grace after it before a person is told that the batch does not end, cancelled or not."""
LONGEST_WINDOW = timedelta(days=7)
"""The window of a batch that does not say when it closes: the longest that any provider has."""
UNSURE = timedelta(days=3)
"""By how much our own clock may be wrong where a provider does not tell the time."""
SETTLING = timedelta(seconds=60)
"""How long a batch that completed may lack the files its counts promise."""
SETTLING_STOPPED = timedelta(minutes=30)
"""The same of one that was cancelled or expired: rows were seen 25 minutes late."""
_TRIES_BEFORE_CUT = 2
_UPLOADS = 3
"""How often a file that the provider lost is uploaded before a person is asked."""


class Step(StrEnum):
    """The next thing to do for a partition."""

    SUBMIT = "submit"
    COLLECT = "collect"
    RETRY = "retry"
    WAIT = "wait"
    BLOCKED = "blocked"
    UNSENT = "unsent"
    DONE = "done"


MOVING = frozenset({Step.SUBMIT, Step.COLLECT, Step.RETRY, Step.WAIT})
"""Steps that are followed by another without a person."""


class Verdict(StrEnum):
    """What a look at a batch means for its shard."""

    WAIT = "wait"
    COLLECT = "collect"
    REQUEUE = "requeue"
    CANCEL = "cancel"
    STUCK = "stuck"


def next_step(summary: PartitionSummary, *, now: datetime) -> Step:  # noqa: PLR0911 - a ladder
    """The one next step; what is paid for is fetched before anything else is decided."""
    counts, shards = summary.counts, summary.shards
    waiting = any(shards.get(state) for state in UNSENT)
    held = _is_held(summary)
    ended = shards.get(ShardState.ENDED)
    if ended and (summary.next_look is None or _is_due(summary.next_look, now=now)):
        return Step.COLLECT
    if waiting and not held and _is_due(summary.next_due, now=now):
        return Step.SUBMIT
    asked = [one for one in summary.asked if one.problem is None]
    stopped = [one for one in asked if _is_against(summary.holds, one)]
    if any(is_left(one, summary.holds, now=now) for one in asked):
        return Step.SUBMIT
    if shards.get(ShardState.SUBMITTED) or ended or (waiting and not held):
        return Step.WAIT
    if len(asked) > len(stopped):  # a run is at it
        return Step.WAIT
    if _stale(summary):
        return Step.COLLECT
    if waiting or stopped or shards.get(ShardState.FAILED) or _is_stopped(summary):
        return Step.BLOCKED
    if counts.deferred:
        return _behind_the_canary(summary)
    if counts.unanswered or counts.landed < 0:
        return Step.UNSENT
    return Step.RETRY if counts.retryable and not held else Step.DONE


def is_left(ask: Ask, holds: Collection[Hold], *, now: datetime) -> bool:
    """Whether what was asked for is anybody's to send: no run is at it, and nothing is against it.

    What was asked for by hand, was asked in spite of the holds that stood.
    """
    free = ask.busy_until is None or _is_due(ask.busy_until, now=now)
    return free and ask.problem is None and not _is_against(holds, ask)


def _is_against(holds: Collection[Hold], ask: Ask) -> bool:
    """A canary's hold is its gate's affair, when the rows are planned."""
    return any(
        hold.kind is not HoldKind.CANARY and not (ask.by_hand and hold.since <= ask.asked_at)
        for hold in holds
    )


def _is_held(summary: PartitionSummary) -> bool:
    return bool(summary.holds)


def _is_stopped(summary: PartitionSummary) -> bool:
    """True when a hold of the job keeps something of this very partition from going on."""
    stops = [hold for hold in summary.holds if hold.kind in BY_ANSWERS]
    own = any(hold.partition for hold in stops)
    return own or bool(stops and summary.counts.retryable)


def _is_due(due: datetime | None, *, now: datetime) -> bool:
    """A time far ahead was written by a clock that was wrong."""
    return due is not None and (due <= now or due > now + CLOCK_JUMP)


def _behind_the_canary(summary: PartitionSummary) -> Step:
    if _is_held(summary) or summary.canaries.get(ShardState.FAILED):
        return Step.BLOCKED
    return Step.WAIT if summary.canaries else Step.SUBMIT


def verdict(observation: Observation, *, now: datetime, sure: bool = True) -> Verdict:
    """Whether to wait, fetch, send again later, or stop a batch that outlived its window.

    *now* is the provider's time; not *sure*, our own, because it did not tell.
    """
    if observation.status not in TERMINAL:
        late = overdue(observation, now=now if sure else now - UNSURE)
        ending = observation.status is RemoteStatus.ENDING
        return _outlived(late, grace=OVERDUE_ENDING if ending else OVERDUE)
    if remedy(observation) is not None:
        return Verdict.REQUEUE
    completed = observation.status is RemoteStatus.COMPLETED
    patience = SETTLING if completed else SETTLING_STOPPED
    if _files_still_to_come(observation) and now < _ended(observation) + patience:
        return Verdict.WAIT
    return Verdict.COLLECT


def remedy(observation: Observation) -> Remedy | None:
    """How a batch that was refused as a whole goes again as it is; None: collect what it has."""
    if observation.status is not RemoteStatus.FAILED:
        return None
    if observation.output_file_id or observation.error_file_id:  # some of its rows did run
        return None
    found = (problem.remedy for problem in observation.problems)
    return next((one for one in found if one is not None), None)


def overdue(observation: Observation, *, now: datetime) -> timedelta:
    """For how long the batch's window has been over; negative while it is open."""
    made = known_time(observation.created_at)
    closes = observation.expires_at or (made + LONGEST_WINDOW if made else now)
    return now - closes


def cancel_pause(late: timedelta) -> timedelta:
    """Until we ask again for a stop that had no effect: as long as it is late, 10 min to 6 h."""
    return min(max(late, timedelta(minutes=10)), timedelta(hours=6))


def is_out_of_credit(observation: Observation) -> bool:
    """True when billing stopped the batch: a person has to act, and its rows are not at fault."""
    return remedy(observation) is Remedy.CREDIT


def is_too_much(observation: Observation, *, tries: int) -> bool:
    """True when a shard was too often more than an empty queue takes: it is cut in two."""
    return remedy(observation) is Remedy.ROOM and tries >= _TRIES_BEFORE_CUT


def is_lost_for_good(observation: Observation, *, tries: int) -> bool:
    """True when the provider did not find a shard's file although it was uploaded anew."""
    return remedy(observation) is Remedy.UPLOAD and tries + 1 >= _UPLOADS


def backoff(tries: int, *, retry_after: float | None = None) -> timedelta:
    """How long a refused shard waits: 30 s doubling to 15 min, or what the provider asks for."""
    seconds = min(30.0 * 2 ** min(tries, 10), 900.0)
    if retry_after is not None:
        seconds = min(max(retry_after, 1.0), 900.0)
    return timedelta(seconds=seconds)


def _outlived(late: timedelta, *, grace: timedelta) -> Verdict:
    if late > STUCK:
        return Verdict.STUCK
    return Verdict.CANCEL if late > grace else Verdict.WAIT


def _stale(summary: PartitionSummary) -> bool:
    counts = summary.counts
    nothing_to_send = counts.digest != "" and counts.requests == counts.rejected
    if counts.landed < 0 and counts.collected == 0:
        return nothing_to_send
    return counts.landed != counts.collected


def _files_still_to_come(observation: Observation) -> bool:
    if observation.status is RemoteStatus.FAILED and not observation.completed:  # no row ran
        return False
    missing_output = observation.completed > 0 and observation.output_file_id is None
    if observation.one_file:
        return missing_output
    missing_errors = observation.failed > 0 and observation.error_file_id is None
    neither = observation.output_file_id is None and observation.error_file_id is None
    return missing_output or missing_errors or (observation.total > 0 and neither)


def _ended(observation: Observation) -> datetime:
    return observation.ended_at or observation.created_at
