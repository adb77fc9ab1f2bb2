"""The job's partitions as Dagster's, and stretches of them."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from batch_pipeline.orchestration.partitions import partitions_def, range_of, range_tags, ranges
from batch_pipeline.spec import Partitions

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def keys(**said: str) -> list[str]:
    definition = partitions_def(Partitions.model_validate({"column": "c", **said}))
    assert definition is not None
    with dg.partition_loading_context(effective_dt=NOW):
        return list(definition.get_partition_keys())


@pytest.mark.parametrize(
    ("said", "first", "last", "number"),
    [
        (
            {"kind": "daily", "start": "2026-01-01", "end": "2026-01-30"},
            "2026-01-01",
            "2026-01-30",
            30,
        ),
        (
            {"kind": "daily", "start": "2026-01-01", "end": "2026-01-01"},
            "2026-01-01",
            "2026-01-01",
            1,
        ),
        (
            {
                "kind": "daily",
                "start": "2026-03-28",
                "end": "2026-03-30",
                "timezone": "Europe/Berlin",
            },
            "2026-03-28",
            "2026-03-30",
            3,
        ),
        (
            {"kind": "hourly", "start": "2026-01-01-22:00", "end": "2026-01-02-01:00"},
            "2026-01-01-22:00",
            "2026-01-02-01:00",
            4,
        ),
        (
            {"kind": "weekly", "start": "2026-01-04", "end": "2026-01-18"},
            "2026-01-04",
            "2026-01-18",
            3,
        ),
        (
            {"kind": "monthly", "start": "2025-11-01", "end": "2026-02-01"},
            "2025-11-01",
            "2026-02-01",
            4,
        ),
        (
            {"kind": "monthly", "start": "2025-11", "end": "2025-12", "format": "%Y-%m"},
            "2025-11",
            "2025-12",
            2,
        ),
        (
            {"kind": "daily", "start": "20260101", "end": "20260103", "format": "%Y%m%d"},
            "20260101",
            "20260103",
            3,
        ),
    ],
)
def test_the_first_and_the_last_partition_are_those_of_the_job_file(
    said: dict[str, str], first: str, last: str, number: int
) -> None:
    found = keys(**said)
    assert (found[0], found[-1], len(found)) == (first, last, number)


@pytest.mark.parametrize("last", ["2026-10-25-02:00", "2026-10-25-02:00+0100"])
def test_an_end_may_be_either_of_two_hours_shown_alike(last: str) -> None:
    said = {"kind": "hourly", "start": "2026-10-25-01:00", "end": last}
    assert keys(**said, timezone="Europe/Berlin")[-1] == last


def test_without_an_end_partitions_go_on_with_the_calendar() -> None:
    assert keys(kind="daily", start="2026-10-29")[-1] == "2026-10-31"


def test_static_partitions_keep_their_order_and_an_unpartitioned_job_has_none() -> None:
    said = Partitions(kind="static", column="c", values=["b", "a"])
    definition = partitions_def(said)
    assert definition is not None
    assert list(definition.get_partition_keys()) == ["b", "a"]
    assert partitions_def(Partitions()) is None


KNOWN = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("ready", "bridges", "found"),
    [
        ([], [], []),
        (["a"], [], [("a", "a")]),
        (["a", "b", "c"], [], [("a", "c")]),
        (["e", "a", "b"], [], [("a", "b"), ("e", "e")]),
        (["a", "c"], ["b"], [("a", "c")]),
        (["b"], ["a", "c", "d"], [("b", "b")]),
        (["a", "e"], ["b", "d"], [("a", "a"), ("e", "e")]),
        (["x"], [], []),
    ],
)
def test_neighbours_are_one_stretch_and_bridges_never_lead_or_trail(
    ready: list[str], bridges: list[str], found: list[tuple[str, str]]
) -> None:
    assert list(ranges(ready, KNOWN, bridges=bridges)) == found


def test_tags_of_a_stretch_are_read_back() -> None:
    assert range_of(range_tags("a", "c")) == ("a", "c")
    assert range_of(range_tags("a", "a")) == ("a", "a")
    assert range_of({}) is None
