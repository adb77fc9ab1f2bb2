"""What a run was asked to send is in the ledger first: when it dies, the rest is sent, once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_pipeline.cli.selection import select
from batch_pipeline.errors import BatchPipelineError, DatasetError, UsageError
from batch_pipeline.model import HoldKind
from batch_pipeline.pipeline import asking, holds
from batch_pipeline.pipeline.asking import Wish
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.stages.shards.cut import Only
from batch_pipeline_tests.crashing import Crasher, Place, crasher
from batch_pipeline_tests.world import DAYS, LiveWorld, World, live, made, rows

ONE, TWO, THREE = DAYS
SHELL = "batch_pipeline.pipeline"
LEDGER = "batch_pipeline.store.ledger:Ledger"
CLIENT = "batch_pipeline.providers.openai.client:OpenAIClient"
BEFORE_BUILDING: Place = (f"{SHELL}.building:build_each", "before", 1)
UNPLANNED: dict[str, Place] = {
    "nothing is built": BEFORE_BUILDING,
    "some of it is built": (f"{SHELL}.building:_swap", "before", 2),
    "its shards are cut": (f"{LEDGER}.plan", "before", 1),
}
PLANNED: dict[str, Place] = {
    "its shards are planned": (f"{LEDGER}.plan", "after", 1),
    "a batch of it is created": (f"{CLIENT}.create", "after", 2),
}


@pytest.fixture(scope="module")
def killer() -> Iterator[Crasher]:
    with crasher() as started:
        yield started


@pytest.fixture
def living(tmp_path: Path) -> Iterator[LiveWorld]:
    with live(tmp_path) as world:
        world.write_rows({day: rows(5, prefix=day[-2:]) for day in DAYS})
        yield world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with made(tmp_path) as one:
        yield one


def killed(killer: Crasher, place: Place, world: World, *words: str) -> None:
    file = str(world.job_file(shard={"max_requests": 4}))
    assert killer.run(place, ["run", file, "--json", *words], world.whole_env) == -signal.SIGKILL


def standing(world: World) -> dict[str, Step]:
    with world.open() as shell:
        return {name: step for name, (step, _) in shell.steps().items()}


def followed(world: World, *, sent: int = 15) -> None:
    """What the watch does: each row arrives, and was sent once."""
    with world.open(world.job(shard={"max_requests": 4})) as shell:
        steps = shell.follow(DAYS)
        assert {step for step, _ in steps.values()} == {Step.DONE}
        assert shell.records.ledger.asked.standing("moods") == []
    assert len(world.sim.submissions()) == sent
    assert world.sendings == {1}
    for day in DAYS:
        assert [row["id"] for row in world.results(day)] == [
            f"{day[-2:]}/{n:03d}" for n in range(5)
        ]


@pytest.mark.parametrize("place", UNPLANNED.values(), ids=UNPLANNED.keys())
def test_what_a_run_was_asked_for_is_sent_when_it_was_killed_and(
    place: Place, killer: Crasher, living: LiveWorld
) -> None:
    killed(killer, place, living)
    assert standing(living) == dict.fromkeys(DAYS, Step.SUBMIT)
    followed(living)


@pytest.mark.parametrize("place", PLANNED.values(), ids=PLANNED.keys())
def test_what_is_planned_is_not_asked_for_any_more_when_a_run_was_killed_and(
    place: Place, killer: Crasher, living: LiveWorld
) -> None:
    killed(killer, place, living)
    with living.open() as shell:
        assert shell.records.ledger.asked.standing("moods") == []
    assert Step.SUBMIT in standing(living).values()
    followed(living)


def test_of_what_was_asked_for_some_has_no_files_some_is_broken_and_some_is_done(
    killer: Crasher, tmp_path: Path
) -> None:
    with live(tmp_path) as world:
        assert world.run()[ONE][0] is Step.DONE
        world.write_rows({TWO: [*rows(3), *rows(1)]})
        days = [word for day in DAYS for word in ("-p", day)]
        killed(killer, BEFORE_BUILDING, world, *days)
        assert standing(world) == dict.fromkeys(DAYS, Step.SUBMIT)
        with world.open() as shell:
            shell.follow(DAYS)
            steps = shell.steps()
            assert {name: step for name, (step, _) in steps.items()} == {
                ONE: Step.DONE,
                TWO: Step.UNSENT,
            }
            [told] = steps[TWO][1].asked
            assert "the key 'id' is not unique" in str(told.problem)
        assert (len(world.sim.submissions()), world.sendings) == (5, {1})


def test_data_that_was_not_readable_is_sent_when_somebody_asks_again(world: World) -> None:
    world.write_rows({TWO: [*rows(3), *rows(1)]})
    for _ in range(2):  # the second time it is told once, too
        with world.open() as shell, pytest.raises(DatasetError, match="not unique"):
            shell.run(DAYS)
    with world.open() as shell:
        assert len(shell.records.ledger.asked.standing("moods")) == 1
        assert select(shell, [], built=True) == [ONE, THREE]
        assert select(shell, [], built=True, asked=True) == list(DAYS)
    world.write_rows({TWO: rows(3)})
    with world.open() as shell:
        shell.build(DAYS)  # to look at it sends nothing
        assert shell.steps()[TWO][0] is Step.UNSENT
        assert shell.run([TWO])[TWO][0] is Step.DONE
        assert shell.records.ledger.asked.standing("moods") == []


def test_a_dataset_that_is_not_there_is_told_and_not_asked_for_for_ever(world: World) -> None:
    job = world.job(dataset={"path": str(world.folder / "nowhere"), "key": "id"})
    with world.open(job) as shell:
        with pytest.raises(DatasetError, match="nothing here"):
            shell.run([ONE])
        step, summary = shell.steps()[ONE]
        assert step is Step.UNSENT
        assert "there is nothing here" in str(summary.asked[0].problem)


def test_a_mistake_in_what_was_asked_leaves_no_trace(world: World) -> None:
    world.run()
    with world.open() as shell:
        with pytest.raises(UsageError, match="2026-13-01' has no files"):
            shell.run(["2026-13-01"])
        with pytest.raises(UsageError, match="is named 'nobody'"):
            shell.resend([ONE], only=Only(custom_ids=("nobody",)))
        assert shell.records.ledger.asked.standing("moods") == []
        assert list(shell.steps()) == list(DAYS)


def test_a_run_that_lives_is_waited_for_and_one_that_ended_is_not(world: World) -> None:
    with world.open() as shell, world.open() as other:

        def failing() -> None:
            with asking.noted(
                shell.records, shell.runtime, [ONE], Wish(), run_id="r", to_build=True
            ):
                assert other.steps()[ONE][0] is Step.WAIT
                world.wait(700)  # one of another host would be silent for too long
                assert other.steps()[ONE][0] is Step.SUBMIT
                raise BatchPipelineError("no space")

        with pytest.raises(BatchPipelineError, match="no space"):
            failing()
        assert [one.owner for one in other.steps()[ONE][1].asked] == [None]


def test_what_was_asked_for_is_taken_back_by_a_cancel(world: World) -> None:
    with world.open() as shell:
        shell.ask(DAYS, Wish(), run_id="r")
        shell.cancel([TWO])
        steps = {name: step for name, (step, _) in shell.steps().items()}
        assert steps == {ONE: Step.SUBMIT, TWO: Step.UNSENT, THREE: Step.SUBMIT}
        shell.cancel()
        assert not {step for step, _ in shell.steps().values()} - {Step.UNSENT}
        shell.follow(DAYS)
    assert not world.batches


def test_a_hold_stops_what_was_asked_before_it_and_not_what_is_asked_since(world: World) -> None:
    with world.open() as shell:
        shell.ask([ONE], Wish(), run_id="before")
        world.wait(1)
        holds.put(shell.records, [""], HoldKind.ACCOUNT, "no credit", now=world.now())
        assert shell.steps()[ONE][0] is Step.BLOCKED
        assert shell.submit([ONE], by_itself=True).sent == ()
        world.wait(1)
        shell.ask([ONE], Wish(), run_id="since")
        assert shell.steps()[ONE][0] is Step.SUBMIT
        assert shell.follow([ONE])[ONE][0] is Step.DONE
        assert shell.records.ledger.asked.standing("moods") == []


def test_a_retry_of_chosen_rows_is_sent_as_it_was_asked_for(tmp_path: Path) -> None:
    refused = {"rows": [{"becomes": "refused", "custom_id": "r-00*"}]}
    with made(tmp_path, faults=refused) as world:
        world.run()
        chosen = Only(custom_ids=(world.results(ONE)[0]["custom_id"],))
        with world.open() as shell:
            shell.ask([ONE], Wish(only=chosen, again=True), run_id="r")
            assert shell.left_unbuilt(DAYS) == [ONE]
            shell.build([ONE])
            assert shell.left_unbuilt(DAYS) == []
            [shard] = shell.submit(DAYS, by_itself=True).sent
            assert (shard.requests, shard.attempt) == (1, 2)


def test_a_submit_that_nobody_asked_for_leaves_out_what_was_never_built(world: World) -> None:
    with world.open() as shell:
        shell.build([ONE])
        assert shell.submit(DAYS, by_itself=True).requests == 5
