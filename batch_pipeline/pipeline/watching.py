"""Looking at batches in flight: by listing, per account, at most once per interval for all jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import sample

from batch_pipeline.errors import NotFound, OutOfCredit, ProviderError, Unreadable
from batch_pipeline.model import (
    TERMINAL,
    Missed,
    Observation,
    Shard,
    ShardState,
)
from batch_pipeline.pipeline import missed, stray_batches
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.sending import one_line_too_large
from batch_pipeline.policy.absence import WARY
from batch_pipeline.policy.clocks import CLOCKS_DIFFER, clock_is_off, known_time
from batch_pipeline.policy.lifecycle import (
    Verdict,
    backoff,
    is_lost_for_good,
    is_out_of_credit,
    is_too_much,
    verdict,
)
from batch_pipeline.stages.shards.cut import split

log = logging.getLogger("batch_pipeline")

_STRAY_SECONDS = 600.0
_MARGIN = timedelta(minutes=10)  # clocks differ, and a listing may lag
_MOST_ALONE = 20  # batches that one look asks for singly; the looks that follow ask for the others


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


def watch(records: Records, clients: Clients, runtime: Runtime) -> Watched:
    """Ask every provider about what the job has in flight there, and write it to the ledger.

    One that does not answer keeps nobody from being asked; its error is raised in the end.
    """
    seen, troubles = Watched(looked=False), list[ProviderError]()
    for provider in records.ledger.absences.to_look_at(
        records.job.name, since=runtime.now() - WARY
    ):
        try:
            seen = seen.with_(_watch(records, clients, runtime, provider))
        except ProviderError as error:
            troubles.append(error)
    if troubles := [*troubles, *seen.unread]:
        raise troubles[0]
    return seen


def _watch(records: Records, clients: Clients, runtime: Runtime, provider: str) -> Watched:
    in_flight = records.ledger.to_poll(provider)
    account = clients.client(provider).account
    ours = [shard for shard in in_flight if shard.account == account]
    foreign = tuple(
        shard for shard in in_flight if shard.account != account and shard.job == records.job.name
    )
    waited = [shard for shard in ours if shard.state is ShardState.SUBMITTED]
    given_up = [
        shard
        for shard in ours
        if shard.state is not ShardState.SUBMITTED and not missed.is_waited_for(runtime, shard)
    ]
    doubted = records.ledger.absences.doubted(provider, since=runtime.now() - WARY)
    wary = [shard for shard in doubted if shard.account in {None, account}]
    if not (
        given_up
        or (waited and _our_turn(records, clients, runtime, provider))
        or _look_for_strays(records, clients, runtime, wary)
    ):
        return Watched(looked=False, foreign=foreign)
    looked_at = [*waited, *given_up]
    observations, odd, unread = _observe(records, clients, runtime, provider, looked_at, wary)
    _tell_skew(records, clients, runtime, provider)
    heeded = _heeded(records, clients, runtime, provider, looked_at, observations)
    return replace(heeded, foreign=foreign, odd=odd, unread=unread)


def _heeded(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    provider: str,
    shards: Sequence[Shard],
    observations: Sequence[Observation],
) -> Watched:
    """Write what was seen to the ledger, and do what it asks for."""
    there, sure = clients.there(provider), clients.tells_time(provider)
    verdicts = {seen.batch_id: verdict(seen, now=there, sure=sure) for seen in observations}
    by_batch = {shard.batch_id: shard for shard in shards}
    heeded = [
        seen
        for seen in observations
        if missed.goes_on(records, runtime, by_batch[seen.batch_id], seen, verdicts[seen.batch_id])
    ]
    changed = records.ledger.observe(
        clients.client(provider).account,
        heeded,
        now=runtime.now(),
        ended=[seen.batch_id for seen in heeded if verdicts[seen.batch_id] is Verdict.COLLECT],
    )
    busy = _busy_models(shards, observations)
    for seen in heeded:
        shard = by_batch[seen.batch_id]
        alone = shard.model not in busy
        _act(records, clients, runtime, shard, seen, verdicts[seen.batch_id], queue_is_ours=alone)
    return Watched(looked=True, changed=tuple(changed), problem=_out_of_credit(observations))


def _tell_skew(records: Records, clients: Clients, runtime: Runtime, provider: str) -> None:
    """Note how far our clock is from the provider's, if that is more than calls take."""
    client = clients.client(provider)
    there = client.clock.now()
    ahead = None if there is None else (runtime.now() - there).total_seconds()
    if ahead is not None and abs(ahead) <= CLOCKS_DIFFER.total_seconds():
        ahead = None
    name = f"skew:{provider}:{client.account}"
    if ahead is not None and records.ledger.absences.pace(name, now=runtime.now(), every=3600.0):
        log.warning("%s", clock_is_off(provider, ahead))
    records.ledger.absences.tell_skew(client.account, ahead)


