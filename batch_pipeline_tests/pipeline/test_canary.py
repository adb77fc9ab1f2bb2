"""New request content goes out with its first rows alone; the others follow, or are held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_pipeline.model import CanaryVerdict
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.shards.cut import Only
from batch_pipeline_tests.world import DAYS, World, made

FIRST, SECOND = DAYS[:2]
REFUSED = {"rows": [{"becomes": "refused", "regex": "."}]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two days of five rows."""
    with made(tmp_path, days=[FIRST, SECOND]) as one:
        yield one


TARGETS = [{"provider": "openai", "model": "gpt-5-nano"}]


def careful(world: World, **said: object) -> BatchJob:
    return world.job(canary={"requests": 2, **said}, targets=TARGETS)


def sent(world: World) -> list[int]:
    """How many rows each batch carried, in the order of their creates."""
    return [len(world.sim.custom_ids(batch)) for batch in world.batches]


def test_the_first_rows_go_alone_and_the_rest_follows_when_they_are_back(world: World) -> None:
    steps = world.run(careful(world))
    assert {step for step, _ in steps.values()} == {Step.DONE}
    assert sent(world) == [2, 8]
    assert world.sendings == {1}
    assert all(summary.counts.deferred == 0 for _, summary in steps.values())


def test_while_the_canary_is_out_the_others_wait_in_every_partition(world: World) -> None:
    world.send(careful(world))
    with world.open(careful(world)) as shell:
        shell.submit([FIRST, SECOND])
        steps = shell.steps()
    assert {name: step for name, (step, _) in steps.items()} == {
        FIRST: Step.WAIT,
        SECOND: Step.WAIT,
    }
    assert [summary.counts.deferred for _, summary in steps.values()] == [3, 5]
    world.wait(5)
    assert sent(world) == [2]


def test_too_many_failures_hold_the_rest_with_the_reason_until_somebody_releases_it(
    world: World,
) -> None:
    world.sim.faults(REFUSED)
    steps = world.run(careful(world))
    assert {step for step, _ in steps.values()} == {Step.BLOCKED}
    held = steps[SECOND][1].held
    assert held is not None
    assert "2 of the first 2 requests failed (2 refused), more than 20%" in held
    assert "batch-pipeline release moods" in held
    world.sim.faults(None)
    world.run(careful(world))  # asking again is not yet letting go
    assert sent(world) == [2]
    with world.open(careful(world)) as shell:
        released = shell.release()
        assert released is not None
        assert released.verdict is CanaryVerdict.RELEASED
        assert shell.release() is None
        steps = shell.run([FIRST, SECOND])
    assert {step for step, _ in steps.values()} == {Step.DONE}
    assert sent(world) == [2, 8]


def test_a_job_may_say_to_go_on_whatever_becomes_of_the_canary(world: World) -> None:
    world.sim.faults(REFUSED)
    world.run(careful(world, release="always"))
    assert sent(world) == [2, 8]


def test_a_share_of_failures_may_be_allowed(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "^r-000"}]})
    world.run(careful(world, max_failed_ratio=0.5))
    assert sent(world) == [2, 8]


def test_a_canary_larger_than_the_data_is_all_of_it(world: World) -> None:
    steps = world.run(world.job(canary=1000, targets=TARGETS))
    assert {step for step, _ in steps.values()} == {Step.DONE}
    assert sent(world) == [10]


def test_a_changed_request_is_new_content_and_an_unchanged_one_is_not(world: World) -> None:
    world.run(careful(world))
    world.write_rows({DAYS[2]: [{"id": "x/1", "body": "one"}, {"id": "x/2", "body": "two"}] * 1})
    world.run(careful(world))
    assert sent(world) == [2, 8, 2]
    changed = careful(world).model_copy(
        update={"request": world.job(request={"prompt": "Say: {{ body }}"}).request}
    )
    world.run(changed)
    assert sent(world) == [2, 8, 2, 2, 10]


def test_failed_canary_rows_may_be_sent_again_by_name(world: World) -> None:
    world.sim.faults(REFUSED)
    world.run(careful(world))
    world.sim.faults(None)
    with world.open(careful(world)) as shell:
        assert shell.resend([FIRST], only=Only(kinds=("refused",))).requests == 2


@pytest.mark.parametrize("model", ["gpt-5-nanoo", "gpt-3.5-turbo-0301"])
def test_a_model_that_may_not_be_there_is_tried_by_one_row(world: World, model: str) -> None:
    target = {"provider": "openai", "model": model}
    job = world.job(canary=2, targets=[target])
    world.send(job)
    with world.open(job) as shell:
        assert [shard.requests for shard in shell.shards()] == [1]


def test_what_the_canary_taught_is_kept_for_estimates(world: World) -> None:
    job = careful(world)
    world.run(job)
    with world.open(job) as shell:
        record = shell.records.ledger.canaries.decided(job.name, job.version)
    assert record is not None
    assert (record.verdict, record.requests, record.failed) == (CanaryVerdict.PASSED, 2, 0)
    assert record.mean_output_tokens is not None
    assert record.mean_output_tokens > 0
    assert "1,000 rows cost about $" in record.reason


def test_a_job_without_its_canary_waits_for_none(world: World) -> None:
    world.send(careful(world))
    steps = world.run(world.job(targets=TARGETS))
    assert {step for step, _ in steps.values()} == {Step.DONE}
    assert sent(world) == [2, 8]
    assert all(summary.counts.deferred == 0 for _, summary in steps.values())
