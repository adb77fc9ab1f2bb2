"""A batch that does not end, a stop that is refused, and clocks that do not agree."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batch_pipeline.cli.terminal import notes
from batch_pipeline.model import Missed, ShardState
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.pipeline.test_absence import TARGETS, of
from batch_pipeline_tests.world import DAYS, World

DAY = DAYS[0]
HOUR = 3600


@pytest.fixture(params=TARGETS)
def job(request: pytest.FixtureRequest, world: World) -> BatchJob:
    return of(world, request.param)


def watch(shell: Pipeline, world: World, hours: int) -> None:
    for _ in range(hours):
        world.wait(HOUR)
        shell.watch()


@pytest.mark.parametrize("at", ["validating", "in_progress", "finalizing", "cancelling"])
def test_a_stuck_batch_is_asked_to_stop_and_then_told_to_a_person(
    world: World, job: BatchJob, at: str
) -> None:
    if (job.targets[0].provider, at) == ("anthropic", "validating"):
        return  # there is no such status
    heedless = [] if at == "cancelling" else [{"do": "ignore_cancels"}]
    world.sim.faults({"batches": [{"do": "stick", "at": at}, *heedless]})
    world.send(job)
    with world.open(job) as shell:
        if at == "cancelling":
            world.wait(3)
            assert len(shell.cancel([DAY])) == 1
        watch(shell, world, hours=20)
        assert shell.shards()[0].message is None
        watch(shell, world, hours=16)  # past the window: it is asked to stop, ever less often
        [shard] = shell.shards()
        assert shard.state is ShardState.SUBMITTED
        assert "window closed" in str(shard.message)
        assert 1 <= len(world.sim.log("cancel")) <= 7
        watch(shell, world, hours=16)
        [shard] = shell.shards()
        assert (shard.state, shard.missed) == (ShardState.FAILED, Missed.END)
        assert "long after its window closed" in str(shard.message)
        assert shell.steps()[DAY][0] is Step.BLOCKED
        asked = len(world.sim.log("cancel"))
        watch(shell, world, hours=14)
        assert len(world.sim.log("cancel")) == asked
    assert world.sendings <= {1}


def test_a_stuck_batch_that_ends_after_all_is_collected(world: World, job: BatchJob) -> None:
    stick = {"do": "stick", "at": "finalizing", "seconds": 60 * HOUR}
    world.sim.faults({"batches": [stick, {"do": "ignore_cancels"}]})
    world.send(job)
    with world.open(job) as shell:
        world.wait(52 * HOUR)
        shell.watch()
        assert len(world.sim.log("cancel")) == 1  # looked at late, it is asked to stop first
        assert shell.shards()[0].state is ShardState.SUBMITTED
        watch(shell, world, hours=2)
        assert shell.shards()[0].state is ShardState.FAILED
        watch(shell, world, hours=14)
        assert shell.shards()[0].state is ShardState.ENDED
    assert world.run(job)[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_a_batch_that_never_ends_is_paid_again_on_a_persons_word(world: World) -> None:
    heedless = {"do": "ignore_cancels", "nth": 1}
    world.sim.faults({"batches": [{"do": "stick", "at": "finalizing", "nth": 1}, heedless]})
    world.send()
    with world.open() as shell:
        watch(shell, world, hours=52)
        assert shell.resend([DAY]).requests == 0
        assert shell.resend([DAY], lost=True).requests == 5
        assert shell.follow([DAY])[DAY][0] is Step.DONE


def test_a_stop_that_is_refused_is_said_with_the_reason_and_stops_no_other(
    world: World, job: BatchJob
) -> None:
    split = job.model_copy(update={"shard": job.shard.model_copy(update={"max_requests": 3})})
    world.send(split)
    refusal = {"do": "fail", "operation": "cancel", "status": 403, "message": "Not you.", "nth": 1}
    world.sim.faults({"calls": [refusal]})
    with world.open(split) as shell:
        stopped = shell.stop([DAY])
        [(shard, why)] = stopped.refused
        assert "Not you." in why
        assert len(stopped.asked) == 1
        assert shell.records.ledger.shard(shard.shard_id).message == why


def test_a_stop_that_is_taken_and_not_heeded_is_no_stop(world: World, job: BatchJob) -> None:
    world.sim.faults({"batches": [{"do": "ignore_cancels"}]})
    world.send(job)
    with world.open(job) as shell:
        world.wait(3)
        [(_, why)] = shell.stop([DAY]).refused
        assert "still" in why


def test_a_clock_two_days_ahead_cancels_nothing_and_is_told(world: World, job: BatchJob) -> None:
    world.at += timedelta(days=2)
    assert world.run(job)[DAY][0] is Step.DONE
    assert not world.sim.log("cancel")
    assert len(world.batches) == 1
    with world.open(job) as shell:
        assert any("48.0 h ahead" in line for line in notes(shell.steps(), skews=shell.skews()))


def test_a_clock_that_jumps_two_days_while_a_batch_runs_cancels_nothing(
    world: World, job: BatchJob
) -> None:
    world.send(job)
    world.at += timedelta(days=2)
    with world.open(job) as shell:
        shell.watch()
        world.at -= timedelta(days=2)  # and is set right: no lease of the future holds it up
        world.wait(30)
        shell.watch()
        assert shell.steps()[DAY][0] is Step.COLLECT
    assert world.run(job)[DAY][0] is Step.DONE
    assert not world.sim.log("cancel")
    assert world.sendings == {1}


def test_a_clock_two_days_behind_finds_what_a_lost_answer_left(world: World, job: BatchJob) -> None:
    world.at -= timedelta(days=2)
    lost = {"do": "drop", "operation": "create", "when": "after", "times": 1}
    world.sim.faults({"calls": [lost]})
    assert world.run(job)[DAY][0] is Step.DONE
    assert world.sendings == {1}


@pytest.mark.parametrize("ahead", [timedelta(days=2), timedelta(days=-2)])
def test_a_lost_answer_is_found_whatever_our_clock_said_when_it_was_planned(
    world: World, job: BatchJob, ahead: timedelta
) -> None:
    world.at += ahead
    lost = {"do": "drop", "operation": "create", "when": "after", "times": 1}
    blind = {"do": "fail", "operation": "list", "status": 500, "times": 30}
    world.sim.faults({"calls": [lost, blind]})
    world.send(job)
    world.at -= ahead
    world.sim.faults(None)
    assert world.run(job)[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_what_was_put_off_by_a_wrong_clock_goes_when_it_is_right(world: World) -> None:
    world.at += timedelta(days=2)
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429, "times": 1}]})
    world.send()
    world.at -= timedelta(days=2)
    with world.open() as shell:
        assert shell.steps()[DAY][0] is Step.SUBMIT
        assert shell.submit([DAY]).requests == 5
