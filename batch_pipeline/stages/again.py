"""Which requests go again by themselves: asked where results land and where shards are planned."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from batch_pipeline.model import FailureKind
from batch_pipeline.stages.results.unanswered import OURS_TO_READ
from batch_pipeline.stages.sql import literal

WITHHELD = literal(FailureKind.WITHHELD.value)
_REJECTED = literal(FailureKind.REJECTED.value)
_NEVER = {FailureKind.REJECTED.value, FailureKind.WITHHELD.value}
_ANSWERED = "bool_or(status = 'succeeded')"


class OnRetry(StrEnum):
    """What becomes of a failed request when the job goes on by itself, and why."""

    AGAIN = "again"  # by itself, as the next attempt
    ON_ITS_WAY = "on_its_way"  # it is in a shard that is planned or at the provider
    BLOCKED = "blocked"  # it is in a shard that waits for a person
    HELD = "held"  # it would, but something holds its job or partition
    ATTEMPTS = "attempts"  # not: it was sent as often as the policy allows
    KIND = "kind"  # not: the policy does not name its kind
    WITHHELD = "withheld"  # with the next run that a person asks for
    REJECTED = "rejected"  # not: the request itself is at fault
    UNREAD = "unread"  # not: its answer is there, and not read yet
    NO_LINE = "no_line"  # never: it was rejected before sending
    ANSWERED = "answered"  # it has been answered since
    CHANGED = "changed"  # its row is another one now


def goes_again(kinds: Collection[str], max_attempts: int) -> str:
    """SQL aggregate over the outcomes of one request version: whether the retry policy sends it.

    It was never answered, its latest failure is one of *kinds*, and it has been sent less than
    *max_attempts* times, not counting attempts that were withheld. What is rejected or withheld
    waits for a person, and what is only not read yet has been answered.
    """
    named = among("failure", [str(kind) for kind in kinds if kind not in _NEVER])
    may = f"{named} AND NOT {_UNREAD}"
    return f"(NOT {_ANSWERED} AND {_lately(may)} AND {_sendings_left(max_attempts)})"


def on_retry(kinds: Collection[str], max_attempts: int) -> str:
    """SQL aggregate over the same outcomes: `goes_again` as a word of `OnRetry`, with the reason.

    What is on its way, held, or another row by now is not to be seen in outcomes.
    """
    reasons = {
        OnRetry.AGAIN: goes_again(kinds, max_attempts),
        OnRetry.ANSWERED: _ANSWERED,
        OnRetry.WITHHELD: _lately(f"failure = {WITHHELD}"),
        OnRetry.REJECTED: _lately(f"failure = {_REJECTED}"),
        OnRetry.UNREAD: _lately(_UNREAD),
        OnRetry.ATTEMPTS: _lately(among("failure", [str(kind) for kind in kinds])),
    }
    cases = " ".join(f"WHEN {told} THEN {literal(word.value)}" for word, told in reasons.items())
    return f"CASE {cases} ELSE {literal(OnRetry.KIND.value)} END"


def among(column: str, values: Collection[str]) -> str:
    """SQL: the column is one of *values*; false for none."""
    if not values:
        return "false"
    return f"{column} IN ({', '.join(literal(value) for value in values)})"


_UNREAD = f"coalesce({among('error_code', OURS_TO_READ)}, false)"


def _lately(condition: str) -> str:
    """SQL aggregate: the condition holds of the latest attempt."""
    return f"coalesce(max(attempt) FILTER ({condition}) = max(attempt), false)"


def _sendings_left(max_attempts: int) -> str:
    return f"max(attempt) - count(*) FILTER (failure = {WITHHELD}) < {int(max_attempts)}"
