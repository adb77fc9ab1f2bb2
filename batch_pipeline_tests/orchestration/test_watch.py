"""The watch sensor: what it asks for, what it says, and what it never does twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from batch_pipeline.errors import Unauthorized
from batch_pipeline.orchestration import sensors
from batch_pipeline.orchestration.history import NEED_TAG, PAUSES, may_ask
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import DAYS, World

ONE, TWO, THREE = DAYS


def ended(place: Location, *days: str) -> None:
    """Submit each of the days as a batch of its own, and let them end."""
    for day in days:
        place.submit(day)
    place.world.wait(60)


def pretend(place: Location, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    """The run that was asked for, as if a launcher had it."""
    place.instance.create_run_for_job(
        place.defs.resolve_job_def(str(request.job_name)), tags=dict(request.tags), status=status
    )


def only(ticked: dg.SensorResult) -> dg.RunRequest:
    (request,) = ticked.run_requests or []
    return request


def reason(ticked: dg.SensorResult) -> str:
    return (ticked.skip_reason and ticked.skip_reason.skip_message) or ""


def checks_left_open(place: Location, need: str) -> int:
    """Evaluations that the run for *need* planned and did not make: the page calls them skipped."""
    (run,) = place.instance.get_runs(dg.RunsFilter(tags={NEED_TAG: need}))
    kinds = [record.dagster_event_type for record in place.instance.all_logs(run.run_id)]
    made = kinds.count(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return 2 * len(DAYS) - made


def test_neighbours_that_ended_are_collected_in_one_run(place: Location) -> None:
    ended(place, *DAYS)
    request = only(place.tick(launch=False))
    assert request.job_name == "moods_collect"
    assert request.tags["dagster/asset_partition_range_start"] == ONE
    assert request.tags["dagster/asset_partition_range_end"] == THREE
    assert request.tags[NEED_TAG].startswith(f"{ONE}..{THREE} ")


def test_a_collect_run_passes_over_what_is_not_due_and_leaves_it_alone(place: Location) -> None:
    ended(place, TWO)
    place.finish()
    ended(place, ONE, THREE)
    before = [m.partition for m in place.materializations("results")]
    assert before == [TWO]
    request = only(place.tick())
    assert request.tags["dagster/asset_partition_range_end"] == THREE
    for step in ("results", "cost_report"):
        landed = [m.partition for m in place.materializations(step)]
        assert sorted(str(one) for one in landed) == list(DAYS)
    assert checks_left_open(place, str(request.tags["watch"])) == 0
    assert set(place.steps().values()) == {Step.DONE}


def test_a_live_run_is_not_asked_for_twice(place: Location) -> None:
    ended(place, ONE)
    first = only(place.tick(launch=False))
    pretend(place, first, dg.DagsterRunStatus.STARTING)
    again = place.tick(launch=False)
    assert not again.run_requests
    assert reason(again) == "1 collect."


def test_a_run_that_a_person_launched_counts_as_live(place: Location) -> None:
    ended(place, ONE)
    place.instance.create_run_for_job(
        place.defs.resolve_job_def("moods_collect"),
        tags={"dagster/partition": ONE},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert not place.tick(launch=False).run_requests


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_crashed_run_is_asked_for_again_under_another_key(
    place: Location, status: dg.DagsterRunStatus
) -> None:
    ended(place, ONE)
    first = only(place.tick(launch=False))
    pretend(place, first, status)
    second = only(place.tick(launch=False))
    assert second.tags[NEED_TAG] == first.tags[NEED_TAG]
    assert str(first.run_key).endswith("/0")
    assert str(second.run_key).endswith("/1")


def test_after_many_failures_the_watch_gives_up_and_says_so(place: Location) -> None:
    ended(place, ONE)
    for _ in PAUSES:
        pretend(place, only(place.tick(launch=False)), dg.DagsterRunStatus.FAILURE)
    ticked = place.tick(launch=False)
    assert not ticked.run_requests
    assert reason(ticked) == (
        "1 collect. 2026-01-01: gave up after 5 runs of moods_collect that failed or changed "
        "nothing. Their own errors say why; mend it, then launch moods_collect for these "
        "partitions."
    )
    assert place.run("collect", ONE).success  # a person does
    assert place.landed("results") == {ONE}


def test_a_need_that_failed_before_waits_longer_each_time() -> None:
    ended_at = datetime(2026, 1, 1, tzinfo=UTC)
    assert may_ask(0, None, now=ended_at)
    assert may_ask(1, ended_at, now=ended_at)
    assert may_ask(2, ended_at, now=ended_at + timedelta(seconds=59)) is False
    assert may_ask(2, ended_at, now=ended_at + timedelta(seconds=60))
    assert may_ask(len(PAUSES), ended_at, now=ended_at + timedelta(days=1)) is None


def test_a_previewed_or_overlapping_tick_asks_for_the_same_run(place: Location) -> None:
    ended(place, ONE)
    keys = {only(place.tick(launch=False)).run_key for _ in range(2)}
    assert keys == {only(place.tick()).run_key}
    assert place.landed("results") == {ONE}


def test_progress_is_observed_only_when_something_changed(place: Location) -> None:
    place.submit(*DAYS)
    place.tick()
    assert sorted(str(one.partition) for one in place.observations()) == list(DAYS)
    assert {
        k: v.value for k, v in place.observations()[0].metadata.items() if k != "window_closes"
    } == {
        "step": "wait",
        "in_flight": 5,
        "succeeded": 0,
        "failed": 0,
        "batches_to_send": 0,
        "batches_at_provider": 1,
        "batches_ended": 0,
        "batches_collected": 0,
        "batches_blocked": 0,
    }
    place.tick()
    assert len(place.observations()) == 3


def test_a_lost_cursor_repeats_observations_and_nothing_else(place: Location) -> None:
    place.submit(*DAYS)
    place.finish()
    seen, before = len(place.observations()), place.creates()
    place.dagster.forget()
    ticked = place.tick()
    assert not ticked.run_requests
    assert len(place.observations()) == seen  # what has ended is not told again
    assert place.creates() == before


def test_the_cursor_remembers_only_what_is_on_its_way(place: Location) -> None:
    place.submit(ONE)
    with place.world.open(place.job) as shell:
        on_its_way = shell.steps()
    _, cursor = sensors.news(None, on_its_way)
    assert set(json.loads(cursor)) == {ONE}
    place.finish()
    with place.world.open(place.job) as shell:
        changed, cursor = sensors.news(cursor, shell.steps())
    assert changed == [ONE]
    assert json.loads(cursor) == {}


@pytest.mark.parametrize("cursor", ["", "not json", "[1]", None])
def test_a_broken_cursor_is_an_empty_one(cursor: str | None) -> None:
    assert sensors.news(cursor, {}) == ([], "{}")


def test_an_unsent_job_says_what_to_do_first(place: Location) -> None:
    assert reason(place.tick()) == (
        "Nothing was built yet: materialize requests and batches, or backfill the job."
    )


def test_a_refused_key_fails_the_tick_but_does_not_keep_ended_batches_waiting(
    place: Location, world: World
) -> None:
    ended(place, ONE)
    place.tick(launch=False)  # the ledger knows now that it has ended
    place.submit(TWO)
    world.wait(60)
    world.sim.faults({"calls": [{"do": "fail", "operation": "list", "status": 401}]})
    assert only(place.tick(launch=False)).tags["dagster/partition"] == ONE


def test_a_refused_key_with_nothing_to_collect_is_a_failed_tick(
    place: Location, world: World
) -> None:
    place.submit(ONE)
    world.wait(60)
    world.sim.faults({"calls": [{"do": "fail", "operation": "list", "status": 401}]})
    with pytest.raises(Unauthorized, match="HTTP 401"):
        place.tick()


def test_a_provider_that_is_away_for_a_while_is_a_skipped_tick(
    place: Location, world: World
) -> None:
    place.submit(ONE)
    world.wait(60)
    world.sim.faults({"calls": [{"do": "fail", "operation": "list", "status": 503}]})
    ticked = place.tick()
    assert reason(ticked).startswith("1 wait. The provider is not answering: ")


def test_a_tick_of_a_job_without_a_key_fails_clearly(world: World) -> None:
    with location(world) as place:
        place.submit(ONE)
        world.wait(60)
    with (
        location(world, env={"OPENAI_API_KEY": ""}) as place,
        pytest.raises(Unauthorized, match="OPENAI_API_KEY is not set"),
    ):
        place.tick()
