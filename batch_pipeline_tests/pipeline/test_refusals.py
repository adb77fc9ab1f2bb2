"""What providers refuse, lose and delay: the rows of the failure table that concern the shell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import AccountStop, OutOfCredit, Refused, Throttled, Unauthorized
from batch_pipeline.model import Observation, RemoteStatus, ShardState
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.simulator.limits import Limits
from batch_pipeline_tests.world import DAYS, World, made, rows

DAY = DAYS[0]
INVALID = "sk-invalid-but-long-enough"
ELSE = "sk-of-another-account-entirely"


def refusing(code: str, message: str = "No.", **more: object) -> dict[str, object]:
    return {"batches": [{"do": "invalidate", "code": code, "message": message, **more}]}


def test_a_full_queue_is_waited_out_and_fails_no_row(world: World) -> None:
    world.sim.faults(refusing("token_limit_exceeded", "Enqueued token limit reached.", times=2))
    world.send()
    with world.open() as shell:
        world.wait(10)
        shell.watch()
        [shard] = shell.shards()
        assert (shard.state, shard.tries) == (ShardState.PLANNED, 1)
        assert shard.message == "Enqueued token limit reached."
        assert shard.not_before == world.now() + timedelta(seconds=30)
        assert shell.submit([DAY]).requests == 0
        assert shell.steps()[DAY][0] is Step.WAIT
    assert world.run()[DAY][0] is Step.DONE
    assert {row["attempt"] for row in world.results()} == {1}
    assert world.sendings == {1}


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[World]:
    """A provider whose queue takes half of what a shard holds."""
    with made(tmp_path, days=[DAY], limits=Limits(enqueued_tokens=70)) as one:
        yield one


def test_a_shard_that_alone_is_more_than_the_queue_takes_is_cut(narrow: World) -> None:
    assert narrow.run()[DAY][0] is Step.DONE
    assert set(narrow.became().values()) == {"succeeded"}
    assert narrow.sendings == {1}


def test_a_row_that_alone_is_more_than_the_queue_takes_waits_for_a_person(tmp_path: Path) -> None:
    with made(tmp_path, days=[DAY], limits=Limits(enqueued_tokens=5), per_day=1) as world:
        step, summary = world.run()[DAY]
        assert (step, summary.shards) == (Step.BLOCKED, {ShardState.FAILED: 1})
        with world.open() as shell:
            assert "set shard.max_bytes below" in str(shell.shards()[0].message)
        world.run(world.job(shard={"max_bytes": 100}))
        assert world.became() == {"r/000": "rejected"}


def test_a_file_that_is_too_large_is_cut_in_two_until_it_fits(tmp_path: Path) -> None:
    with made(tmp_path, days=[DAY], limits=Limits(max_file_bytes=1500)) as world:
        sent = world.send()
        assert len(sent.sent) == 2
        assert sent.requests == 5
        assert world.run()[DAY][0] is Step.DONE
        assert world.sendings == {1}


def test_one_line_that_is_too_large_blocks_until_a_limit_leaves_it_out(tmp_path: Path) -> None:
    with made(tmp_path, days=[DAY], limits=Limits(max_file_bytes=1500), per_day=2) as world:
        world.write_rows({DAY: [*rows(2), {"id": "long", "body": "x" * 2000}]})
        sent = world.send()
        assert (sent.requests, sent.problem) == (2, None)
        assert world.run()[DAY][0] is Step.BLOCKED
        limited = world.job(shard={"max_bytes": 1500})
        assert world.run(limited)[DAY][0] is Step.DONE
        assert list(world.became().values()) == ["succeeded", "succeeded", "rejected"]
        assert world.sendings == {1}


def test_too_many_calls_put_a_shard_off_for_as_long_as_the_provider_says(world: World) -> None:
    slow = {"do": "fail", "operation": "create", "status": 429, "retry_after": 45, "times": 1}
    world.sim.faults({"calls": [slow]})
    sent = world.send()
    assert isinstance(sent.problem, Throttled)
    with world.open() as shell:
        [shard] = shell.shards()
        assert shard.state is ShardState.PLANNED
        assert shard.not_before == world.now() + timedelta(seconds=45)
    assert world.run()[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_a_wrong_key_changes_nothing_and_the_right_one_goes_on(world: World) -> None:
    with world.open(OPENAI_API_KEY=INVALID) as shell:
        with pytest.raises(Unauthorized, match="Check OPENAI_API_KEY"):
            shell.run([DAY])
        [shard] = shell.shards()
        assert (shard.state, shard.tries) == (ShardState.PLANNED, 0)
    assert world.run()[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_a_missing_key_is_said_before_anything_is_claimed(world: World) -> None:
    with world.open(OPENAI_API_KEY="") as shell:
        with pytest.raises(Unauthorized, match="OPENAI_API_KEY is not set"):
            shell.run([DAY])
        assert shell.shards()[0].state is ShardState.PLANNED
    assert not world.sim.log()


def test_a_key_that_expires_while_a_batch_runs_loses_nothing(world: World) -> None:
    world.send()
    with world.open(OPENAI_API_KEY=INVALID) as shell, pytest.raises(Unauthorized):
        shell.follow([DAY])
    assert world.run()[DAY][0] is Step.DONE
    assert len(world.batches) == 1


@pytest.mark.parametrize("at_once", [True, False], ids=["at the create", "in validation"])
def test_no_credit_stops_the_sending_and_says_so(world: World, at_once: bool) -> None:  # noqa: FBT001 - the two places
    code = "billing_hard_limit_reached"
    create = {"do": "fail", "operation": "create", "status": 400, "code": code, "times": 1}
    world.sim.faults({"calls": [create]} if at_once else refusing(code, times=1))
    with pytest.raises(OutOfCredit, match="Add credit"):
        world.run()
    assert not world.sim.submissions()
    world.wait(60)
    assert world.run()[DAY][0] is Step.DONE
    assert {row["attempt"] for row in world.results()} == {1}
    assert world.sendings == {1}


def test_an_unknown_model_withholds_every_row_with_the_providers_words(world: World) -> None:
    unknown = world.job(targets=[{"provider": "openai", "model": "gpt-nonesuch"}])
    with pytest.raises(AccountStop, match="model_not_found"):
        world.run(unknown)
    assert set(world.became().values()) == {"withheld"}
    assert "gpt-nonesuch" in world.results()[0]["error_message"]
    with world.open(unknown) as shell:
        assert shell.follow([DAY])[DAY][0] is Step.BLOCKED  # and it is not sent again by itself
    assert len(world.batches) == 1
    assert world.run()[DAY][1].counts.succeeded == 5
    assert len(world.batches) == 2  # the corrected name alone


def test_a_queue_that_is_full_in_other_words_is_waited_out_too(world: World) -> None:
    said = "Enqueued request limit reached for gpt-4.1-nano; please try again."
    world.sim.faults(refusing("limit_new", said, times=2))
    assert world.run()[DAY][0] is Step.DONE
    assert set(world.became().values()) == {"succeeded"}
    assert {row["attempt"] for row in world.results()} == {1}


def test_a_file_that_the_validator_does_not_find_is_uploaded_anew(world: World) -> None:
    world.sim.faults(refusing("invalid_request", "No such file.", param="file_id", times=1))
    assert world.run()[DAY][0] is Step.DONE
    assert {row["attempt"] for row in world.results()} == {1}
    assert len(world.sim.log("upload")) == 2


def test_a_file_that_is_never_found_waits_for_a_person(world: World) -> None:
    world.sim.faults(refusing("invalid_request", "No such file.", param="file_id"))
    step, summary = world.run()[DAY]
    assert (step, summary.shards) == (Step.BLOCKED, {ShardState.FAILED: 1})
    assert len(world.sim.log("upload")) == 3
    with world.open() as shell:
        assert "No such file. The file was uploaded 3 times" in str(shell.shards()[0].message)
    world.sim.faults(None)
    assert world.run()[DAY][1].counts.succeeded == 5


def test_a_refusal_that_nobody_knows_blames_no_row_and_goes_again_by_hand(world: World) -> None:
    world.sim.faults(refusing("something_new", "We moved.", times=1))
    with pytest.raises(Refused, match="something_new: We moved"):
        world.run()
    assert {row["failure"] for row in world.results()} == {"withheld"}
    assert {row["error_code"] for row in world.results()} == {"something_new"}
    with world.open() as shell:
        assert shell.follow([DAY])[DAY][0] is Step.DONE
    assert len(world.batches) == 1
    assert world.run()[DAY][1].counts.succeeded == 5


def test_a_canary_that_the_account_stopped_goes_ahead_again(world: World) -> None:
    target = {"provider": "openai", "model": "gpt-5-nano"}
    job = world.job(canary={"requests": 2}, targets=[target])
    world.sim.faults({"rows": [{"becomes": "no_credit"}]})
    with pytest.raises(AccountStop):
        world.run(job)
    world.sim.faults(None)
    assert world.run(job)[DAY][1].counts.succeeded == 5
    assert sorted(world.sim.submissions().values()) == [1, 1, 1, 2, 2]


def test_one_bad_line_is_its_own_affair_and_the_others_go_again(world: World) -> None:
    world.sim.faults(refusing("invalid_json_line", "Line 2 is no JSON.", line=2, times=1))
    assert world.run()[DAY][0] is Step.DONE
    kinds = list(world.became().values())
    assert kinds == ["succeeded", "rejected", *["succeeded"] * 3]
    assert world.sendings == {1}


def test_a_refused_create_blocks_and_the_next_run_tries_it_again(world: World) -> None:
    refusal = {"do": "fail", "operation": "create", "status": 400, "message": "Not in a batch."}
    world.sim.faults({"calls": [refusal]})
    with pytest.raises(Refused, match="Not in a batch"):
        world.run()
    with world.open() as shell:
        assert shell.steps()[DAY][0] is Step.BLOCKED
    world.sim.faults(None)
    assert world.run()[DAY][0] is Step.DONE


def test_a_retry_that_is_refused_ends_the_run_with_the_reason(world: World) -> None:
    refusal = {"do": "fail", "operation": "create", "status": 400, "message": "Not now.", "nth": 2}
    expired = {"becomes": "expired", "share": 1.0, "first_times": 1}
    world.sim.faults({"calls": [refusal], "rows": [expired]})
    with pytest.raises(Refused, match=r"Not now\."):
        world.run()
    assert world.run()[DAY][1].counts.succeeded == 5


def test_results_that_are_named_late_are_waited_for(world: World) -> None:
    world.sim.faults({"batches": [{"do": "late_results", "seconds": 40}]})
    assert world.run()[DAY][0] is Step.DONE
    assert set(world.became().values()) == {"succeeded"}
    assert world.sendings == {1}


def test_rows_of_a_cancelled_batch_may_come_half_an_hour_late(world: World) -> None:
    world.settings = replace(world.settings, poll_seconds=300)
    late = {"do": "late_results", "seconds": 1500, "endings": ["cancelled"]}
    world.sim.faults({"batches": [late, {"do": "stall", "after": 0.6}]})
    world.send()
    with world.open() as shell:
        world.wait(20)
        [stopped] = shell.cancel([DAY])
        assert stopped.state is ShardState.SUBMITTED
        shell.follow([DAY])
    kinds = list(world.became().values())
    assert sorted(kinds) == [*["cancelled"] * 2, *["succeeded"] * 3]
    assert len(world.batches) == 1


def test_an_expired_batch_keeps_its_finished_rows_and_only_the_rest_goes_again(
    world: World,
) -> None:
    world.sim.faults({"batches": [{"do": "stall", "after": 0.6, "nth": 1}]})
    world.send()
    with world.open() as shell:
        world.wait(90_000)
        shell.follow([DAY])
    assert set(world.became().values()) == {"succeeded"}
    assert sorted(row["attempt"] for row in world.results()) == [1, 1, 1, 2, 2]
    assert sorted(world.sim.submissions().values()) == [1, 1, 1, 2, 2]


def test_finished_rows_that_a_cancel_loses_may_have_been_billed(world: World) -> None:
    world.sim.faults({"batches": [{"do": "lose_finished"}, {"do": "stall", "after": 0.6}]})
    world.send()
    with world.open() as shell:
        world.wait(20)
        shell.cancel([DAY])
        shell.follow([DAY])
        assert shell.steps()[DAY][0] is Step.DONE
    assert set(world.became().values()) == {"cancelled"}


def lose_results(world: World) -> None:
    world.wait(30)
    with world.open() as shell:
        shell.watch()
        remote = shell.shards()[0].remote
        assert remote is not None
        shell.clients.client("openai").delete_file(str(remote.output_file_id))


def test_lost_results_are_said_and_paid_again_only_on_a_persons_word(world: World) -> None:
    world.send()
    lose_results(world)
    assert world.run()[DAY][0] is Step.WAIT
    with world.open() as shell:
        for _ in range(9):  # it may be there again any hour
            world.wait(3600)
            shell.watch()
            shell.collect([DAY])
        [lost] = shell.shards()
        assert lost.state is ShardState.FAILED
        assert "retry --lost" in str(lost.message)
        assert shell.resend([DAY]).requests == 0
        assert shell.resend([DAY], lost=True).requests == 5
        assert shell.follow([DAY])[DAY][0] is Step.DONE
    assert world.sendings == {2}
    assert set(world.became().values()) == {"succeeded"}


def test_a_batch_that_is_gone_at_the_provider_is_given_time_and_then_reported(
    world: World,
) -> None:
    world.send()
    missing = [{"do": "fail", "operation": what, "status": 404} for what in ("retrieve", "list")]
    world.sim.faults({"calls": missing[:1]})
    with world.open() as shell:
        ledger, [shard] = shell.records.ledger, shell.shards()
        ledger.requeue(shard.shard_id, message="", not_before=None, now=world.now(), count_try=True)
        gone = Observation("batch_gone", RemoteStatus.RUNNING, "in_progress", 0, 0, 0, world.now())
        claimed = ledger.claim(shard.shard_id, owner="o", intent="i", now=world.now(), lease=1)
        assert claimed is not None
        ledger.submitted(
            shard.shard_id,
            observation=gone,
            account=shell.clients.client("openai").account,
            run_id=None,
            now=world.now(),
        )
        shell.watch()
        assert shell.shards()[0].state is ShardState.SUBMITTED
        world.wait(700)
        shell.watch()
        assert shell.steps()[DAY][0] is Step.WAIT
        assert "nothing is sent again" in str(shell.shards()[0].message)
        for _ in range(6):
            world.wait(2 * 3600)
            shell.watch()
        assert shell.steps()[DAY][0] is Step.BLOCKED
        assert "retry --lost" in str(shell.shards()[0].message)


def test_a_batch_of_another_account_is_left_alone_and_said_so(world: World) -> None:
    world.send()
    with world.open(OPENAI_API_KEY=ELSE) as shell:
        watched = shell.watch()
        assert (watched.looked, len(watched.foreign)) == (False, 1)
        with pytest.raises(Unauthorized, match="Batches of another account"):
            shell.follow([DAY])
        assert shell.cancel([DAY]) == []
    world.wait(30)
    with world.open() as shell:
        shell.watch()
        assert shell.steps()[DAY][0] is Step.COLLECT
    with world.open(OPENAI_API_KEY=ELSE) as shell:
        with pytest.raises(Unauthorized, match="Batches of another account"):
            shell.collect([DAY])
        assert shell.shards()[0].state is ShardState.ENDED
    assert world.run()[DAY][0] is Step.DONE
    assert len(world.batches) == 1


def test_a_batch_that_outlives_its_window_is_cancelled_and_its_rows_kept(world: World) -> None:
    stalled = {"do": "stall", "after": 0.6, "nth": 1}
    world.sim.faults({"batches": [stalled, {"do": "stick", "at": "in_progress", "nth": 1}]})
    world.send()
    with world.open() as shell:
        world.wait(26 * 3600)
        shell.watch()
        assert world.sim.log("cancel")[0].effect == world.batches[0]
        shell.follow([DAY])
    assert set(world.became().values()) == {"succeeded"}
    assert sorted(world.sim.submissions().values()) == [1, 1, 1, 2, 2]


def test_a_status_we_have_not_heard_of_is_polled_again(world: World) -> None:
    world.send()
    with world.open() as shell:
        [shard] = shell.shards()
        assert shard.remote is not None
        strange = replace(shard.remote, status=RemoteStatus.UNKNOWN, raw_status="paused")
        shell.records.ledger.observe(str(shard.account), [strange], now=world.now(), ended=[])
        assert shell.steps()[DAY][0] is Step.WAIT
    assert world.run()[DAY][0] is Step.DONE


def test_a_cut_download_is_made_again_and_one_that_stays_cut_holds_up_no_other(
    world: World,
) -> None:
    world.sim.faults({"calls": [{"do": "cut", "operation": "content", "bytes": 50, "times": 1}]})
    assert world.run()[DAY][0] is Step.DONE
    world.write_rows({DAY: rows(5, prefix="new")})
    job = world.job(shard={"max_requests": 3})
    world.send(job)
    world.wait(30)
    with world.open(job) as shell:
        shell.watch()
        first = shell.shards(states=[ShardState.ENDED])[0].remote
        assert first is not None
        stuck = {"do": "fail", "operation": "content", "status": 502, "id": first.output_file_id}
        world.sim.faults({"calls": [stuck]})
        with pytest.raises(Exception, match="502"):
            shell.collect([DAY])
        assert [shard.state for shard in shell.shards()].count(ShardState.COLLECTED) == 2
        world.sim.faults(None)
        assert shell.follow([DAY])[DAY][0] is Step.DONE


def test_a_provider_that_is_down_for_a_while_is_waited_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.send()
    world.sim.faults({"calls": [{"do": "fail", "operation": "list", "status": 503, "times": 8}]})
    assert world.run()[DAY][0] is Step.DONE
    assert "the provider is not answering" in caplog.text
    assert world.now() > datetime.fromtimestamp(0, UTC)
