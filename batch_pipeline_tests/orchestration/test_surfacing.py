"""How trouble reaches people: what to do, no blind retries, and never a key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from batch_pipeline.errors import BatchPipelineError, StoreError, Throttled, Unavailable
from batch_pipeline.orchestration.assets import surfaced
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import DAYS, KEY, World

ONE = DAYS[0]


def described(done: dg.ExecuteInProcessResult, step: str) -> tuple[str, dict[str, Any]]:
    """The failure of a step: its words and its metadata."""
    failed = done.failure_data_for_node(f"moods__{step}")
    assert failed is not None
    assert failed.user_failure_data is not None
    metadata: dict[str, Any] = {
        key: value.value for key, value in failed.user_failure_data.metadata.items()
    }
    return str(failed.user_failure_data.description), metadata


def everything_said(place: Location) -> Iterator[str]:
    for run in place.instance.get_runs():
        yield repr(run)
        for record in place.instance.all_logs(run.run_id):
            yield repr(record)
            yield str(record.dagster_event)
    for step in ("requests", "batches", "results", "cost_report"):
        yield repr(place.materializations(step))
    yield repr(place.observations())


def test_waiting_helps_against_a_throttle_so_dagster_tries_the_step_again() -> None:
    with pytest.raises(dg.RetryRequested) as raised, surfaced():
        raise Throttled("slow down", retry_after=7)
    assert raised.value.seconds_to_wait == 7
    with pytest.raises(dg.RetryRequested), surfaced():
        raise Unavailable("nobody there")


@pytest.mark.parametrize("error", [StoreError("the disk is full"), BatchPipelineError("no")])
def test_other_errors_say_what_to_do_and_are_not_tried_again(error: BatchPipelineError) -> None:
    with pytest.raises(dg.Failure) as raised, surfaced():
        raise error
    assert raised.value.description == str(error)
    assert raised.value.allow_retries is False
    assert raised.value.metadata["kind"].value == type(error).__name__
    assert "materialize the same partitions again" in str(raised.value.metadata["what to do"].value)


def test_a_missing_key_is_a_failed_run_that_names_it(world: World) -> None:
    with location(world, env={"OPENAI_API_KEY": ""}) as place:
        done = place.submit(ONE)
        assert not done.success
        said, metadata = described(done, "batches")
        assert said.startswith("openai: OPENAI_API_KEY is not set")
        assert metadata["kind"] == "Unauthorized"
        assert place.landed("requests") == {ONE}


def test_an_unknown_model_reaches_the_person_in_the_providers_words(world: World) -> None:
    with location(world, targets=[{"provider": "openai", "model": "gpt-9-imaginary"}]) as place:
        place.submit(ONE)
        with pytest.raises(BatchPipelineError, match="gpt-9-imaginary"):
            place.finish()
        assert place.landed("results") == place.landed("cost_report") == {ONE}
        assert place.metadata("results", ONE)["failed"] == 5
        assert not place.tick().run_requests


def test_a_dataset_that_is_not_there_is_named(world: World) -> None:
    gone = {"path": str(world.folder / "gone"), "key": "id"}
    with location(world, dataset=gone) as place:
        said, _ = described(place.dagster.submit("moods", [ONE]), "requests")
        assert str(world.folder / "gone") in said


def test_a_busy_provider_leaves_the_run_green_and_the_rest_to_the_watch(world: World) -> None:
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
    with location(world) as place:
        assert place.submit(ONE).success
        metadata = place.metadata("batches", ONE)
        assert metadata["sent_now"] == 0
        assert metadata["not_sent_yet"] == 5
        assert "429" in metadata["waiting_because"]
        world.sim.faults({})
        place.finish()
        assert place.landed("results") == {ONE}


def test_the_key_is_in_no_event_tag_or_log(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "r-000-"}]})
    with location(world) as place:
        place.submit(*DAYS)
        place.finish()
        world.sim.faults({"calls": [{"do": "fail", "operation": "upload", "status": 401}]})
        place.run("retry_failed", ONE, failure_kinds=["refused"])
        said = "\n".join(everything_said(place))
        assert "Unauthorized" in said
        assert KEY not in said
        assert KEY[-8:] not in said
