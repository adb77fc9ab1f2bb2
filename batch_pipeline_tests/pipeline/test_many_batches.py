"""Looking at many batches: a provider is asked for lists, and never for each batch."""

from __future__ import annotations

from math import ceil
from types import ModuleType

import pytest

from batch_pipeline.model import ShardState
from batch_pipeline.pipeline import watching
from batch_pipeline.providers.anthropic import client as anthropic
from batch_pipeline.providers.mistral import answers as mistral
from batch_pipeline.providers.openai import client as openai
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.world import DAYS, World, every_provider, rows

TARGETS = {
    "openai": {"provider": "openai", "model": "gpt-4.1-nano"},
    "anthropic": {"provider": "anthropic", "model": "claude-haiku-4-5"},
    "mistral": {"provider": "mistral", "model": "mistral-small-2603"},
}
PAGES: dict[str, tuple[ModuleType, str]] = {
    "openai": (openai, "_PAGE"),
    "anthropic": (anthropic, "_PAGE"),
    "mistral": (mistral, "PAGE"),
}
BATCHES = 25
each_provider = pytest.mark.parametrize("provider", list(TARGETS))


def sent(world: World, provider: str) -> BatchJob:
    """So many batches of one row each, in flight."""
    world.env |= every_provider(world.sim)
    world.write_rows({DAYS[0]: rows(BATCHES - 2), DAYS[1]: rows(1), DAYS[2]: rows(1)})
    job = world.job(targets=[TARGETS[provider]], shard={"max_requests": 1})
    assert len(world.send(job).sent) == BATCHES
    return job


def looked(world: World, job: BatchJob) -> tuple[int, int]:
    """How many pages a look takes, and how many calls in all."""
    before, pages = len(world.sim.log()), len(world.sim.log("list"))
    world.wait(60)
    with world.open(job) as shell:
        shell.watch()
    return len(world.sim.log("list")) - pages, len(world.sim.log()) - before


@each_provider
def test_a_look_takes_a_call_for_each_page_of_the_list_and_no_other(
    world: World, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = PAGES[provider]
    assert getattr(module, name) == 100
    monkeypatch.setattr(module, name, page := 10)
    job = sent(world, provider)
    pages, calls = looked(world, job)
    assert pages == calls == ceil(BATCHES / page)
    with world.open(job) as shell:
        assert {shard.state for shard in shell.shards()} == {ShardState.ENDED}


def test_of_many_batches_that_no_list_shows_a_few_are_asked_for_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_MOST_ALONE", 10)
    job = sent(world, "openai")
    world.sim.faults({"calls": [{"do": "lag", "operation": "list"}]})
    seen = 0
    for _ in range(20):
        pages, calls = looked(world, job)
        assert (pages, calls - pages) <= (1, 10)
        with world.open(job) as shell:
            seen = sum(one.state is ShardState.ENDED for one in shell.shards())
        if seen == BATCHES:
            break
    assert seen == BATCHES  # every one has had its turn


def test_many_batches_that_were_given_up_are_looked_for_in_the_list(world: World) -> None:
    job = sent(world, "openai")
    hidden = [{"do": "lag", "operation": what} for what in ("list", "retrieve")]
    world.sim.faults({"calls": hidden})
    left = BATCHES
    while left:
        world.wait(2 * 3600)
        looked(world, job)
        with world.open(job) as shell:
            left = sum(one.state is not ShardState.FAILED for one in shell.shards())
    world.sim.faults(None)
    world.wait(7 * 3600)
    pages, calls = looked(world, job)
    assert pages == calls == 1
