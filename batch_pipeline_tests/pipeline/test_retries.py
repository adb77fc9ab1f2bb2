"""Which custom_ids go again: by policy, by hand, never; and what a changed job sends anew."""

from __future__ import annotations

import pytest

from batch_pipeline.errors import StoreError, Throttled, UsageError
from batch_pipeline.model import ShardState
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.stages.shards.cut import Only
from batch_pipeline_tests.world import DAYS, World, rows

DAY, OTHER = DAYS[:2]
ANOTHER = {"prompt": "Tell me: how is it? {{ body }}"}


def failing(**rule: object) -> dict[str, object]:
    return {"rows": [{"becomes": "expired", **rule}]}


def times(world: World) -> dict[str, int]:
    """How often each row was in an accepted batch, by the start of its custom_id."""
    return {name.rpartition("-")[0]: count for name, count in world.sim.submissions().items()}


def test_exactly_the_failed_rows_go_again_as_the_next_attempt(world: World) -> None:
    world.sim.faults(failing(regex="^r-00[13]", first_times=1))
    assert world.run()[DAY][0] is Step.DONE
    assert times(world) == {"r-000": 1, "r-001": 2, "r-002": 1, "r-003": 2, "r-004": 1}
    assert [row["attempt"] for row in world.results()] == [1, 2, 1, 2, 1]
    with world.open() as shell:
        assert [(shard.attempt, shard.requests) for shard in shell.shards()] == [(1, 5), (2, 2)]


@pytest.mark.parametrize("most", [1, 2])
def test_attempts_run_out(world: World, most: int) -> None:
    world.sim.faults(failing(custom_id="r-001*"))
    step, summary = world.run(world.job(retry={"max_attempts": most}))[DAY]
    assert (step, summary.counts.failed, summary.counts.retryable) == (Step.DONE, 1, 0)
    assert times(world)["r-001"] == most
    assert world.became()["r/001"] == "expired"


def test_a_kind_that_the_policy_does_not_name_is_not_sent_again(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "custom_id": "r-002*"}]})
    assert world.run()[DAY][0] is Step.DONE
    assert world.sendings == {1}
    world.sim.faults(None)
    assert world.run(world.job(retry={"kinds": ["refused"]}))[DAY][1].counts.failed == 0
    assert times(world)["r-002"] == 2


def test_a_run_ends_where_the_policy_sends_less_again_than_when_results_landed(
    world: World,
) -> None:
    world.sim.faults(failing(custom_id="r-001*"))
    world.send()
    world.wait(30)
    with world.open() as shell:
        shell.watch()
        assert shell.collect([DAY]).landed[DAY].retryable == 1
    waits: list[float] = []

    def waited(seconds: float) -> None:
        waits.append(seconds)
        assert len(waits) < 5, "it waits for nothing"
        world.wait(seconds)

    with world.open(world.job(retry={"kinds": []}), sleep=waited) as shell:
        step, summary = shell.run([DAY])[DAY]
    assert (step, summary.counts.failed, summary.counts.retryable) == (Step.DONE, 1, 0)
    assert world.sendings == {1}


def test_an_empty_answer_is_paid_once_and_goes_again_only_if_named(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "empty", "custom_id": "r-002*"}]})
    assert world.run()[DAY][0] is Step.DONE
    assert (world.became()["r/002"], world.sendings) == ("empty", {1})
    world.sim.faults(None)
    assert world.run(world.job(retry={"kinds": ["empty"]}))[DAY][1].counts.failed == 0
    assert times(world)["r-002"] == 2


def test_a_retry_by_hand_goes_beyond_the_policy_and_takes_only_what_is_named(
    world: World,
) -> None:
    refused = {"becomes": "refused", "custom_id": "r-00[01]*"}
    world.sim.faults({"rows": [refused, {"becomes": "truncated", "custom_id": "r-002*"}]})
    world.run(run_id="first")
    world.sim.faults(None)
    ids = {row["id"]: row["custom_id"] for row in world.results()}
    with world.open() as shell:
        assert shell.resend([DAY], only=Only(custom_ids=(ids["r/000"], ids["r/004"]))).requests == 1
        assert shell.resend([DAY], only=Only(kinds=("truncated",))).requests == 1
        for nothing in (Only(run_id="no such run"), Only(custom_ids=(ids["r/000"], "nope"))):
            with pytest.raises(UsageError, match=r"'no such run' sent anything|named 'nope'"):
                shell.resend([DAY], only=nothing)
        assert shell.resend([DAY], only=Only(run_id="first")).requests == 1
        assert shell.follow([DAY])[DAY][1].counts.failed == 0
    assert times(world) == {"r-000": 2, "r-001": 2, "r-002": 2, "r-003": 1, "r-004": 1}


def test_a_rejected_request_goes_again_only_when_a_person_names_it(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "error", "status": 400, "custom_id": "r-001*"}]})
    world.run()
    assert world.became()["r/001"] == "rejected"
    assert world.sendings == {1}
    world.sim.faults(None)
    world.run()
    assert world.sendings == {1}
    with world.open() as shell:
        assert shell.resend([DAY], only=Only(kinds=("rejected",))).requests == 1
        assert shell.follow([DAY])[DAY][1].counts.failed == 0
    assert times(world)["r-001"] == 2


