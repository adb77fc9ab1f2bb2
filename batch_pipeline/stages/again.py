"""Which requests go again by themselves: asked where results land and where shards are planned."""

from __future__ import annotations

from collections.abc import Collection

from batch_pipeline.model import FailureKind
from batch_pipeline.stages.results.unanswered import OURS_TO_READ
from batch_pipeline.stages.sql import literal

WITHHELD = literal(FailureKind.WITHHELD.value)
_NEVER = {FailureKind.REJECTED.value, FailureKind.WITHHELD.value}


def goes_again(kinds: Collection[str], max_attempts: int) -> str:
    """SQL aggregate over the outcomes of one request version: whether the retry policy sends it.

    It was never answered, its latest failure is one of *kinds*, and it has been sent less than
    *max_attempts* times, not counting attempts that were withheld. What is rejected or withheld
    waits for a person, and what is only not read yet has been answered.
    """
    may = (
        f"{among('failure', [str(kind) for kind in kinds if kind not in _NEVER])} "
        f"AND NOT coalesce({among('error_code', OURS_TO_READ)}, false)"
    )
    return f"""(NOT bool_or(status = 'succeeded')
        AND coalesce(max(attempt) FILTER ({may}) = max(attempt), false)
        AND max(attempt) - count(*) FILTER (failure = {WITHHELD}) < {int(max_attempts)})"""


def among(column: str, values: Collection[str]) -> str:
    """SQL: the column is one of *values*; false for none."""
    if not values:
        return "false"
    return f"{column} IN ({', '.join(literal(value) for value in values)})"
