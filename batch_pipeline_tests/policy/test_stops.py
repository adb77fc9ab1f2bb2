"""When a job stops by itself: decisions over plain values."""

from __future__ import annotations

import pytest

from batch_pipeline.policy.stops import Ended, alike, tripped, unmatched

RETRIED = ["errored", "missing", "cancelled"]


@pytest.mark.parametrize(
    ("by_failure", "refused", "kind"),
    [
        ({"errored": 6}, False, "errored"),
        ({"errored": 5}, False, None),
        ({"errored": 4, "missing": 6}, False, "missing"),
        ({"refused": 10}, False, None),
        ({"cancelled": 9, "rejected": 1}, False, None),
        ({"cancelled": 10}, True, "cancelled"),
        ({}, False, None),
    ],
)
def test_most_rows_of_a_kind_that_goes_again_make_a_batch_alike(
    by_failure: dict[str, int], *, refused: bool, kind: str | None
) -> None:
    assert alike(by_failure, 10, retried=RETRIED, refused=refused) == kind


@pytest.mark.parametrize(
    ("kinds", "attempts", "stops"),
    [
        (["errored", "errored"], [2, 1], True),
        (["errored", "errored"], [1, 1], True),
        (["errored", "errored", "errored"], [3, 2, 1], True),
        (["errored", "missing"], [2, 1], False),
        (["errored"], [1], False),
        (["errored", "errored", None], [3, 2, 1], False),
        ([None, "errored", "errored"], [3, 2, 1], False),
        ([], [], False),
    ],
)
def test_two_in_a_row_stop_a_job_if_one_was_a_first_attempt(
    kinds: list[str | None], attempts: list[int], *, stops: bool
) -> None:
    assert tripped([Ended(*one) for one in zip(kinds, attempts, strict=True)]) is stops


@pytest.mark.parametrize(
    ("requests", "absent", "unknown", "stops"),
    [
        (100_000, 100_000, 100_000, True),
        (100_000, 100, 90, True),
        (100_000, 1000, 3, False),
        (1, 1, 1, True),
        (5, 1, 1, True),
        (20, 1, 1, False),
        (20, 0, 5, False),
        (20, 5, 0, False),
    ],
)
def test_lines_of_nobody_stop_it_when_they_are_about_as_many_as_rows_without_one(
    requests: int, absent: int, unknown: int, *, stops: bool
) -> None:
    assert unmatched(requests, absent=absent, unknown=unknown) is stops
