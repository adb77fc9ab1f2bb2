"""Law 2: a create whose answer was lost is looked for before anything is sent again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import Unavailable
from batch_pipeline.model import RemoteStatus, ShardState
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.world import DAYS, KEY, World, rows

DAY = DAYS[0]


def unclear(when: str, how: str, **more: object) -> dict[str, object]:
    fault: dict[str, object] = {"do": how, "operation": "create", "when": when, "times": 1, **more}
    if how == "fail":
        fault["status"] = 503
    return {"calls": [fault]}


@pytest.mark.parametrize("how", ["fail", "drop"])
def test_a_batch_that_was_made_without_an_answer_is_adopted(world: World, how: str) -> None:
    world.sim.faults(unclear("after", how))
    sent = world.send()
    assert [len(sent.sent), len(sent.adopted), sent.requests] == [0, 1, 5]
    assert sent.adopted[0].batch_id == world.batches[0]
    assert world.run()[DAY][0] is Step.DONE
    assert len(world.batches) == 1
    assert world.sendings == {1}


@pytest.mark.parametrize("how", ["fail", "drop"])
def test_a_batch_that_was_not_made_is_sent_after_a_second_look(world: World, how: str) -> None:
    world.sim.faults(unclear("before", how))
    sent = world.send()
    [doubtful] = sent.waiting
    assert doubtful.state is ShardState.IN_DOUBT
    with world.open() as shell:
        assert shell.submit([DAY]).requests == 0  # too early for the second look
        world.wait(world.settings.settle_seconds)
        assert shell.submit([DAY]).requests == 5
    assert world.run()[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_a_batch_in_doubt_that_shows_up_in_time_is_adopted(world: World) -> None:
    lost = unclear("after", "drop")
    hidden = {"do": "fail", "operation": "list", "status": 500, "times": 6}
    world.sim.faults({"calls": [*lost["calls"], hidden]})  # type: ignore[misc]  # a list
    assert world.send().waiting[0].state is ShardState.IN_DOUBT
    world.wait(world.settings.settle_seconds)
    with world.open() as shell:
        assert len(shell.submit([DAY]).adopted) == 1
    assert len(world.batches) == 1


def test_while_the_listing_fails_a_shard_in_doubt_stays_in_doubt(world: World) -> None:
    lost = unclear("after", "drop")
    hidden = {"do": "fail", "operation": "list", "status": 403}
    world.sim.faults({"calls": [*lost["calls"], hidden]})  # type: ignore[misc]  # a list
    world.send()
    world.wait(world.settings.settle_seconds)
    with world.open() as shell:
        assert shell.submit([DAY]).problem is not None
        assert shell.shards()[0].state is ShardState.IN_DOUBT
        world.sim.faults({"calls": [{"do": "fail", "operation": "list", "status": 422}]})
        world.wait(world.settings.settle_seconds)
        assert isinstance(shell.submit([DAY]).problem, Unavailable)
        assert shell.shards()[0].state is ShardState.IN_DOUBT
    world.sim.faults(None)
    world.wait(world.settings.settle_seconds)
    assert world.run()[DAY][0] is Step.DONE
    assert len(world.batches) == 1


def test_a_batch_that_shows_up_after_the_second_was_sent_is_cancelled(world: World) -> None:
    world.send()
    with world.open() as shell:
        [shard] = shell.shards()
        # what a listing that lagged for too long leaves behind: a second batch of one intent
        file_id = shard.remote.input_file_id if shard.remote else None
        late = shell.clients.client("openai").create(
            shard, Path("no lines are needed"), file_id=str(file_id)
        )
        shell.watch()
        assert shell.shards()[0].batch_id == world.batches[0]
        seen = shell.clients.client("openai").retrieve(late.batch_id)
        assert seen.status in {RemoteStatus.ENDING, RemoteStatus.CANCELLED}
        history = shell.records.ledger.history(shard.shard_id)
        assert {record.observation.batch_id for record in history} == set(world.batches)
    assert world.run()[DAY][0] is Step.DONE
    assert len(world.batches) == 2


def meanwhile(world: World, other: Pipeline) -> Callable[[float], None]:
    """Waiting so long that the claim runs out, and *other* sends the shard."""

    def slept(seconds: float) -> None:
        world.wait(seconds)
        if not world.batches:
            world.wait(world.settings.claim_seconds)
            other.submit([DAY])  # looks, finds nothing, is in doubt
            world.wait(world.settings.settle_seconds)
            other.submit([DAY])

    return slept


def test_an_upload_that_outlasts_the_claim_is_not_followed_by_a_create(world: World) -> None:
    world.sim.faults({"calls": [{"do": "fail", "operation": "upload", "status": 503, "times": 1}]})
    with world.open() as other:
        other.build([DAY])
        with world.open(sleep=meanwhile(world, other)) as slow:
            sent = slow.submit([DAY])
    assert (sent.requests, len(sent.waiting)) == (0, 1)
    assert len(world.batches) == 1
    assert world.run()[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_an_upload_that_was_not_kept_is_made_again(world: World) -> None:
    unseen = {"do": "fail", "operation": "create", "status": 404, "times": 8}
    world.sim.faults({"calls": [unseen]})
    assert len(world.send().sent) == 1
    assert len(world.sim.log("upload")) == 2
    assert len(world.batches) == 1


def test_who_sent_although_the_claim_had_run_out_takes_his_batch_back(world: World) -> None:
    # a file that OpenAI does not see yet is waited for
    world.sim.faults({"calls": [{"do": "lag", "operation": "create", "times": 1, "nth": 1}]})
    with world.open() as other:
        other.build([DAY])
        with world.open(sleep=meanwhile(world, other)) as slow:
            slow.submit([DAY])
            mine = slow.shards()[0].batch_id
        assert len(world.batches) == 2
        statuses = {
            name: other.clients.client("openai").retrieve(name).raw_status for name in world.batches
        }
    assert statuses.pop(str(mine)) != "cancelling"
    assert set(statuses.values()) <= {"cancelling", "cancelled"}


def test_two_submits_at_once_send_every_row_once(world: World) -> None:
    world.write_rows({DAY: rows(40)})
    job = world.job(shard={"max_requests": 4})
    with world.open(job) as shell:
        shell.build([DAY])
    gate = threading.Barrier(3)
    sent: list[int] = []

    def submit() -> None:
        with world.open(job) as shell:
            gate.wait()
            sent.append(shell.submit([DAY]).requests)

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sent) == 40
    assert len(world.batches) == 10
    world.wait(30)
    assert world.sendings == {1}
    assert world.run(job)[DAY][0] is Step.DONE


def test_a_live_claim_is_left_alone_until_it_runs_out(world: World) -> None:
    with world.open() as shell:
        shell.build([DAY])
        world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
        shell.submit([DAY])
        world.sim.faults(None)
        world.wait(60)
        ledger, [shard] = shell.records.ledger, shell.shards()
        lease = world.settings.claim_seconds
        ledger.claim(
            shard.shard_id, owner="elsewhere:1:x", intent="i", now=world.now(), lease=lease
        )
        assert shell.submit([DAY]).requests == 0
        assert shell.steps()[DAY][0] is Step.WAIT
        world.wait(lease)
        assert shell.steps()[DAY][0] is Step.SUBMIT
        assert shell.submit([DAY]).requests == 0  # the first look: not there, but that is early
        world.at += timedelta(seconds=world.settings.settle_seconds)
        assert shell.submit([DAY]).requests == 5
    assert len(world.batches) == 1


def test_the_key_is_in_no_claim(world: World) -> None:
    world.send()
    with world.open() as shell:
        assert KEY not in repr(shell.shards())
        assert KEY not in shell.runtime.owner
