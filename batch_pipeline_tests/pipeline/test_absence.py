"""What is not found at a provider is looked for again, for free, before anybody pays twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batch_pipeline.model import Missed, ShardState
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.world import DAYS, World, every_provider

DAY = DAYS[0]
HOUR = 3600
TARGETS = {
    "openai": {"provider": "openai", "model": "gpt-4.1-nano"},
    "anthropic": {"provider": "anthropic", "model": "claude-haiku-4-5"},
    "mistral": {"provider": "mistral", "model": "mistral-small-2603"},
}
GONE = {"do": "fail", "status": 404}
each_provider = pytest.mark.parametrize("provider", list(TARGETS))


def of(world: World, provider: str) -> BatchJob:
    world.env |= every_provider(world.sim)
    return world.job(targets=[TARGETS[provider]])


def hide(world: World, *operations: str) -> None:
    """Whatever these calls are about is not found; a listing leaves it out."""
    hidden = [{"do": "lag", "operation": what} for what in operations if what != "list"]
    world.sim.faults({"calls": [*hidden, {"do": "lag", "operation": "list"}]})


def look_for(shell: Pipeline, world: World, hours: int) -> None:
    for _ in range(hours):
        world.wait(HOUR)
        shell.watch()
        if shell.steps()[DAY][0] is Step.COLLECT:
            shell.collect([DAY])


@each_provider
def test_a_batch_that_is_hidden_for_a_while_goes_on_by_itself(world: World, provider: str) -> None:
    job = of(world, provider)
    world.send(job)
    with world.open(job) as shell:
        hide(world, "retrieve")
        look_for(shell, world, hours=3)
        [shard] = shell.shards()
        assert (shard.state, shard.missed) == (ShardState.SUBMITTED, Missed.BATCH)
        assert shard.looks > 1
        assert shell.steps()[DAY][0] is Step.WAIT
        assert "retry --lost" not in str(shard.message)
        world.sim.faults(None)
        look_for(shell, world, hours=3)
        [shard] = shell.shards()
        assert (shard.state, shard.missed) == (ShardState.COLLECTED, None)
    assert world.run(job)[DAY][0] is Step.DONE
    assert world.sendings == {1}


@each_provider
def test_a_batch_that_was_given_up_goes_on_when_it_is_there_again(
    world: World, provider: str
) -> None:
    job = of(world, provider)
    world.send(job)
    with world.open(job) as shell:
        hide(world, "retrieve")
        look_for(shell, world, hours=10)
        [shard] = shell.shards()
        assert (shard.state, shell.steps()[DAY][0]) == (ShardState.FAILED, Step.BLOCKED)
        assert "retry --lost" in str(shard.message)
    assert world.run(job)[DAY][0] is Step.BLOCKED  # it looks, and pays nothing
    world.sim.faults(None)
    assert world.run(job)[DAY][0] is Step.DONE
    assert world.sendings == {1}


@each_provider
def test_answers_that_are_not_found_for_a_while_are_fetched_later(
    world: World, provider: str
) -> None:
    job = of(world, provider)
    world.send(job)
    world.wait(30)
    world.sim.faults({"calls": [{**GONE, "operation": "content", "times": 3}]})
    assert world.run(job)[DAY][0] is not Step.BLOCKED
    world.sim.faults(None)
    world.wait(10 * HOUR)
    assert world.run(job)[DAY][0] is Step.DONE
    assert world.sendings == {1}


@pytest.mark.parametrize("provider", ["openai", "mistral"])
def test_answers_that_were_given_up_are_fetched_when_they_are_there_again(
    world: World, provider: str
) -> None:
    job = of(world, provider)
    world.send(job)
    world.wait(30)
    world.sim.faults({"calls": [{**GONE, "operation": "content"}]})
    with world.open(job) as shell:
        shell.watch()
        look_for(shell, world, hours=10)
        [shard] = shell.shards()
        assert (shard.state, shard.missed) == (ShardState.FAILED, Missed.ANSWERS)
        asked = len(world.sim.log("content"))
        world.wait(60)
        shell.watch()
        assert len(world.sim.log("content")) == asked  # not every minute
        world.sim.faults(None)
        look_for(shell, world, hours=7)
        assert shell.steps()[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_looking_ends_when_the_provider_keeps_them_no_longer(world: World) -> None:
    job = of(world, "mistral")
    world.send(job)
    world.wait(30)
    with world.open(job) as shell:
        shell.watch()
        world.sim.faults({"calls": [{**GONE, "operation": "content"}]})
        world.wait(25 * HOUR)
        shell.collect([DAY])
        [shard] = shell.shards()
        assert (shard.state, shard.look_at) == (ShardState.FAILED, None)
        look_for(shell, world, hours=2)
        assert len(world.sim.log("content")) == 1
        assert shell.resend([DAY], lost=True).requests == 5
    assert world.sendings == {2}


def test_only_a_persons_word_pays_again_and_the_lost_batch_is_on_the_bill(world: World) -> None:
    world.send()
    with world.open() as shell:
        hide(world, "retrieve")
        look_for(shell, world, hours=1)
        assert shell.resend([DAY]).requests == 0
        world.sim.faults(None)
        assert shell.resend([DAY], lost=True).requests == 5
        lost, _ = world.batches
        assert shell.follow([DAY])[DAY][0] is Step.DONE
        made = shell.report([DAY])
        assert [one.batch_id for one in made.beside] == [lost]
        assert (made.total.unknown_cost, made.total.attempts) == (5, 10)
        assert "1 duplicate or lost batches" in made.to_markdown()


def test_a_clock_that_jumps_ahead_does_not_make_absence_last(world: World) -> None:
    world.send()
    hide(world, "retrieve")
    with world.open() as shell:
        for _ in range(12):
            world.at += timedelta(hours=3)  # ours alone
            world.sim.advance(120)
            shell.watch()
        [shard] = shell.shards()
        assert shard.looks > 4
        assert shard.state is ShardState.SUBMITTED
