"""Looking at batches in flight: by listing, per account, at most once per interval for all jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

from batch_pipeline.errors import NotFound, OutOfCredit, ProviderError, Unreadable
from batch_pipeline.model import (
    TERMINAL,
    Observation,
    PartitionSummary,
    RemoteStatus,
    Shard,
    ShardState,
)
from batch_pipeline.pipeline import collecting
from batch_pipeline.pipeline.sending import NO_BATCH, drop_duplicate, one_line_too_large
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.policy.lifecycle import (
    Step,
    Verdict,
    backoff,
    is_out_of_credit,
    is_too_much,
    next_step,
    verdict,
)
from batch_pipeline.stages.shards import split

log = logging.getLogger("batch_pipeline")

_MARGIN = timedelta(minutes=10)  # clocks differ, and a listing may lag


@dataclass(frozen=True, slots=True)
class Watched:
    """One look around: what changed, and batches that belong to a key we do not have."""

    looked: bool  # False: nothing in flight, or somebody looked within the interval
    changed: tuple[Shard, ...] = ()
    foreign: tuple[Shard, ...] = ()
    problem: OutOfCredit | None = None  # a batch was refused for it, and is planned again
    odd: int = 0  # batches of the lists that cannot be read: strangers', as a rule
    unread: tuple[Unreadable, ...] = ()  # why a batch of ours could not be looked at

    def with_(self, other: Watched) -> Watched:
        """Both looks as one."""
        return Watched(
            looked=self.looked or other.looked,
            changed=(*self.changed, *other.changed),
            foreign=(*self.foreign, *other.foreign),
            problem=self.problem or other.problem,
            odd=self.odd + other.odd,
            unread=(*self.unread, *other.unread),
        )


def watch(work: Workplace) -> Watched:
    """Ask every provider about what the job has in flight there, and write it to the ledger.

    One that does not answer keeps nobody from being asked; its error is raised in the end.
    """
    mine = work.ledger.shards(work.job.name, states=[ShardState.SUBMITTED])
    seen, troubles = Watched(looked=False), list[ProviderError]()
    for provider in dict.fromkeys(shard.provider for shard in mine):
        try:
            seen = seen.with_(_watch(work, provider))
        except ProviderError as error:
            troubles.append(error)
    if troubles := [*troubles, *seen.unread]:
        raise troubles[0]
    return seen


def _watch(work: Workplace, provider: str) -> Watched:
    in_flight = work.ledger.to_poll(provider)
    account = work.client(provider).account
    ours = [shard for shard in in_flight if shard.account == account]
    foreign = tuple(
        shard for shard in in_flight if shard.account != account and shard.job == work.job.name
    )
    if not ours or not _our_turn(work, provider):
        return Watched(looked=False, foreign=foreign)
    observations, odd, unread = _observe(work, ours)
    verdicts = {seen.batch_id: verdict(seen, now=work.now()) for seen in observations}
    changed = work.ledger.observe(
        account,
        observations,
        now=work.now(),
        ended=[batch for batch, said in verdicts.items() if said is Verdict.COLLECT],
    )
    by_batch = {shard.batch_id: shard for shard in ours}
    for seen in observations:
        shard = by_batch[seen.batch_id]
        alone = _queue_is_ours(shard, ours, observations)
        _act(work, shard, seen, verdicts[seen.batch_id], queue_is_ours=alone)
    problem = _out_of_credit(observations)
    return Watched(
        looked=True,
        changed=tuple(changed),
        foreign=foreign,
        problem=problem,
        odd=odd,
        unread=unread,
    )


def steps(work: Workplace) -> dict[str, tuple[Step, PartitionSummary]]:
    """The next step of every partition the ledger knows, in order."""
    now = work.now()
    summaries = [_as_it_lies(work, one) for one in work.ledger.summary(work.job.name)]
    if any(summary.counts.deferred for summary in summaries):
        canaries = work.ledger.canaries.out(work.job.name)
        summaries = [replace(summary, canaries=canaries) for summary in summaries]
    return {
        summary.counts.partition: (next_step(summary, now=now), summary) for summary in summaries
    }


def _as_it_lies(work: Workplace, summary: PartitionSummary) -> PartitionSummary:
    """Results that are gone from the store have not landed: they are made again."""
    if not collecting.is_gone(work, summary.counts):
        return summary
    return replace(summary, counts=replace(summary.counts, landed=-1))


def _our_turn(work: Workplace, provider: str) -> bool:
    """The interval is a lease nobody gives back; it is shared by all jobs of the account."""
    name = f"poll:{provider}:{work.client(provider).account}"
    return work.ledger.lock(
        name, owner=uuid4().hex, now=work.now(), lease=work.settings.poll_seconds
    )


def _observe(
    work: Workplace, shards: Sequence[Shard]
) -> tuple[list[Observation], int, tuple[Unreadable, ...]]:
    """What the listing says of the shards' batches; those it leaves out are asked for alone.

    With the number of batches that it holds and nobody can read, and what was said of ours that
    cannot be read alone either: they hold up no other.
    """
    since = min(shard.created_at or work.now() for shard in shards) - _MARGIN
    client = work.client(shards[0].provider)
    odd: list[bytes] = []
    listed = {seen.batch_id: seen for seen in client.observe(since=since, odd=odd.append)}
    if odd:
        told = {"provider": shards[0].provider, "batches": len(odd)}
        log.info("batches of an odd shape passed over", extra=told)
    _drop_duplicates(work, shards, listed.values())
    found: list[Observation] = []
    unread: list[Unreadable] = []
    for shard in shards:
        try:
            seen = listed.get(shard.batch_id or "") or _alone(work, shard)
        except Unreadable as error:
            unread.append(error)
        else:
            found += [] if seen is None else [seen]
    return found, len(odd), tuple(unread)


def _drop_duplicates(
    work: Workplace, shards: Sequence[Shard], listed: Iterable[Observation]
) -> None:
    """Stop batches that carry a shard's intent and are not its batch: they showed up too late."""
    by_intent = {shard.intent: shard for shard in shards if shard.intent}
    for seen in listed:
        shard = by_intent.get(seen.metadata.get("intent", ""))
        if shard is None or seen.batch_id == shard.batch_id or _is_over(seen):
            continue
        taken = work.ledger.submitted(
            shard.shard_id,
            observation=seen,
            account=work.client(shard.provider).account,
            run_id=shard.run_id,
            now=work.now(),
        )
        if not taken:
            drop_duplicate(work, shard, seen)


