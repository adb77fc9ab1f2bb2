"""Runs that meet: leases keep them apart, and a dead holder does not keep anybody waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from batch_pipeline.cli.selection import select
from batch_pipeline.errors import Throttled
from batch_pipeline.model import ShardState
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.runtime import is_dead, own_name
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.world import DAYS, World, rows

DAY = DAYS[0]


def a_dead_name() -> str:
    """The name of a process of this host that has ended."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return own_name().replace(f":{os.getpid()}:", f":{process.pid}:")


def test_only_a_process_of_this_host_that_is_gone_is_dead() -> None:
    gone = a_dead_name()
    assert is_dead(gone)
    assert not is_dead(own_name())
    assert not is_dead(own_name().replace(f":{os.getpid()}:", ":1:"))
    assert not is_dead(gone.replace("/", "/9"))  # the same number in another container
    assert not is_dead("elsewhere/0:1:abc")
    assert not is_dead("a poll has no process")


def test_a_lease_of_a_live_run_is_waited_for_and_then_given_up(world: World) -> None:
    with world.open() as shell:
        shell.build([DAY])
        name, ledger = f"plan:{shell.job.name}", shell.records.ledger
        ledger.lock(name, owner="elsewhere:1:x", now=world.now(), lease=1e6)
        with pytest.raises(Throttled, match="another run has been at this"):
            shell.submit([DAY])
    assert not world.sim.log()


def test_a_lease_of_a_dead_run_is_taken_over_at_once(world: World) -> None:
    world.send()
    world.wait(30)
    with world.open() as shell:
        shell.watch()
        owner, [shard] = a_dead_name(), shell.shards()
        for name in (f"plan:{shell.job.name}", f"collect:{shard.shard_id}"):
            shell.records.ledger.lock(name, owner=owner, now=world.now(), lease=1e6)
        before = world.now()
        assert shell.follow([DAY])[DAY][0] is Step.DONE
        assert (world.now() - before).total_seconds() < 60


def test_who_lost_the_lease_while_planning_plans_nothing(world: World) -> None:
    with world.open() as shell:
        shell.build([DAY])
        name, ledger = f"plan:{shell.job.name}", shell.records.ledger
        with shell.runtime.lease(name, seconds=5):
            world.wait(6)
            ledger.lock(name, owner="elsewhere:1:x", now=world.now(), lease=60)
            with pytest.raises(Throttled, match="another one took over"):
                shell.runtime.still_holds(name, seconds=5)
        assert ledger.holders(name) == {name: "elsewhere:1:x"}


def test_a_run_waits_while_another_one_collects(world: World) -> None:
    world.send()
    world.wait(30)
    with world.open() as shell:
        shell.watch()
        [shard] = shell.shards()
        lease = f"collect:{shard.shard_id}"
        shell.records.ledger.lock(lease, owner="elsewhere:1:x", now=world.now(), lease=100)
        assert shell.follow([DAY])[DAY][0] is Step.DONE


def test_what_another_run_collected_while_we_waited_is_not_collected_again(world: World) -> None:
    world.send()
    world.wait(30)
    with world.open() as other:
        other.watch()
        [shard] = other.shards()
        lease, ledger = f"collect:{shard.shard_id}", other.records.ledger

        def meanwhile(_: float) -> None:
            ledger.unlock(lease, owner="elsewhere:1:x")
            other.collect([DAY])

        ledger.lock(lease, owner="elsewhere:1:x", now=world.now(), lease=1e6)
        with world.open(sleep=meanwhile) as late:
            collected = late.collect([DAY])
    assert collected.shards == ()
    assert collected.landed[DAY].succeeded == 5
    assert len(world.sim.log("content")) == 1


def test_two_runs_that_collect_the_same_partitions_agree(world: World) -> None:
    job = world.job(shard={"max_requests": 2})
    world.send(job)
    world.wait(30)
    with world.open(job) as one, world.open(job) as two:
        one.watch()
        ended = one.shards(states=[ShardState.ENDED])
        assert len(ended) == 3
        first = one.collect([DAY])
        second = two.collect([DAY])
        assert (len(first.shards), len(second.shards)) == (3, 0)
        assert first.landed == second.landed
    assert len(world.sim.log("content")) == 3


def test_an_older_look_at_a_partition_is_landed_again(world: World) -> None:
    world.run()
    with world.open() as shell:
        known = shell.records.ledger.partition(shell.job.name, DAY)
        older = replace(known, landed=known.collected - 1, succeeded=0, failed=0)
        shell.records.ledger.landed([older], now=world.now())
        assert shell.steps()[DAY][0] is Step.COLLECT
        assert shell.follow([DAY])[DAY][1].counts.succeeded == 5


def test_an_account_is_polled_once_per_interval_for_all_jobs(world: World) -> None:
    world.send()
    other = world.job(name="others")
    world.send(other)
    with world.open() as shell, world.open(other) as second:
        assert shell.watch().looked
        assert not second.watch().looked
        assert len(world.sim.log("list")) == 1
        world.wait(world.settings.poll_seconds)
        assert second.watch().looked
        assert shell.steps()[DAY][0] is Step.COLLECT


def test_what_a_crash_left_half_written_is_swept_after_a_day(world: World) -> None:
    world.run()
    left = world.store.root / "requests" / "moods" / ".partition=x.abc.part"
    left.mkdir()
    with world.open() as shell:
        shell.collect([DAY])
        assert left.exists()
        world.wait(100_000)
        shell.collect([DAY])
    assert not left.exists()


def test_a_run_without_waiting_only_sends(world: World) -> None:
    with world.open() as shell:
        steps = shell.run([DAY], run_id="r", wait=False)
        assert steps[DAY][0] is Step.WAIT
    assert world.batches
    assert not world.sim.log("list")


def test_a_hurried_look_gives_up_at_once(world: World) -> None:
    world.send()
    world.sim.faults({"calls": [{"do": "fail", "operation": "list", "status": 503}]})
    hurried = Pipeline.open(
        world.job(),
        env=world.env,
        settings=world.settings,
        now=world.now,
        sleep=world.wait,
        hurried=True,
    )
    with hurried as shell, pytest.raises(Exception, match="503"):
        shell.watch()
    assert len(world.sim.log("list")) == 1


def test_a_range_of_partitions_and_wrong_ways_to_ask(world: World) -> None:
    world.write_rows({day: rows(1) for day in DAYS})
    with world.open() as shell:
        assert select(shell, []) == list(DAYS)
        assert select(shell, [], first=DAYS[1]) == list(DAYS[1:])
        assert select(shell, [], last="2026-01-02") == list(DAYS[:2])
        assert select(shell, [DAY, DAY]) == [DAY]
        for named, first in (([DAY], DAY), ([], "2030-01-01"), ([], "2026-01-02x")):
            with pytest.raises(Exception, match=r"use one|no partition from|no daily partition"):
                select(shell, named, first=first)
    with (
        world.open(world.job(partitions={"kind": "none"})) as shell,
        pytest.raises(Exception, match="is not partitioned"),
    ):
        select(shell, [DAY])
