from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from batch_pipeline.model import (
    Hold,
    HoldKind,
    PartitionCounts,
    Problem,
    RemoteStatus,
    ShardState,
)
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


@pytest.fixture
def ended(submitted: Ledger) -> Ledger:
    submitted.observe(ACCOUNT, [completed()], now=later(100))
    return submitted


def send(ledger: Ledger, shard_id: str, batch_id: str, account: str = ACCOUNT) -> None:
    ledger.claim(shard_id, owner="ann", intent="i", now=NOON, lease=LEASE)
    ledger.submitted(
        shard_id,
        observation=make_observation(batch_id, expires_at=later(86400)),
        account=account,
        run_id=None,
        now=NOON,
    )


def test_a_look_returns_the_shards_that_moved_and_no_others(ledger: Ledger) -> None:
    ledger.plan([make_shard("s1"), make_shard("s2")], now=NOON)
    send(ledger, "s1", "b1")
    send(ledger, "s2", "b2")
    seen = [make_observation("b1", completed=4), make_observation("b2", expires_at=later(86400))]
    moved = ledger.observe(ACCOUNT, [*seen, make_observation("not ours")], now=later(5))
    assert [(one.shard_id, one.remote) for one in moved] == [("s1", seen[0])]
    assert ledger.observe(ACCOUNT, seen, now=later(6)) == []


def test_everything_the_provider_said_is_kept(submitted: Ledger) -> None:
    seen = replace(
        completed(),
        problems=(Problem("invalid", "line 3 is no JSON", line=3, param="body"),),
        metadata={"intent": "i1"},
        error_file_id="file_err",
    )
    submitted.observe(ACCOUNT, [seen], now=later(100))
    assert submitted.shard("s1").remote == seen
    assert submitted.history("s1")[0].observed_at == later(100)


def test_the_same_batch_id_of_another_account_is_another_batch(submitted: Ledger) -> None:
    assert submitted.observe("other", [completed()], now=NOON) == []
    assert submitted.shard("s1").state is ShardState.SUBMITTED


def test_a_terminal_batch_ends_its_shard(submitted: Ledger) -> None:
    moved = submitted.observe(ACCOUNT, [completed()], now=later(100))
    assert [(one.shard_id, one.state) for one in moved] == [("s1", ShardState.ENDED)]


def test_a_terminal_batch_ends_its_shard_only_if_the_caller_says_so(submitted: Ledger) -> None:
    submitted.observe(ACCOUNT, [completed()], now=later(100), ended=[])
    assert submitted.shard("s1").state is ShardState.SUBMITTED
    submitted.observe(ACCOUNT, [completed()], now=later(160), ended=["batch_1"])
    assert submitted.shard("s1").state is ShardState.ENDED


def test_a_terminal_batch_never_runs_again_whatever_a_late_listing_says(ended: Ledger) -> None:
    assert ended.observe(ACCOUNT, [make_observation(completed=3)], now=later(101)) == []
    remote = ended.shard("s1").remote
    assert remote == completed()


def test_a_file_id_that_was_read_once_is_not_forgotten(ended: Ledger) -> None:
    ended.observe(ACCOUNT, [replace(completed(), output_file_id=None)], now=later(101))
    assert ended.shard("s1").remote == completed()


def test_a_batch_that_was_superseded_does_not_move_its_shard(submitted: Ledger) -> None:
    submitted.requeue("s1", message="m", not_before=None, now=NOON, count_try=True)
    send(submitted, "s1", "batch_2")
    moved = submitted.observe(
        ACCOUNT, [make_observation("batch_1", RemoteStatus.FAILED)], now=later(5)
    )
    assert moved == []
    assert submitted.shard("s1").state is ShardState.SUBMITTED
    assert submitted.history("s1")[0].observation.status is RemoteStatus.FAILED


def test_shards_to_poll_are_those_with_a_running_batch_of_the_provider(ledger: Ledger) -> None:
    ledger.plan([make_shard("s1"), make_shard("s2", job="other"), make_shard("s3")], now=NOON)
    send(ledger, "s1", "b1")
    send(ledger, "s2", "b2", account="second")
    assert [one.shard_id for one in ledger.to_poll("openai")] == ["s1", "s2"]
    assert ledger.to_poll("anthropic") == []


