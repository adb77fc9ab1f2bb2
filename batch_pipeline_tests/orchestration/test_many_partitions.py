"""A watch over many partitions: few events a tick, each told once, and few looks at history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import Engine, event

from batch_pipeline.model import PartitionCounts, PartitionSummary, ShardState
from batch_pipeline.orchestration import run_requests, sensors
from batch_pipeline.orchestration.history import PAUSES
from batch_pipeline.orchestration.sensors import MOST_EVENTS
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import location
from batch_pipeline_tests.world import World, made

DAYS = [f"{date(2026, 1, 1) + timedelta(days=n)}" for n in range(120)]
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def stand(step: Step, state: ShardState, *, failed: int = 0) -> tuple[Step, PartitionSummary]:
    counts = PartitionCounts("moods", "", requests=5, failed=failed, landed=0)
    return step, PartitionSummary(counts, shards={state: 1})


ON_ITS_WAY = stand(Step.WAIT, ShardState.SUBMITTED)
OVER = stand(Step.DONE, ShardState.COLLECTED)


def told(cursor: str | None, steps: sensors.Steps, *, ticks: int) -> tuple[list[str], str | None]:
    """What so many ticks tell, of steps that stay as they are."""
    said: list[str] = []
    for _ in range(ticks):
        names, cursor = sensors.news(cursor, steps)
        assert len(names) <= MOST_EVENTS <= 50
        said += names
    return said, cursor


def test_what_is_too_much_for_one_tick_is_told_by_the_next_ones_and_once() -> None:
    said, cursor = told(None, dict.fromkeys(DAYS, ON_ITS_WAY), ticks=4)
    assert said == DAYS
    said, cursor = told(cursor, dict.fromkeys(DAYS, OVER), ticks=4)
    assert said == DAYS
    assert cursor == "{}"


def test_what_ends_before_its_turn_is_told_how_it_ended() -> None:
    first, cursor = told(None, dict.fromkeys(DAYS, ON_ITS_WAY), ticks=1)
    said, cursor = told(cursor, dict.fromkeys(DAYS, OVER), ticks=4)
    assert Counter(said) == Counter(DAYS)
    assert len(first) == MOST_EVENTS
    assert cursor == "{}"


def test_partitions_that_change_with_each_tick_keep_no_other_waiting() -> None:
    cursor: str | None = None
    said: set[str] = set()
    for tick in range(3):
        restless = stand(Step.WAIT, ShardState.SUBMITTED, failed=tick)
        steps = dict.fromkeys(DAYS[:60], restless) | dict.fromkeys(DAYS[60:], ON_ITS_WAY)
        names, cursor = sensors.news(cursor, steps)
        said |= set(names)
    assert said == set(DAYS)


def test_the_cursor_of_many_partitions_is_short_and_is_read_as_an_older_one_is() -> None:
    steps = dict.fromkeys(DAYS, ON_ITS_WAY)
    _, cursor = told(None, steps, ticks=4)
    assert cursor is not None
    assert len(cursor) < 10 * len(DAYS)
    older = str(sensors._seen(cursor)).replace("'", '"')
    assert sensors.news(older, steps) == sensors.news(cursor, steps) == ([], cursor)


@pytest.mark.parametrize("cursor", ["eJw", "AAAA", "é", "not base64!"])
def test_a_broken_cursor_of_many_partitions_is_an_empty_one(cursor: str) -> None:
    assert sensors.news(cursor, {}) == ([], "{}")


def test_a_tick_of_many_changes_records_few_events_its_check_among_them(tmp_path: Path) -> None:
    days = DAYS[: MOST_EVENTS + 1]
    with (
        made(tmp_path, per_day=1, days=days) as world,
        location(world, partitions=_daily(days)) as place,
    ):
        place.submit(*days)
        place.world.wait(23 * 86_400)  # answers run out: that is an event too
        ticks = [place.dagster.tick("moods_watch", launch=False) for _ in range(2)]
        assert [len(one.asset_events) for one in ticks] == [MOST_EVENTS, MOST_EVENTS]
        assert sum(isinstance(e, dg.AssetCheckEvaluation) for e in ticks[0].asset_events) == 1
        names = {e.partition for one in ticks for e in one.asset_events}
        assert len(names) == MOST_EVENTS  # a previewed tick keeps nothing: the second is the first


def _daily(days: list[str]) -> dict[str, str]:
    return {"kind": "daily", "column": "day", "start": days[0], "end": days[-1]}


@contextmanager
def asked_of_databases() -> Iterator[list[str]]:
    """The statements that databases of this process are asked meanwhile."""
    found: list[str] = []

    def note(*said: object) -> None:
        found.append(str(said[2]))

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


def test_each_of_many_scattered_needs_has_its_own_tries_and_no_query_of_its_own(
    world: World,
) -> None:
    steps = {
        day: stand(Step.RETRY, ShardState.COLLECTED, failed=1) if n % 2 else ON_ITS_WAY
        for n, day in enumerate(DAYS)
    }
    with location(world, partitions=_daily(DAYS)) as place:
        found = run_requests.asked(place.instance, place.job, steps, now=NOW)
        assert len(found.runs) == len(DAYS) // 2
        for request in found.runs[:3] * len(PAUSES):
            place.instance.create_run_for_job(
                place.defs.resolve_job_def(str(request.job_name)),
                tags=dict(request.tags),
                status=dg.DagsterRunStatus.FAILURE,
            )
        with asked_of_databases() as statements:
            again = run_requests.asked(place.instance, place.job, steps, now=NOW)
        assert [run.tags for run in again.runs] == [run.tags for run in found.runs[3:]]
        assert sum("gave up after 5 runs" in note for note in again.notes) == 3
        selects = [text for text in statements if text.startswith("SELECT")]
        assert 0 < len(selects) < 10