def test_after_a_cancel_nothing_is_sent_until_a_person_asks(world: World) -> None:
    world.sim.faults({"batches": [{"do": "stall", "after": 0.4, "nth": 1}]})
    world.send()
    world.wait(20)
    with world.open() as shell:
        shell.cancel([DAY])
        assert shell.follow([DAY])[DAY][0] is Step.DONE  # finished rows are fetched
        summary = shell.steps()[DAY][1]
        assert (summary.held, summary.counts.retryable) == ("cancelled by a person", 3)
    assert len(world.batches) == 1
    assert world.run()[DAY][1].counts.succeeded == 5
    assert sorted(world.sim.submissions().values()) == [1, 1, 2, 2, 2]


def test_what_was_not_sent_yet_is_taken_back_without_a_call(world: World) -> None:
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
    world.send()
    world.sim.faults(None)
    calls = len(world.sim.log())
    with world.open(OPENAI_API_KEY="") as shell:
        [shard] = shell.cancel()
        assert shard.state is ShardState.CANCELLED
        assert shell.steps()[DAY][0] is Step.UNSENT
    assert len(world.sim.log()) == calls
    assert world.run()[DAY][0] is Step.DONE


def test_cancelling_one_partition_leaves_the_others_that_shared_its_shard(world: World) -> None:
    world.write_rows({OTHER: rows(3, prefix="other")})
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
    world.send()
    world.sim.faults(None)
    with world.open() as shell:
        shell.cancel([DAY])
        world.wait(60)
        assert shell.follow([OTHER])[OTHER][0] is Step.DONE
        assert shell.steps()[DAY][0] is Step.UNSENT
    assert len(world.sim.submissions()) == 3


def test_a_shard_whose_lines_are_damaged_is_not_sent_and_can_be_cut_again(world: World) -> None:
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
    [shard] = world.send().waiting
    world.sim.faults(None)
    lines = world.store.shard_lines(shard.job, shard.shard_id)
    lines.write_bytes(lines.read_bytes()[:10])
    world.wait(60)
    with world.open() as shell:
        with pytest.raises(StoreError, match="Nothing of it was sent"):
            shell.submit([DAY])
        shell.cancel()
    assert world.run()[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_a_shard_in_doubt_when_a_person_cancels_waits_for_a_person(world: World) -> None:
    drop = {"do": "drop", "operation": "create", "when": "before", "times": 1}
    world.sim.faults({"calls": [drop]})
    world.send()
    with world.open() as shell:
        shell.cancel([DAY])
        world.wait(60)
        assert shell.follow([DAY])[DAY][0] is Step.BLOCKED
    assert not world.batches
    assert world.run()[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_a_changed_prompt_sends_every_row_and_a_changed_row_only_itself(world: World) -> None:
    world.run()
    changed: list[dict[str, object]] = [
        *rows(4),
        {"id": "r/004", "body": "A better text"},
        {"id": "r/005", "body": "New"},
    ]
    world.write_rows({DAY: changed})
    world.run()
    assert times(world) == {f"r-00{n}": 2 if n == 4 else 1 for n in range(6)}
    world.run(world.job(request=ANOTHER))
    assert times(world) == {f"r-00{n}": 3 if n == 4 else 2 for n in range(6)}
    world.run()  # back to the first prompt: all of it was answered and paid for
    assert len(world.batches) == 3
    assert len(world.outcomes()) == 13


def test_a_prompt_that_changes_while_a_batch_is_in_flight_keeps_old_answers_in_the_bill(
    world: World,
) -> None:
    world.send()
    new = world.job(request=ANOTHER)
    world.run(new)
    hashes = {row["content_hash"] for row in world.results()}
    assert len(world.outcomes()) == 10
    assert len(hashes & {row["content_hash"] for row in world.outcomes()}) == 5
    with world.open(new) as shell:
        [line] = shell.report([DAY]).lines
        assert (line.requests, line.attempts) == (5, 10)
        assert line.cost is not None
        assert line.results_cost is not None
        assert line.cost > line.results_cost > 0


def test_planned_rows_of_a_changed_prompt_are_taken_back_and_others_planned_again(
    world: World,
) -> None:
    other = DAYS[1]
    world.write_rows({OTHER: rows(5)})
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
    world.send()
    world.sim.faults(None)
    new = world.job(request=ANOTHER)
    with world.open(new) as shell:
        shell.build([DAY])
        steps = shell.steps()
        assert (steps[DAY][0], steps[other][0]) == (Step.UNSENT, Step.SUBMIT)
        shell.submit([DAY, other])
        assert shell.follow([DAY, other])[other][0] is Step.DONE
    assert world.sendings == {1}


def test_rows_of_a_smaller_dataset_leave_the_results(world: World) -> None:
    world.run()
    world.write_rows({DAY: rows(2)})
    world.run()
    assert list(world.became()) == ["r/000", "r/001"]
    assert len(world.outcomes()) == 5


def test_a_run_that_does_not_wait_says_what_kept_it_from_sending(world: World) -> None:
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
    with world.open() as shell, pytest.raises(Throttled):
        shell.run([DAY], wait=False)
    world.sim.faults(None)
    world.wait(60)
    with world.open() as shell:
        assert shell.run([DAY], wait=False)[DAY][0] is Step.WAIT
    assert len(world.batches) == 1