def _look_for_strays(
    records: Records, clients: Clients, runtime: Runtime, wary: Sequence[Shard]
) -> bool:
    """Now and then, while nothing else asks for a listing."""
    if not wary:
        return False
    name = f"strays:{wary[0].provider}:{clients.client(wary[0].provider).account}"
    return records.ledger.absences.pace(name, now=runtime.now(), every=_STRAY_SECONDS)


def _our_turn(records: Records, clients: Clients, runtime: Runtime, provider: str) -> bool:
    """The interval is a lease nobody gives back; it is shared by all jobs of the account."""
    name = f"poll:{provider}:{clients.client(provider).account}"
    return records.ledger.absences.pace(
        name, now=runtime.now(), every=runtime.settings.poll_seconds
    )


def _observe(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    provider: str,
    shards: Sequence[Shard],
    wary: Sequence[Shard],
) -> tuple[list[Observation], int, tuple[Unreadable, ...]]:
    """What the listing says of the shards' batches; those it leaves out are asked for alone.

    With the number of batches that it holds and nobody can read, and what was said of ours that
    cannot be read alone either: they hold up no other.
    """
    listed, odd = _listed(clients, provider, [*shards, *wary])
    stray_batches.settle(records, clients, runtime, provider, listed, wary)
    found: list[Observation] = []
    apart: list[Shard] = []
    unread: list[Unreadable] = []
    for shard in shards:
        seen = listed.get(shard.batch_id or "") or _never_made(shard)
        if seen is not None:
            found.append(seen)
        elif not (shard.missed is Missed.BATCH and missed.is_waited_for(runtime, shard)):
            apart.append(shard)
    for shard in _drawn(apart):
        try:
            seen = _alone(records, clients, runtime, shard)
        except Unreadable as error:
            unread.append(error)
        else:
            found += [] if seen is None else [seen]
    return found, odd, tuple(unread)


def _never_made(shard: Shard) -> Observation | None:
    """What was kept as a batch though the upload was refused: a crash came before its end."""
    return shard.remote if shard.remote is not None and not shard.remote.made else None


def _drawn(shards: Sequence[Shard]) -> Sequence[Shard]:
    """As many as one look asks for; drawn, so that every one has its turn in the looks to come."""
    return shards if len(shards) <= _MOST_ALONE else sample(shards, _MOST_ALONE)


def _listed(
    clients: Clients, provider: str, shards: Sequence[Shard]
) -> tuple[dict[str, Observation], int]:
    """Batches by listing, from before the oldest that is waited for, by the provider's clock.

    With the number of those that nobody can read.
    """
    waited = [shard for shard in shards if shard.state is not ShardState.FAILED]
    few = len(shards) - len(waited) <= _MOST_ALONE  # a call each is less than a long list
    starts = [_start(shard) for shard in (waited if few else shards)]
    known = [start for start in starts if start is not None]
    if not known:
        return {}, 0
    odd: list[bytes] = []
    listing = clients.client(provider).observe(since=min(known) - _MARGIN, odd=odd.append)
    listed = {seen.batch_id: seen for seen in listing}
    if odd:
        told = {"provider": provider, "batches": len(odd)}
        log.info("batches of an odd shape passed over", extra=told)
    return listed, len(odd)


