"""What counts promise, and when a file that is short of it is fetched again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from batch_pipeline.model import Observation, RemoteStatus
from batch_pipeline.policy.fetching import PATIENCE, is_given_up, next_look, promised

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SEEN = Observation("b", RemoteStatus.COMPLETED, "completed", 6, 4, 2, NOON)


def test_a_completed_batch_promises_a_line_for_each_row_it_counts() -> None:
    assert promised(SEEN, "output", requests=6) == 4
    assert promised(SEEN, "error", requests=6) == 2
    assert promised(SEEN, "output", requests=3) == 3


@pytest.mark.parametrize("status", [RemoteStatus.CANCELLED, RemoteStatus.EXPIRED])
def test_a_batch_that_was_stopped_promises_nothing_unless_one_file_has_every_row(
    status: RemoteStatus,
) -> None:
    seen = replace(SEEN, status=status)
    assert promised(seen, "output", requests=6) is None
    assert promised(replace(seen, one_file=True), "output", requests=6) == 6


def test_looks_grow_apart_and_end() -> None:
    now, looks = NOON, [NOON]
    while not is_given_up(since=NOON, now=now):
        now = next_look(since=NOON, now=now)
        looks.append(now)
    waits = [after - before for before, after in pairwise(looks)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (timedelta(seconds=30), timedelta(hours=1))
    assert looks[-1] - NOON >= PATIENCE
    assert len(looks) < 30
