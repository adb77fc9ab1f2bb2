"""Batches that a lost answer left behind: found, never paid twice unseen, and on the bill."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from batch_pipeline.model import RemoteStatus, ShardState
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.pipeline.test_absence import of
from batch_pipeline_tests.world import DAYS, KEY, World

DAY = DAYS[0]
LOST = {"do": "drop", "operation": "create", "when": "after", "times": 1}
NO_NAME = {"do": "drop_metadata"}  # where there is any
NOT_MADE = {**LOST, "when": "before"}


def hidden(seconds: float) -> dict[str, object]:
    """The batch is made, its answer is lost, and the listing shows it so much later."""
    lag = {"do": "lag", "operation": "list", "seconds": seconds}
    return {"calls": [LOST, lag], "batches": [NO_NAME]}


@pytest.fixture(params=["anthropic", "a service"])
def nameless(request: pytest.FixtureRequest, world: World) -> BatchJob:
    """A job at a provider whose batches carry no metadata, and at a service that drops it."""
    if request.param == "anthropic":
        return of(world, "anthropic")
    service = {
        "provider": "openai",
        "base_url": world.sim.urls["openai"],
        "key_variable": "GATEWAY_API_KEY",
        "max_requests": 1000,
        "max_bytes": 1_000_000,
        "prices": "openai",
    }
    path = world.folder / "services.yaml"
    path.write_text(yaml.safe_dump({"gateway": service}), encoding="utf-8")
    world.settings = replace(world.settings, services=str(path))
    world.env["GATEWAY_API_KEY"] = KEY
    return world.job(
        targets=[{"provider": "openai", "service": "gateway", "model": "gpt-4.1-nano"}]
    )


@pytest.mark.parametrize("lag", [120, 1500])
def test_while_a_listing_may_hide_a_nameless_batch_nothing_is_sent_again(
    world: World, nameless: BatchJob, lag: float
) -> None:
    world.sim.faults(hidden(lag))
    assert world.send(nameless).waiting[0].state is ShardState.IN_DOUBT
    assert world.run(nameless)[DAY][0] is Step.DONE
    assert len(world.batches) == 1
    assert world.sendings == {1}


def test_a_nameless_batch_that_was_not_made_is_sent_when_none_can_be_hidden(
    world: World, nameless: BatchJob
) -> None:
    world.sim.faults({"calls": [NOT_MADE], "batches": [NO_NAME]})
    world.send(nameless)
    began = world.now()
    assert world.run(nameless)[DAY][0] is Step.DONE
    assert world.now() - began > timedelta(seconds=2 * world.settings.listing_lag_seconds)
    assert world.sendings == {1}


def test_a_clock_that_jumps_does_not_end_a_doubt(world: World, nameless: BatchJob) -> None:
    world.sim.faults(hidden(600))
    world.send(nameless)
    with world.open(nameless) as shell:
        for _ in range(3):
            world.at += timedelta(hours=5)
            shell.submit([DAY])
    assert len(world.batches) == 1


def test_a_nameless_batch_that_turns_up_after_all_is_on_the_bill(
    world: World, nameless: BatchJob
) -> None:
    world.sim.faults(hidden(2 * 3600))  # longer than any listing was ever seen to lag
    assert world.run(nameless)[DAY][0] is Step.DONE
    first, second = world.batches
    world.wait(2 * 3600)
    with world.open(nameless) as shell:
        shell.watch()
        [shard] = shell.shards()
        assert shard.batch_id == second
        history = shell.records.ledger.history(shard.shard_id)
        assert {record.observation.batch_id for record in history} == {first, second}
        made = shell.report([DAY])
        assert [one.batch_id for one in made.beside] == [first]
        assert (made.total.attempts, made.total.unknown_cost) == (10, 5)
    assert world.run(nameless)[DAY][0] is Step.DONE
    assert len(world.batches) == 2


def test_a_nameless_batch_that_turns_up_in_time_is_adopted(
    world: World, nameless: BatchJob
) -> None:
    lag = {"do": "lag", "operation": "list", "seconds": 3000}
    again = {"do": "fail", "operation": "create", "status": 429, "retry_after": 900, "nth": [1, 2]}
    world.sim.faults({"calls": [LOST, again, lag], "batches": [NO_NAME]})
    assert world.run(nameless)[DAY][0] is Step.DONE
    assert len(world.batches) == 1
    assert world.sendings == {1}


@pytest.mark.parametrize("provider", ["openai", "mistral"])
@pytest.mark.parametrize("when", ["running", "ended"])
def test_a_duplicate_with_a_name_is_recorded_and_billed_whenever_it_shows_up(
    world: World, provider: str, when: str
) -> None:
    job = of(world, provider)
    world.send(job)
    with world.open(job) as shell:
        [shard] = shell.shards()
        client = shell.clients.client(provider)
        file_id = shard.remote.input_file_id if shard.remote else None
        late = client.create(shard, Path("up already"), file_id=str(file_id))
        if when != "running":
            world.wait(60)
        shell.watch()
        history = shell.records.ledger.history(shard.shard_id)
        names = {record.observation.batch_id for record in history}
        assert late.batch_id in names
        assert shell.follow([DAY])[DAY][0] is Step.DONE
        if when == "running":
            world.wait(60)
            shell.watch()
            seen = client.retrieve(late.batch_id)
            assert seen.status is RemoteStatus.CANCELLED
        assert [one.batch_id for one in shell.report([DAY]).beside] == [late.batch_id]


@pytest.mark.parametrize("provider", ["openai", "mistral"])
def test_a_duplicate_that_shows_up_after_all_is_collected_is_billed_too(
    world: World, provider: str
) -> None:
    job = of(world, provider)
    world.sim.faults({"calls": [LOST, {"do": "lag", "operation": "list", "seconds": 3600}]})
    assert world.run(job)[DAY][0] is Step.DONE  # two looks found nothing, so it was sent again
    first, _ = world.batches
    world.wait(3600)
    with world.open(job) as shell:
        shell.watch()
        assert [one.batch_id for one in shell.report([DAY]).beside] == [first]
        assert "duplicate" in shell.report([DAY]).to_markdown()


def test_a_duplicate_that_cannot_be_cancelled_blinds_nobody(world: World) -> None:
    world.send()
    with world.open() as shell:
        [shard] = shell.shards()
        file_id = shard.remote.input_file_id if shard.remote else None
        shell.clients.client("openai").create(shard, Path("up already"), file_id=str(file_id))
        world.sim.faults({"calls": [{"do": "fail", "operation": "cancel", "status": 400}]})
        assert shell.follow([DAY])[DAY][0] is Step.DONE
        assert len(world.sim.log("cancel")) == 1