def _is_over(seen: Observation) -> bool:
    return seen.status in TERMINAL or seen.status is RemoteStatus.ENDING


def _alone(work: Workplace, shard: Shard) -> Observation | None:
    batch_id = str(shard.batch_id)
    if batch_id.startswith(NO_BATCH):  # a crash came between the refusal and its end
        return shard.remote
    try:
        return work.client(shard.provider).retrieve(batch_id)
    except NotFound as error:
        submitted = shard.submitted_at or work.now()
        if work.now() - submitted > _MARGIN:  # younger ones may not be readable yet
            work.ledger.failed(
                shard.shard_id,
                message=f"{error} Its answers cannot be fetched. "
                "`batch-pipeline retry --lost` sends its rows again, at their full price.",
                now=work.now(),
                batch_id=batch_id,
            )
        return None


def _act(
    work: Workplace, shard: Shard, seen: Observation, said: Verdict, *, queue_is_ours: bool
) -> None:
    match said:
        case Verdict.REQUEUE:
            _requeue(work, shard, seen, queue_is_ours=queue_is_ours)
        case Verdict.CANCEL:
            log.warning("batch outlived its window", extra={"batch": seen.batch_id})
            work.client(shard.provider).cancel(seen.batch_id)
        case Verdict.COLLECT:
            log.info("batch ended", extra={"batch": seen.batch_id, "status": seen.raw_status})
        case Verdict.WAIT:
            pass


def _requeue(work: Workplace, shard: Shard, seen: Observation, *, queue_is_ours: bool) -> None:
    """Plan a batch again that was refused for what passes; in two, if it alone is too much."""
    message = seen.problems[0].message
    moved = work.ledger.requeue(
        shard.shard_id,
        message=message,
        not_before=work.now() + backoff(shard.tries),
        now=work.now(),
        count_try=True,
        batch_id=seen.batch_id,
    )
    if not (moved and queue_is_ours and is_too_much(seen, tries=shard.tries)):
        return
    if shard.requests == 1:
        told = f"{message} {one_line_too_large(shard)}"
        work.ledger.failed(shard.shard_id, message=told, now=work.now())
        return
    halves = split(shard, folder=work.store.shards_dir(shard.job))
    work.ledger.replace(shard.shard_id, halves, message=message, now=work.now())


def _queue_is_ours(shard: Shard, ours: Sequence[Shard], seen: Sequence[Observation]) -> bool:
    """True when nothing else of ours for the model waits or runs at the provider."""
    running = {one.batch_id for one in seen if one.status not in TERMINAL}
    return not any(one.model == shard.model and one.batch_id in running for one in ours)


def _out_of_credit(observations: Sequence[Observation]) -> OutOfCredit | None:
    for seen in observations:
        if is_out_of_credit(seen):
            said = seen.problems[0].message
            return OutOfCredit(
                f"Batch {seen.batch_id} was refused: {said} Nothing of it ran. Add credit or "
                "raise the limit, then run again; what is in flight goes on meanwhile."
            )
    return None


def in_flight(summary: PartitionSummary) -> int:
    """Requests of the partition that are on their way."""
    states = (ShardState.PLANNED, ShardState.SUBMITTING, ShardState.SUBMITTED)
    return sum(summary.requests.get(state, 0) for state in (*states, ShardState.IN_DOUBT))
