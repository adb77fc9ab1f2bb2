"""When absence is believed, when we look again, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.model import Missed, Observation, RemoteStatus, Shard
from batch_pipeline.policy.absence import (
    BELIEVED_AFTER,
    BELIEVED_LOOKS,
    LONGEST_PAUSE,
    LOOKED_FOR,
    SLOW_PAUSE,
    Absence,
    is_due,
    may_be_billed,
    missed,
    pause,
)
from batch_pipeline.policy.clocks import clock_is_off
from batch_pipeline.policy.retention import warn_from
from batch_pipeline.settings import CLOCK_JUMP

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
SEEN = Observation("b", RemoteStatus.RUNNING, "in_progress", 10, 0, 0, NOW)
SHARD = Shard("s", "j", 1, "openai", "m", "/v1/x", 10, 100, "d", remote=SEEN, batch_id="b")


def after(shard: Shard, absence: Absence) -> Shard:
    return replace(
        shard,
        missed=absence.what,
        missed_since=absence.since,
        looks=absence.looks,
        look_at=absence.look_at,
    )


@given(st.lists(st.integers(0, 10 * 3600), max_size=30))
def test_absence_is_believed_only_when_it_lasts_for_hours_and_several_looks(
    waits: list[int],
) -> None:
    shard, there = SHARD, NOW
    for looks, wait in enumerate(waits, 1):
        there += timedelta(seconds=wait)
        found = missed(shard, Missed.BATCH, there=there, now=NOW)
        lasted = found.looks >= BELIEVED_LOOKS and there - found.since >= BELIEVED_AFTER
        assert (found.looks, found.believed) == (looks, lasted or there > NOW + LOOKED_FOR)
        assert ("retry --lost" in found.told("x")) is found.believed
        shard = after(shard, found)


def test_another_thing_that_is_missed_begins_anew() -> None:
    shard = after(SHARD, Absence(Missed.BATCH, NOW - timedelta(days=2), 9, NOW, believed=True))
    found = missed(shard, Missed.ANSWERS, there=NOW, now=NOW)
    assert (found.since, found.looks, found.believed) == (NOW, 1, False)


@given(st.integers(1, 200))
def test_looks_come_ever_less_often_and_never_end_by_themselves(looks: int) -> None:
    assert pause(looks, believed=False) <= pause(looks + 1, believed=False) <= LONGEST_PAUSE
    assert pause(looks, believed=True) == SLOW_PAUSE


def test_looking_ends_when_nothing_can_be_there_any_more() -> None:
    late = NOW + LOOKED_FOR + timedelta(seconds=1)
    assert missed(SHARD, Missed.BATCH, there=late, now=NOW).look_at is None
    kept = replace(SHARD, remote=replace(SEEN, results_until=NOW))
    over = missed(kept, Missed.ANSWERS, there=NOW + timedelta(seconds=1), now=NOW)
    assert (over.look_at, over.believed) == (None, True)
    assert missed(kept, Missed.BATCH, there=NOW, now=NOW).look_at is not None


def test_a_look_that_a_wrong_clock_put_off_for_days_is_due() -> None:
    assert is_due(NOW, now=NOW)
    assert not is_due(NOW + timedelta(hours=2), now=NOW)
    assert is_due(NOW + CLOCK_JUMP + timedelta(hours=1), now=NOW)
    assert not is_due(None, now=NOW)


@pytest.mark.parametrize(
    ("status", "completed", "billed"),
    [
        (RemoteStatus.FAILED, 0, False),
        (RemoteStatus.EXPIRED, 0, False),
        (RemoteStatus.COMPLETED, 3, True),
        (RemoteStatus.CANCELLED, 0, True),  # its counts were seen to be reset
        (RemoteStatus.RUNNING, 0, True),
    ],
)
def test_what_may_be_on_the_providers_bill(
    status: RemoteStatus,
    completed: int,
    billed: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert may_be_billed(replace(SEEN, status=status, completed=completed)) is billed


def test_people_are_warned_with_a_quarter_of_the_time_left() -> None:
    assert warn_from(NOW, NOW + timedelta(hours=24)) == NOW + timedelta(hours=18)
    assert warn_from(NOW, NOW + timedelta(days=28)) == NOW + timedelta(days=21)
    assert warn_from(None, NOW) == NOW - timedelta(hours=6)


def test_a_clock_that_is_off_is_told_with_its_direction() -> None:
    assert "48.0 h ahead of openai's" in clock_is_off("openai", 172_800)
    assert "10 min behind mistral's" in clock_is_off("mistral", -600)
