from __future__ import annotations

from dataclasses import replace

import pytest

from batch_pipeline.errors import UsageError
from batch_pipeline.model import RemoteStatus, ShardState
from batch_pipeline.store.ledger import Ledger
from batch_pipeline_tests.store.factories import (
    ACCOUNT,
    JOB,
    LEASE,
    NOON,
    completed,
    later,
    make_observation,
    make_shard,
)


def state(ledger: Ledger, shard_id: str = "s1") -> ShardState:
    return ledger.shard(shard_id).state


def test_a_planned_shard_comes_back_as_it_went_in(ledger: Ledger) -> None:
    shard = make_shard(partitions={"a/b": 3, "ü": 4})
    ledger.plan([shard], now=NOON)
    assert ledger.shard("s1") == replace(shard, created_at=NOON)


def test_a_piece_of_another_shard_inherits_nothing_of_its_life(ledger: Ledger) -> None:
    worn = replace(
        make_shard(), state=ShardState.FAILED, intent="i", batch_id="b", tries=3, message="m"
    )
    ledger.plan([worn], now=NOON)
    assert ledger.shard("s1") == replace(make_shard(), created_at=NOON)


def test_planning_again_leaves_a_shard_where_it_is(submitted: Ledger) -> None:
    before = submitted.shard("s1")
    submitted.plan([make_shard(), make_shard("s2")], now=later(5))
    assert submitted.shard("s1") == before
    assert state(submitted, "s2") is ShardState.PLANNED


def test_planning_nothing_is_nothing(ledger: Ledger) -> None:
    ledger.plan([], now=NOON)
    assert ledger.shards(JOB) == []


def test_a_withdrawn_shard_is_planned_again_when_its_lines_are(planned: Ledger) -> None:
    assert planned.withdraw(["s1", "unknown"], now=NOON) == 1
    assert state(planned) is ShardState.CANCELLED
    planned.plan([make_shard()], now=later(5))
    assert state(planned) is ShardState.PLANNED
    assert planned.shard("s1").created_at == later(5)


def test_what_was_sent_cannot_be_withdrawn(submitted: Ledger) -> None:
    assert submitted.withdraw(["s1"], now=NOON) == 0
    assert state(submitted) is ShardState.SUBMITTED


def test_a_claim_writes_the_intent_before_anything_is_sent(planned: Ledger) -> None:
    shard = planned.claim("s1", owner="ann", intent="i1", now=NOON, lease=LEASE)
    assert shard is not None
    assert (shard.state, shard.intent) == (ShardState.SUBMITTING, "i1")
    assert (shard.claimed_by, shard.claimed_at) == ("ann", NOON)
    assert planned.shard("s1") == shard


def test_a_claimed_shard_is_not_to_be_had_until_its_lease_ends(claimed: Ledger) -> None:
    early = claimed.claim("s1", owner="bob", intent="i2", now=later(59), lease=LEASE)
    due = claimed.claim("s1", owner="bob", intent="i2", now=later(60), lease=LEASE)
    assert early is None
    assert due is not None
    assert (due.claimed_by, due.intent) == ("bob", "i1"), "the earlier intent is what to look for"


def test_the_claim_of_a_dead_owner_can_be_ended_early_by_name(claimed: Ledger) -> None:
    assert not claimed.expire("s1", owner="bob", now=later(1))
    assert claimed.claim("s1", owner="bob", intent="i2", now=later(1), lease=LEASE) is None
    assert claimed.expire("s1", owner="ann", now=later(1))
    assert claimed.claim("s1", owner="bob", intent="i2", now=later(1), lease=LEASE) is not None


def test_a_claim_that_was_taken_over_cannot_be_renewed(claimed: Ledger) -> None:
    assert claimed.renew("s1", owner="ann", now=later(50), lease=LEASE)
    assert claimed.claim("s1", owner="bob", intent="i2", now=later(70), lease=LEASE) is None
    assert claimed.claim("s1", owner="bob", intent="i2", now=later(110), lease=LEASE) is not None
    assert not claimed.renew("s1", owner="ann", now=later(111), lease=LEASE)


