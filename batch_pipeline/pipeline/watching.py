"""Looking at batches in flight: by listing, per account, at most once per interval for all jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from batch_pipeline.errors import NotFound
from batch_pipeline.model import Observation, PartitionSummary, Shard, ShardState
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.policy.lifecycle import Step, Verdict, backoff, next_step, verdict

log = logging.getLogger("batch_pipeline")

_MARGIN = timedelta(minutes=10)  # clocks differ, and a listing may lag


@dataclass(frozen=True, slots=True)
class Watched:
    """One look around: what changed, and batches that belong to a key we do not have."""

    looked: bool  # False: nothing in flight, or somebody looked within the interval
    changed: tuple[Shard, ...] = ()
    foreign: tuple[Shard, ...] = ()


def watch(work: Workplace) -> Watched:
    """Ask the provider about everything in flight and write it to the ledger."""
    provider = work.job.target.provider
    in_flight = work.ledger.to_poll(provider)
    if not any(shard.job == work.job.name for shard in in_flight):
        return Watched(looked=False)
    client = work.client
    ours = [shard for shard in in_flight if shard.account == client.account]
    foreign = tuple(
        shard
        for shard in in_flight
        if shard.account != client.account and shard.job == work.job.name
    )
    if not ours or not _our_turn(work):
        return Watched(looked=False, foreign=foreign)
    observations = list(_observe(work, ours))
    verdicts = {seen.batch_id: verdict(seen, now=work.now()) for seen in observations}
    changed = work.ledger.observe(
        client.account,
        observations,
        now=work.now(),
        ended=[batch for batch, said in verdicts.items() if said is Verdict.COLLECT],
    )
    by_batch = {shard.batch_id: shard for shard in ours}
    for seen in observations:
        _act(work, by_batch[seen.batch_id], seen, verdicts[seen.batch_id])
    return Watched(looked=True, changed=tuple(changed), foreign=foreign)


def steps(work: Workplace) -> dict[str, tuple[Step, PartitionSummary]]:
    """The next step of every partition the ledger knows, in order."""
    now = work.now()
    return {
        summary.counts.partition: (next_step(summary, now=now), summary)
        for summary in work.ledger.summary(work.job.name)
    }


def _our_turn(work: Workplace) -> bool:
    """The interval is a lease nobody gives back; it is shared by all jobs of the account."""
    name = f"poll:{work.job.target.provider}:{work.client.account}"
    return work.ledger.lock(
        name, owner=uuid4().hex, now=work.now(), lease=work.settings.poll_seconds
    )


def _observe(work: Workplace, shards: Sequence[Shard]) -> Iterator[Observation]:
    waited_for = {shard.batch_id: shard for shard in shards}
    since = min(shard.created_at or work.now() for shard in shards) - _MARGIN
    for seen in work.client.observe(since=since):
        if waited_for.pop(seen.batch_id, None) is not None:
            yield seen
        if not waited_for:
            return
    for batch_id, shard in waited_for.items():
        seen_alone = _alone(work, shard, str(batch_id))
        if seen_alone is not None:
            yield seen_alone


def _alone(work: Workplace, shard: Shard, batch_id: str) -> Observation | None:
    try:
        return work.client.retrieve(batch_id)
    except NotFound as error:
        submitted = shard.submitted_at or work.now()
        if work.now() - submitted > _MARGIN:  # younger ones may not be readable yet
            work.ledger.failed(
                shard.shard_id,
                message=f"{error} Its answers cannot be fetched. "
                "`batch-pipeline retry --lost` sends its rows again, at their full price.",
                now=work.now(),
            )
        return None


def _act(work: Workplace, shard: Shard, seen: Observation, said: Verdict) -> None:
    match said:
        case Verdict.REQUEUE:
            message = seen.problems[0].message if seen.problems else "the queue is full"
            work.ledger.requeue(
                shard.shard_id,
                message=message,
                not_before=work.now() + backoff(shard.tries),
                now=work.now(),
                count_try=True,
            )
        case Verdict.CANCEL:
            log.warning("batch outlived its window", extra={"batch": seen.batch_id})
            work.client.cancel(seen.batch_id)
        case Verdict.COLLECT:
            log.info("batch ended", extra={"batch": seen.batch_id, "status": seen.raw_status})
        case Verdict.WAIT:
            pass


def in_flight(summary: PartitionSummary) -> int:
    """Requests of the partition that are on their way."""
    states = (ShardState.PLANNED, ShardState.SUBMITTING, ShardState.SUBMITTED)
    return sum(summary.requests.get(state, 0) for state in (*states, ShardState.IN_DOUBT))