def test_a_collection_is_counted_once_in_every_partition_it_touched(ledger: Ledger) -> None:
    ledger.plan([make_shard(partitions={"p1": 4, "p2": 6})], now=NOON)
    ledger.plan([make_shard("s2", partitions={"p3": 1})], now=NOON)
    send(ledger, "s1", "batch_1")
    assert not ledger.collected("s1", now=NOON), "it has not ended"
    ledger.observe(ACCOUNT, [completed()], now=later(1))
    assert ledger.collected("s1", now=later(2), succeeded=9, failed=1)
    assert not ledger.collected("s1", now=later(3), succeeded=0, failed=0)
    counts = {one.partition: one.collected for one in ledger.partitions(JOB)}
    assert counts == {"p1": 1, "p2": 1, "p3": 0}
    [batch] = ledger.history("s1")
    assert (batch.collected_at, batch.rows_succeeded, batch.rows_failed) == (later(2), 9, 1)


def test_a_collected_shard_stays_collected(ended: Ledger) -> None:
    ended.collected("s1", now=later(101))
    assert ended.observe(ACCOUNT, [completed()], now=later(102)) == []
    assert not ended.failed("s1", message="m", now=later(103))
    assert not ended.requeue("s1", message="m", not_before=None, now=later(103), count_try=True)
    assert ended.shard("s1").state is ShardState.COLLECTED


def built(ledger: Ledger, digest: str = "one", partition: str = "p1") -> None:
    ledger.built([PartitionCounts(JOB, partition, 10, 2, digest)], now=later(1))


def landed(ledger: Ledger, seen: int, digest: str = "one") -> bool:
    counts = PartitionCounts(JOB, "p1", digest=digest, succeeded=7, failed=1, retryable=1)
    ledger.landed([replace(counts, landed=seen)], now=later(2))
    return ledger.partition(JOB, "p1").landed == seen


def test_a_partition_nobody_built_has_the_counts_of_nothing(ledger: Ledger) -> None:
    assert ledger.partition(JOB, "p1") == PartitionCounts(JOB, "p1")
    assert ledger.partitions(JOB) == []
    assert not landed(ledger, 0)


def test_a_partition_keeps_what_was_built_and_what_landed(ledger: Ledger) -> None:
    built(ledger)
    assert landed(ledger, 3)
    assert ledger.partition(JOB, "p1") == PartitionCounts(
        job=JOB,
        partition="p1",
        requests=10,
        rejected=2,
        digest="one",
        succeeded=7,
        failed=1,
        retryable=1,
        landed=3,
        updated_at=later(2),
    )


def hold(partition: str, kind: HoldKind, *, until: datetime | None = None) -> Hold:
    return Hold(JOB, partition, kind, f"for {kind.value}'s sake", later(2), until)


def test_a_held_partition_says_why_until_it_is_set_free(ledger: Ledger) -> None:
    built(ledger)
    held = [hold(name, HoldKind.PERSON) for name in ("new", "p1")]
    ledger.holds.put(JOB, held)
    assert ledger.holds.standing(JOB) == held
    assert [one.partition for one in ledger.partitions(JOB)] == ["new", "p1"]
    assert ledger.holds.lift(JOB, {HoldKind.PERSON}, partitions=["p1"]) == held[1:]
    assert ledger.holds.standing(JOB) == held[:1]


def test_holds_of_several_kinds_stand_at_once_and_to_lift_one_leaves_the_others(
    ledger: Ledger,
) -> None:
    kinds = [HoldKind.BREAKER, HoldKind.CANARY, HoldKind.PERSON]
    for kind in kinds:
        ledger.holds.put(JOB, [hold("p1", kind)])
    for kind in (HoldKind.CANARY, HoldKind.BREAKER):
        ledger.holds.lift(JOB, {kind})
        kinds.remove(kind)
        assert [one.kind for one in ledger.holds.standing(JOB)] == kinds


def test_a_hold_with_an_end_stands_until_then(ledger: Ledger) -> None:
    ends = hold("p1", HoldKind.PERSON, until=later(5))
    ledger.holds.put(JOB, [ends])
    assert ledger.holds.standing(JOB, now=later(4)) == [ends]
    assert ledger.holds.standing(JOB, now=later(5)) == []


