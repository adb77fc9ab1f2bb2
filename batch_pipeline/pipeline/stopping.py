"""A person stops the sending, or asks for it again."""

from __future__ import annotations

from collections.abc import Sequence

from batch_pipeline.model import Shard, ShardState
from batch_pipeline.pipeline import planning, stops
from batch_pipeline.pipeline.workplace import Workplace

CANCELLED = "cancelled by a person"


def cancel(work: Workplace, partitions: Sequence[str] | None) -> list[Shard]:
    """Withdraw what was not sent, and ask the provider to stop what was; returns those shards.

    Rows of other partitions that were planned with them are planned again without them. Batches
    of another account than ours are left alone: their key can stop them.
    """
    name, ledger = work.job.name, work.ledger
    held = partitions or [counts.partition for counts in ledger.partitions(name)]
    ledger.hold(name, held, reason=CANCELLED, now=work.now())
    planned = ledger.shards(name, partitions=partitions, states=[ShardState.PLANNED])
    ledger.withdraw([shard.shard_id for shard in planned], now=work.now())
    others = {other for shard in planned for other in shard.partitions} - set(held)
    if others:
        planning.plan(work, sorted(others))
    running = ledger.shards(name, partitions=partitions, states=[ShardState.SUBMITTED])
    ours = [shard for shard in running if shard.account == work.client(shard.provider).account]
    for shard in ours:
        client = work.client(shard.provider)
        seen = client.cancel(str(shard.batch_id))
        ledger.observe(client.account, [seen], now=work.now(), ended=[])
    return [ledger.shard(shard.shard_id) for shard in (*planned, *ours)]


def let_go(
    work: Workplace, partitions: Sequence[str], *, lost: bool, unmatched: bool = False
) -> None:
    """A person asks again: lift holds, free the rows of shards that the provider never took.

    With *unmatched* also the hold of answers that nobody could match. With *lost*, also give up
    batches that are gone there; their rows are paid again.
    """
    name, ledger = work.job.name, work.ledger
    ledger.hold(name, partitions, reason=None, now=work.now())
    stops.lift(work, partitions, unmatched_too=unmatched)
    failed = ledger.shards(name, partitions=partitions, states=[ShardState.FAILED])
    free = [shard.shard_id for shard in failed if lost or shard.batch_id is None]
    # Not planned as they are: cut anew, they follow the limits of today.
    ledger.withdraw(free, now=work.now(), failed=True)