def _start(shard: Shard) -> datetime | None:
    doubted = stray_batches.begun(shard) if shard.doubted_at is not None else None
    made = (known_time(shard.remote.created_at) if shard.remote else None) or shard.created_at
    return min((one for one in (doubted, made) if one is not None), default=None)


def _alone(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard
) -> Observation | None:
    try:
        return clients.client(shard.provider).retrieve(str(shard.batch_id))
    except NotFound as error:
        made = shard.remote.created_at if shard.remote is not None else shard.submitted_at
        if made is None or clients.there(shard.provider) - made > _MARGIN:
            missed.missed(records, clients, runtime, shard, Missed.BATCH, str(error))
        return None  # younger ones may not be readable yet


def _act(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    shard: Shard,
    seen: Observation,
    verdict_: Verdict,
    *,
    queue_is_ours: bool,
) -> None:
    match verdict_:
        case Verdict.REQUEUE:
            _requeue(records, runtime, shard, seen, queue_is_ours=queue_is_ours)
        case Verdict.CANCEL:
            said = missed.stop(records, clients, runtime, shard, seen)
            if said is not None:
                missed.note(records, runtime, shard, said)
        case Verdict.STUCK:
            missed.stuck(records, clients, runtime, shard, seen)
        case Verdict.COLLECT:
            log.info("batch ended", extra={"batch": seen.batch_id, "status": seen.raw_status})
        case Verdict.WAIT:
            pass


def _requeue(
    records: Records, runtime: Runtime, shard: Shard, seen: Observation, *, queue_is_ours: bool
) -> None:
    """Plan a batch again that was refused for what passes; in two, if it alone is too much."""
    message = _why(seen)
    moved = records.ledger.requeue(
        shard.shard_id,
        message=message,
        not_before=runtime.now() + backoff(shard.tries),
        now=runtime.now(),
        count_try=True,
        batch_id=seen.batch_id,
    )
    if moved and is_lost_for_good(seen, tries=shard.tries):
        told = (
            f"{message} The file was uploaded {shard.tries + 1} times, and the provider found none "
            f"of them. Nothing of it ran; `batch-pipeline run {shard.job}` tries again."
        )
        records.ledger.failed(shard.shard_id, message=told, now=runtime.now())
        return
    if not (moved and queue_is_ours and is_too_much(seen, tries=shard.tries)):
        return
    if shard.requests == 1:
        told = f"{message} {one_line_too_large(shard)}"
        records.ledger.failed(shard.shard_id, message=told, now=runtime.now())
        return
    halves = split(shard, folder=records.store.shards_dir(shard.job))
    records.ledger.replace(shard.shard_id, halves, message=message, now=runtime.now())


def _why(seen: Observation) -> str:
    """What the provider said of what sends the batch again."""
    return next(one.message for one in seen.problems if one.remedy is not None)


def _busy_models(ours: Sequence[Shard], seen: Sequence[Observation]) -> set[str]:
    """Models for which something of ours waits or runs at the provider."""
    running = {one.batch_id for one in seen if one.status not in TERMINAL}
    return {one.model for one in ours if one.batch_id in running}


def _out_of_credit(observations: Sequence[Observation]) -> OutOfCredit | None:
    for seen in observations:
        if is_out_of_credit(seen):
            said = _why(seen)
            return OutOfCredit(
                f"Batch {seen.batch_id} was refused: {said} Nothing of it ran. Add credit or "
                "raise the limit, then run again; what is in flight goes on meanwhile."
            )
    return None