def test_a_slow_owner_does_not_undo_what_its_successor_did(claimed: Ledger) -> None:
    claimed.claim("s1", owner="bob", intent="i2", now=later(60), lease=LEASE)
    now = later(61)
    assert not claimed.failed("s1", message="m", now=now, owner="ann")
    assert not claimed.in_doubt("s1", message="m", next_look=now, now=now, owner="ann")
    assert not claimed.requeue(
        "s1", message="m", not_before=None, now=now, count_try=True, owner="ann"
    )
    assert not claimed.replace("s1", [make_shard("s2")], message="m", now=now, owner="ann")
    assert claimed.shard("s1").claimed_by == "bob"
    assert len(claimed.shards(JOB)) == 1


def test_a_submitted_shard_names_its_batch_and_its_account(submitted: Ledger) -> None:
    shard = submitted.shard("s1")
    assert (shard.batch_id, shard.account, shard.run_id) == ("batch_1", ACCOUNT, "run")
    assert (shard.submitted_at, shard.claimed_by) == (NOON, None)
    assert shard.remote == make_observation()


def test_recording_the_same_batch_twice_changes_nothing(submitted: Ledger) -> None:
    again = submitted.submitted(
        "s1", observation=make_observation(), account=ACCOUNT, run_id="other", now=later(9)
    )
    assert again
    assert submitted.shard("s1").run_id == "run"
    assert len(submitted.history("s1")) == 1


def test_a_second_batch_of_a_shard_is_kept_in_its_history_and_reported(submitted: Ledger) -> None:
    adopted = submitted.submitted(
        "s1", observation=make_observation("batch_2"), account=ACCOUNT, run_id="r2", now=later(9)
    )
    assert not adopted
    assert submitted.shard("s1").batch_id == "batch_1"
    assert [one.observation.batch_id for one in submitted.history("s1")] == ["batch_1", "batch_2"]


def test_a_batch_that_turns_up_after_its_shard_was_queued_again_is_adopted(
    claimed: Ledger,
) -> None:
    claimed.requeue("s1", message="not there", not_before=None, now=later(1), count_try=True)
    assert claimed.submitted(
        "s1", observation=make_observation(), account=ACCOUNT, run_id=None, now=later(2)
    )
    assert state(claimed) is ShardState.SUBMITTED


def test_a_requeued_shard_starts_anew_and_its_batch_stays_in_history(submitted: Ledger) -> None:
    assert submitted.requeue(
        "s1", message="the queue is full", not_before=later(30), now=later(1), count_try=True
    )
    shard = submitted.shard("s1")
    assert (shard.state, shard.tries) == (ShardState.PLANNED, 1)
    assert (shard.message, shard.not_before) == ("the queue is full", later(30))
    assert (shard.intent, shard.batch_id, shard.account, shard.remote) == (None,) * 4
    assert [one.observation.batch_id for one in submitted.history("s1")] == ["batch_1"]


def test_a_requeue_need_not_count_as_a_try(claimed: Ledger) -> None:
    claimed.requeue("s1", message="no credit", not_before=None, now=NOON, count_try=False)
    assert claimed.shard("s1").tries == 0


def test_a_shard_that_was_told_to_wait_is_claimed_when_its_time_comes(claimed: Ledger) -> None:
    claimed.requeue("s1", message="later", not_before=later(30), now=NOON, count_try=True)
    assert claimed.claim("s1", owner="bob", intent="i2", now=later(29), lease=LEASE) is None
    shard = claimed.claim("s1", owner="bob", intent="i2", now=later(30), lease=LEASE)
    assert shard is not None
    assert (shard.intent, shard.not_before) == ("i2", None)


def test_a_shard_in_doubt_keeps_its_intent_until_its_next_look(claimed: Ledger) -> None:
    assert claimed.in_doubt("s1", message="timeout", next_look=later(30), now=NOON)
    shard = claimed.shard("s1")
    assert (shard.state, shard.message) == (ShardState.IN_DOUBT, "timeout")
    assert claimed.claim("s1", owner="bob", intent="i2", now=later(29), lease=LEASE) is None
    taken = claimed.claim("s1", owner="bob", intent="i2", now=later(30), lease=LEASE)
    assert taken is not None
    assert taken.intent == "i1"