def test_what_gates_say_is_written_at_once_and_touches_no_other_hold(ledger: Ledger) -> None:
    ledger.holds.put(JOB, [hold("p1", HoldKind.PERSON), hold("p2", HoldKind.CANARY)])
    kept = [hold("p1", HoldKind.CANARY), hold("p1", HoldKind.PERSON)]
    theirs = {HoldKind.CANARY}
    ledger.holds.admitted(JOB, {"p1": 3, "p2": 0}, kept[:1], kinds=theirs, now=later(3))
    assert ledger.holds.standing(JOB) == kept
    assert [one.deferred for one in ledger.partitions(JOB)] == [3, 0]
    ledger.holds.admitted(JOB, {"p1": 0}, [], kinds=theirs, now=later(4))
    assert ledger.holds.standing(JOB) == kept[1:]


def test_building_the_same_table_again_leaves_the_results_fresh(ledger: Ledger) -> None:
    built(ledger)
    landed(ledger, 0)
    built(ledger)
    assert ledger.partition(JOB, "p1").landed == 0


def test_another_request_table_makes_the_results_stale(ledger: Ledger) -> None:
    built(ledger)
    landed(ledger, 0)
    built(ledger, digest="two")
    assert ledger.partition(JOB, "p1").landed == -1
    assert not landed(ledger, 0, digest="one"), "results of the earlier table do not count"
    assert ledger.partition(JOB, "p1").landed == -1
    assert landed(ledger, 0, digest="two")


def test_shards_are_found_by_partition_and_state_in_the_order_of_planning(ledger: Ledger) -> None:
    ledger.plan([make_shard("s9", partitions={"p1": 1, "p2": 1})], now=NOON)
    ledger.plan([make_shard("s1", partitions={"p2": 1}), make_shard("s3")], now=later(1))
    ledger.plan([make_shard("s4", job="other")], now=NOON)
    send(ledger, "s9", "b9")

    def ids(**asked: list[str] | list[ShardState]) -> list[str]:
        return [one.shard_id for one in ledger.shards(JOB, **asked)]  # type: ignore[arg-type]  # either keyword

    assert ids() == ["s9", "s1", "s3"]
    assert ids(partitions=["p2"]) == ["s9", "s1"]
    assert ids(partitions=["p1", "p2"], states=[ShardState.PLANNED]) == ["s1", "s3"]
    assert ids(partitions=[]) == []
    assert ids(states=[ShardState.FAILED]) == []


def test_more_partitions_than_fit_into_one_statement_are_no_trouble(ledger: Ledger) -> None:
    ledger.plan([make_shard(partitions={"p7": 1, "p2500": 1})], now=NOON)
    found = ledger.shards(JOB, partitions=[f"p{number}" for number in range(3000)])
    assert [one.partitions for one in found] == [{"p2500": 1, "p7": 1}]


def test_a_summary_counts_each_partitions_part_of_a_shared_shard(ledger: Ledger) -> None:
    built(ledger, partition="empty")
    ledger.plan([make_shard("s1", partitions={"p1": 4, "p2": 6})], now=NOON)
    ledger.plan([make_shard("s2", partitions={"p2": 5})], now=later(9))
    send(ledger, "s1", "b1")
    empty, first, second = ledger.summary(JOB)
    assert (empty.counts.partition, empty.shards, empty.next_due) == ("empty", {}, None)
    assert empty.counts == ledger.partition(JOB, "empty")
    assert first.shards == {ShardState.SUBMITTED: 1}
    assert first.requests == {ShardState.SUBMITTED: 4}
    assert (first.next_due, first.expires_at) == (None, later(86400))
    assert second.shards == {ShardState.SUBMITTED: 1, ShardState.PLANNED: 1}
    assert second.requests == {ShardState.SUBMITTED: 6, ShardState.PLANNED: 5}
    assert (second.next_due, second.expires_at) == (later(9), later(86400))
    assert ledger.summary("other") == []


def due(ledger: Ledger) -> object:
    [summary] = ledger.summary(JOB)
    return summary.next_due


def test_a_summary_says_when_a_waiting_shard_may_move(claimed: Ledger) -> None:
    assert due(claimed) == later(60), "the end of the lease"
    claimed.in_doubt("s1", message="m", next_look=later(30), now=NOON)
    assert due(claimed) == later(30), "the next look"
    claimed.requeue("s1", message="m", not_before=later(90), now=NOON, count_try=True)
    assert due(claimed) == later(90), "the time it was told to wait for"
    claimed.plan([make_shard("s2")], now=later(5))
    assert due(claimed) == later(5), "the earliest of several"
    claimed.withdraw(["s1", "s2"], now=NOON)
    assert due(claimed) is None
