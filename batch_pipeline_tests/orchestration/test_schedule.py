"""The schedule: the newest partitions that the dataset has and nobody sent, each once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster._core.errors import ScheduleExecutionError

from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import DAYS, World

ONE, TWO, THREE = DAYS
JANUARY = {"kind": "daily", "column": "day", "start": ONE}
SPAN = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@pytest.fixture
def place(world: World) -> Iterator[Location]:
    """A daily job without an end, with a schedule."""
    with location(world, partitions=JANUARY, schedule={"cron": "0 6 * * *"}) as one:
        yield one


def fire(place: Location, day: str) -> dg.ScheduleExecutionData:
    """The tick of six o'clock on a day."""
    context = dg.build_schedule_context(
        instance=place.instance,
        scheduled_execution_time=datetime.fromisoformat(f"{day}T06:00").replace(tzinfo=UTC),
        repository_def=place.defs.get_repository_def(),
        resources=dict(place.defs.resources or {}),
    )
    # Dagster opens an instance by reference, which one in memory has not
    context._instance_ref = ...  # type: ignore[assignment]
    context._instance = place.instance  # type: ignore[assignment]
    return place.defs.resolve_schedule_def("moods_schedule").evaluate_tick(context)


def spans(ticked: dg.ScheduleExecutionData) -> list[tuple[str, ...]]:
    """The stretches that were asked for."""
    return [
        tuple(request.tags[tag] for tag in SPAN)
        if SPAN[0] in request.tags
        else (request.tags["dagster/partition"],)
        for request in ticked.run_requests or []
    ]


def test_days_that_are_over_and_unsent_are_one_run(place: Location) -> None:
    assert spans(fire(place, "2026-01-03")) == [(ONE, TWO)]
    assert spans(fire(place, "2026-01-04")) == [(ONE, THREE)]


def test_the_run_it_asks_for_submits_the_stretch(place: Location) -> None:
    (request,) = fire(place, "2026-01-04").run_requests or []
    done = place.dagster.execute("moods_submit", tags=dict(request.tags))
    assert done.success
    assert place.landed("batches") == set(DAYS)
    again = fire(place, "2026-01-04")
    assert not again.run_requests
    assert again.skip_message == "Nothing new among 2026-01-01, 2026-01-02, 2026-01-03."


def test_what_somebody_submitted_is_left_out(place: Location) -> None:
    place.submit(TWO)
    assert spans(fire(place, "2026-01-04")) == [(ONE,), (THREE,)]


def test_a_submit_run_that_is_still_going_is_left_alone(place: Location) -> None:
    place.instance.create_run_for_job(
        place.defs.resolve_job_def("moods_submit"),
        tags={"dagster/partition": THREE},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert spans(fire(place, "2026-01-04")) == [(ONE, TWO)]


def test_what_a_person_cancelled_stays_cancelled(place: Location, world: World) -> None:
    with world.open(place.job) as shell:
        shell.build([THREE])
        shell.cancel([THREE])
    assert spans(fire(place, "2026-01-04")) == [(ONE, TWO)]


def test_old_partitions_are_left_to_a_backfill(place: Location) -> None:
    assert not fire(place, "2026-01-20").run_requests


def test_a_job_without_partitions_is_submitted_each_time(world: World) -> None:
    changes = {"partitions": {"kind": "none"}, "schedule": {"cron": "@daily"}}
    with location(world, **changes) as place:
        assert len(fire(place, "2026-01-04").run_requests or []) == 1


def test_a_missing_dataset_fails_the_tick_with_its_path(world: World) -> None:
    gone = {"path": str(world.folder / "gone"), "key": "id"}
    with (
        location(world, dataset=gone, schedule={"cron": "@daily"}) as place,
        pytest.raises(ScheduleExecutionError) as raised,
    ):
        fire(place, "2026-01-04")
    assert str(world.folder / "gone") in str(raised.value.__cause__)


def test_both_hours_that_the_clock_shows_alike_are_asked_for_and_sent(world: World) -> None:
    nights = [datetime(2026, 10, 24, 23, 30, tzinfo=UTC) + timedelta(hours=n) for n in range(4)]
    folder = world.folder / "nights"
    folder.mkdir()
    columns = {"id": list("abcdefgh"), "body": ["good"] * 8, "at": sorted(nights * 2)}
    pq.write_table(pa.table(columns), folder / "part.parquet")
    hours = {
        "dataset": {"path": str(folder), "key": "id"},
        "partitions": {
            "kind": "hourly",
            "column": "at",
            "start": "2026-10-25-00:00",
            "timezone": "Europe/Berlin",
        },
    }
    with location(world, schedule={"cron": "0 6 * * *"}, **hours) as place:
        (request,) = fire(place, "2026-10-25").run_requests or []
        assert [request.tags[tag] for tag in SPAN] == ["2026-10-25-01:00", "2026-10-25-03:00"]
        assert place.dagster.execute("moods_submit", tags=dict(request.tags)).success
        assert place.landed("batches") == {
            *("2026-10-25-01:00", "2026-10-25-02:00", "2026-10-25-02:00+0100", "2026-10-25-03:00")
        }
    world.wait(60)
    assert sum(world.sim.submissions().values()) == 8
    assert world.sendings == {1}