def test_a_failed_shard_waits_for_a_person_and_is_sent_from_the_start(submitted: Ledger) -> None:
    assert submitted.failed("s1", message="the template is wrong", now=NOON)
    assert submitted.shard("s1").message == "the template is wrong"
    assert submitted.claim("s1", owner="bob", intent="i2", now=later(999), lease=LEASE) is None
    assert submitted.release("s1", "unknown", now=later(5)) == 1
    shard = submitted.shard("s1")
    assert (shard.state, shard.batch_id, shard.message) == (ShardState.PLANNED, None, None)


def test_only_a_failed_shard_can_be_released(submitted: Ledger) -> None:
    assert submitted.release("s1", now=NOON) == 0


def test_a_failed_shard_can_be_given_up_so_that_its_rows_are_free(claimed: Ledger) -> None:
    claimed.failed("s1", message="lost", now=NOON)
    assert claimed.withdraw(["s1"], now=NOON) == 0, "not unless somebody asks for it"
    assert claimed.withdraw(["s1"], now=NOON, failed=True) == 1
    assert state(claimed) is ShardState.CANCELLED


def test_a_shard_that_is_too_large_is_replaced_by_its_pieces(claimed: Ledger) -> None:
    pieces = [make_shard("s1a", partitions={"p1": 5}), make_shard("s1b", partitions={"p1": 5})]
    assert claimed.replace("s1", pieces, message="too large", now=later(1), owner="ann")
    assert {one.shard_id: one.state for one in claimed.shards(JOB)} == {
        "s1": ShardState.CANCELLED,
        "s1a": ShardState.PLANNED,
        "s1b": ShardState.PLANNED,
    }


def test_a_running_batch_is_not_replaced(submitted: Ledger) -> None:
    assert not submitted.replace("s1", [make_shard("s2")], message="m", now=NOON)
    assert len(submitted.shards(JOB)) == 1


def test_a_withdrawn_shard_does_not_adopt_a_batch(planned: Ledger) -> None:
    planned.withdraw(["s1"], now=NOON)
    assert not planned.submitted(
        "s1", observation=make_observation(), account=ACCOUNT, run_id=None, now=NOON
    )
    assert state(planned) is ShardState.CANCELLED


def test_an_unknown_shard_is_a_mistake_of_the_person_who_names_it(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="no shard 'nope'"):
        ledger.shard("nope")
    assert ledger.claim("nope", owner="ann", intent="i", now=NOON, lease=LEASE) is None


def test_an_adopted_batch_that_has_ended_already_ends_its_shard_at_the_next_look(
    claimed: Ledger,
) -> None:
    claimed.submitted("s1", observation=completed(), account=ACCOUNT, run_id=None, now=NOON)
    assert state(claimed) is ShardState.SUBMITTED
    assert claimed.observe(ACCOUNT, [completed()], now=later(1)) == [], "nothing new was said"
    assert state(claimed) is ShardState.ENDED
    assert completed().status is RemoteStatus.COMPLETED


def test_a_named_lease_has_one_owner_at_a_time(ledger: Ledger) -> None:
    def take(owner: str, seconds: float) -> bool:
        return ledger.lock("plan:reviews", owner=owner, now=later(seconds), lease=LEASE)

    assert take("ann", 0)
    assert not take("bob", 59)
    assert take("ann", 30), "an owner may renew its own"
    assert not take("bob", 60)
    assert take("bob", 90), "an expired lease can be taken"
    ledger.unlock("plan:reviews", owner="ann")
    assert not take("ann", 91), "only the owner gives it back"
    ledger.unlock("plan:reviews", owner="bob")
    assert take("ann", 92)
    assert ledger.lock("plan:other", owner="bob", now=later(92), lease=LEASE)


def test_many_leases_are_taken_together_or_not_at_all(ledger: Ledger) -> None:
    def take(owner: str, *names: str) -> bool:
        return ledger.lock(*names, owner=owner, now=later(0), lease=LEASE)

    assert take("ann", "b", "c")
    assert not take("bob", "a", "b")
    assert ledger.holders("a", "b", "c") == {"b": "ann", "c": "ann"}
    assert take("bob", "a", "d")
    ledger.unlock("a", "b", "c", owner="ann")
    assert ledger.holders("a", "b", "c") == {"a": "bob"}
    many = [f"land:{number}" for number in range(2500)]  # more than one statement takes
    assert take("ann", *many)
    assert not take("bob", "z", many[-1])
    assert set(ledger.holders("z", *many).values()) == {"ann"}
