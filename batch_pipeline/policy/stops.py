"""When a job stops sending by itself: two batches failed alike, or nobody can match answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from batch_pipeline.model import FailureKind

_IN_A_ROW = 2
_HALF = 0.5
_ABOUT = 0.8
_FEW = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """A collected batch: the kind most of its rows failed as, if so, and which attempt it was."""

    failed_as: str | None
    attempt: int


def alike(
    by_failure: Mapping[str, int], requests: int, *, retried: Collection[str], refused: bool
) -> str | None:
    """The kind that more than half of a batch failed as, where the policy would send it again.

    Rows that a person or a neighbour's bad line had cancelled say nothing, unless the whole batch
    was *refused*.
    """
    for kind, count in by_failure.items():
        speaks = kind in retried and (refused or kind != FailureKind.CANCELLED)
        if speaks and count > requests * _HALF:
            return kind
    return None


def tripped(newest_first: Sequence[Ended]) -> bool:
    """True when the last batches of the job failed alike, two or more in a row.

    One of them has to be a first attempt: what is left over of a good batch is bad by selection.
    """
    if not newest_first or newest_first[0].failed_as is None:
        return False
    kind = newest_first[0].failed_as
    row = list(takewhile(lambda one: one.failed_as == kind, newest_first))
    return len(row) >= _IN_A_ROW and any(one.attempt == 1 for one in row)


def unmatched(requests: int, *, absent: int, unknown: int) -> bool:
    """True when lines of nobody are about as many as requests without one: they may be theirs.

    One row in many may be an accident on both sides, and is no bill to speak of.
    """
    an_accident = absent == 1 and absent < requests * _FEW
    return absent > 0 and unknown >= absent * _ABOUT and not an_accident
