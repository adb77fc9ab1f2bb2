"""Where each partition stands, by ledger and store alone: little to load, for `status`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from batch_pipeline.model import (
    ON_THE_WAY,
    Ask,
    Hold,
    HoldKind,
    PartitionCounts,
    PartitionSummary,
    ShardState,
)
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime, is_dead
from batch_pipeline.policy.lifecycle import Step, next_step

Steps = dict[str, tuple[Step, PartitionSummary]]
Tell = Callable[[Steps], None]


def steps(records: Records, runtime: Runtime) -> Steps:
    """The next step of every partition that was built, or that a run was asked for, in order."""
    now = runtime.now()
    summaries = [_as_it_lies(records, one) for one in records.ledger.summary(records.job.name)]
    summaries = _with_asks(records, _with_dead_senders(records, summaries, now=now))
    if any(summary.counts.deferred for summary in summaries):
        canaries = records.ledger.canaries.out(records.job.name)
        summaries = [replace(summary, canaries=canaries) for summary in summaries]
    held = holds_by_partition(records, runtime)
    if held:
        summaries = [
            replace(one, holds=(*held.get("", ()), *held.get(one.counts.partition, ())))
            for one in summaries
        ]
    return {
        summary.counts.partition: (next_step(summary, now=now), summary) for summary in summaries
    }


def _with_asks(records: Records, summaries: Sequence[PartitionSummary]) -> list[PartitionSummary]:
    """Also the partitions that runs were asked for, with what they were asked."""
    asked: dict[str, tuple[Ask, ...]] = {}
    for one in records.ledger.asked.standing(records.job.name):
        left = one.owner is not None and is_dead(one.owner)
        known = replace(one, busy_until=None) if left else one
        asked[one.partition] = (*asked.get(one.partition, ()), known)
    if not asked:
        return list(summaries)
    known_already = {one.counts.partition for one in summaries}
    new = [
        PartitionSummary(PartitionCounts(records.job.name, name))
        for name in asked.keys() - known_already
    ]
    return [
        replace(one, asked=asked.get(one.counts.partition, ()))
        for one in sorted([*summaries, *new], key=lambda one: one.counts.partition)
    ]


def _with_dead_senders(
    records: Records, summaries: Sequence[PartitionSummary], *, now: datetime
) -> list[PartitionSummary]:
    """A shard whose sender is a dead process of this host need not wait for its claim's end."""
    if not any(one.shards.get(ShardState.SUBMITTING) for one in summaries):
        return list(summaries)
    claimed = records.ledger.shards(records.job.name, states=[ShardState.SUBMITTING])
    left = {
        name
        for shard in claimed
        if shard.claimed_by is not None and is_dead(shard.claimed_by)
        for name in shard.partitions
    }
    return [
        replace(one, next_due=now) if one.counts.partition in left else one for one in summaries
    ]


def of(records: Records, runtime: Runtime, partitions: Sequence[str]) -> Steps:
    """The steps of these partitions alone."""
    known = steps(records, runtime)
    return {name: known[name] for name in partitions if name in known}


def holds_by_partition(
    records: Records, runtime: Runtime, kinds: Collection[HoldKind] = frozenset(HoldKind)
) -> Mapping[str, tuple[Hold, ...]]:
    """The standing holds of these kinds by partition; those of the whole job are under ""."""
    found: dict[str, tuple[Hold, ...]] = {}
    for hold in records.ledger.holds.standing(records.job.name, now=runtime.now()):
        if hold.kind in kinds:
            found[hold.partition] = (*found.get(hold.partition, ()), hold)
    return found


def is_gone(records: Records, counts: PartitionCounts) -> bool:
    """True when results were written and are not in the store any more."""
    if counts.landed < 0 or counts.unanswered or not counts.digest:
        return False
    return not records.store.results_file(counts.job, counts.partition).exists()


def in_flight(summary: PartitionSummary) -> int:
    """Requests of the partition that are on their way."""
    return sum(summary.requests.get(state, 0) for state in ON_THE_WAY)


def _as_it_lies(records: Records, summary: PartitionSummary) -> PartitionSummary:
    """Results that are gone from the store have not landed: they are made again."""
    if not is_gone(records, summary.counts):
        return summary
    return replace(summary, counts=replace(summary.counts, landed=-1))
