"""From request tables to batches: choose what is not answered, cut it into shards, send them.

Law 2: the ledger says `submitting`, with an intent, before the call that costs money; whatever
follows a crash or an unclear answer begins by looking for that intent at the provider.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from batch_pipeline.errors import (
    Ambiguous,
    NotFound,
    OutOfCredit,
    ProviderError,
    Refused,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
    UsageError,
)
from batch_pipeline.model import IN_FLIGHT, Limits, Observation, Shard, ShardState
from batch_pipeline.pipeline.workplace import Workplace, is_dead
from batch_pipeline.policy.lifecycle import backoff
from batch_pipeline.stages.shards import Only, choose, cut, split

log = logging.getLogger("batch_pipeline")

_UNSENT = (ShardState.PLANNED, ShardState.SUBMITTING, ShardState.IN_DOUBT)
_PLANNING_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Submission:
    """What one run sent for a set of partitions; *problem* is what a person should hear."""

    sent: tuple[Shard, ...] = ()
    adopted: tuple[Shard, ...] = ()  # found at the provider after a crash or an unclear answer
    waiting: tuple[Shard, ...] = ()  # planned; the provider wants us to come back
    problem: ProviderError | None = None

    @property
    def requests(self) -> int:
        """Requests that are at the provider because of this run."""
        return sum(shard.requests for shard in (*self.sent, *self.adopted))


def submit(
    work: Workplace, partitions: Sequence[str], *, run_id: str | None, only: Only | None = None
) -> Submission:
    """Send whatever is not answered, not in flight and may be sent; twice is the same as once."""
    with work.lease(f"plan:{work.job.name}", seconds=_PLANNING_SECONDS):
        _plan(work, partitions, only)
    return _send(work, partitions, run_id)


def limits(work: Workplace) -> Limits:
    """The provider's limits, lowered by the job's own."""
    provider, asked = work.codec.limits(work.job.target.endpoint), work.job.shard
    return Limits(
        requests=min(provider.requests, asked.max_requests or provider.requests),
        bytes=min(provider.bytes, asked.max_bytes or provider.bytes),
    )


def _plan(work: Workplace, partitions: Sequence[str], only: Only | None) -> None:
    job, store, ledger = work.job, work.store, work.ledger
    tables = [_table(work, partition) for partition in partitions]
    held = ledger.shards(job.name, partitions=partitions, states=IN_FLIGHT)
    done = ledger.shards(job.name, partitions=partitions, states=[ShardState.COLLECTED])
    with work.duckdb() as con:
        pending = choose(
            con,
            tables=tables,
            held=[store.shard_requests(job.name, shard.shard_id) for shard in held],
            outcomes=[store.outcomes_file(job.name, shard.shard_id) for shard in done],
            retried_kinds=[kind.value for kind in job.retry.kinds],
            max_attempts=job.retry.max_attempts,
            only=only,
        )
        target = job.target
        shards = cut(
            pending,
            limits=limits(work),
            job=job.name,
            provider=target.provider,
            model=target.model,
            endpoint=target.endpoint,
            into=store.shards_dir(job.name),
        )
    ledger.plan(shards, now=work.now())


def _table(work: Workplace, partition: str) -> Path:
    table = work.store.requests_table(work.job.name, partition)
    if not table.exists():
        raise UsageError(
            f"{work.job.name}: partition {partition!r} has no request table yet. "
            "Materialize `requests` first; `batches` sends what it built."
        )
    return table


def _send(work: Workplace, partitions: Sequence[str], run_id: str | None) -> Submission:
    shards = work.ledger.shards(work.job.name, partitions=partitions, states=_UNSENT)
    queue = [shard for shard in shards if _is_due(work, shard)]
    done = Submission(waiting=tuple(shard for shard in shards if shard not in queue))
    while queue:
        shard = queue.pop(0)
        try:
            done = _with(done, *_send_one(work, shard, run_id))
        except TooLarge as error:
            queue = [*_halves(work, shard, error), *queue]
        except Refused as error:
            _stop(work, shard, error)
            done = replace(done, problem=error)
        except ProviderError as error:  # the next shard would hear the same
            return replace(done, waiting=(*done.waiting, shard, *queue), problem=error)
    return done


def _is_due(work: Workplace, shard: Shard) -> bool:
    if shard.state is ShardState.SUBMITTING and shard.claimed_by and is_dead(shard.claimed_by):
        work.ledger.expire(shard.shard_id, owner=shard.claimed_by, now=work.now())
        return True
    return shard.not_before is None or shard.not_before <= work.now()


def _with(done: Submission, how: str, shard: Shard) -> Submission:
    match how:
        case "sent":
            return replace(done, sent=(*done.sent, shard))
        case "adopted":
            return replace(done, adopted=(*done.adopted, shard))
        case _:
            return replace(done, waiting=(*done.waiting, shard))


def _send_one(work: Workplace, shard: Shard, run_id: str | None) -> tuple[str, Shard]:
    ledger, client = work.ledger, work.client
    intent = uuid4().hex
    claimed = ledger.claim(
        shard.shard_id,
        owner=work.owner,
        intent=intent,
        now=work.now(),
        lease=work.settings.claim_seconds,
    )
    if claimed is None:  # another run was faster
        return "waiting", shard
    if claimed.intent != intent:  # begun before: the provider may have it
        found = client.find(claimed, since=_begun(claimed))
        if found is not None:
            return "adopted", _submitted(work, claimed, found, run_id)
        if not _settled(work, shard):
            return "waiting", _in_doubt(work, claimed, "a crash or an unclear answer left it open")
    try:
        observation = _create(work, claimed)
        if observation is None:  # the upload outlasted our claim, and somebody took over
            return "waiting", claimed
    except Ambiguous as error:
        found = _look(work, claimed)
        if found is not None:
            return "adopted", _submitted(work, claimed, found, run_id)
        return "waiting", _in_doubt(work, claimed, str(error))
    except ProviderError as error:
        if not isinstance(error, Refused):
            _requeue(work, claimed, error)
        raise
    return "sent", _submitted(work, claimed, observation, run_id)


def _create(work: Workplace, shard: Shard) -> Observation | None:
    """Upload and create; None when the claim was lost before the call that costs."""
    try:
        return _upload_and_create(work, shard)
    except NotFound:  # an upload that was not kept: the bytes are ours to send again
        return _upload_and_create(work, shard)


def _upload_and_create(work: Workplace, shard: Shard) -> Observation | None:
    lines = work.store.shard_lines(shard.job, shard.shard_id)
    file_id = work.client.upload(lines, name=f"{shard.job}-{shard.shard_id}.jsonl")
    lease = work.settings.claim_seconds
    ours = work.ledger.renew(shard.shard_id, owner=work.owner, now=work.now(), lease=lease)
    return work.client.create(shard, file_id=file_id) if ours else None


def _look(work: Workplace, shard: Shard) -> Observation | None:
    try:
        return work.client.find(shard, since=_begun(shard))
    except ProviderError:  # still unclear; the next look is due later
        return None


def _begun(shard: Shard) -> datetime:
    return shard.created_at or datetime.fromtimestamp(0, UTC)


def _settled(work: Workplace, shard: Shard) -> bool:
    """True when the first look is long enough ago for a second one to be believed."""
    if shard.state is ShardState.IN_DOUBT:
        return True  # it was looked for when it became so, and its next look is only now due
    claimed_at = shard.claimed_at
    settle = timedelta(seconds=work.settings.settle_seconds)
    return claimed_at is not None and work.now() - claimed_at >= settle


def _submitted(
    work: Workplace, shard: Shard, observation: Observation, run_id: str | None
) -> Shard:
    log.info(
        "batch submitted",
        extra={"shard": shard.shard_id, "batch": observation.batch_id, "job": shard.job},
    )
    is_the_one = work.ledger.submitted(
        shard.shard_id,
        observation=observation,
        account=work.client.account,
        run_id=run_id,
        now=work.now(),
    )
    if not is_the_one:  # the shard went on with another batch: stop paying for this one
        log.warning(
            "duplicate batch cancelled",
            extra={"shard": shard.shard_id, "batch": observation.batch_id, "job": shard.job},
        )
        work.client.cancel(observation.batch_id)
    return work.ledger.shard(shard.shard_id)


def _in_doubt(work: Workplace, shard: Shard, message: str) -> Shard:
    later = work.now() + timedelta(seconds=work.settings.settle_seconds)
    work.ledger.in_doubt(
        shard.shard_id, message=message, next_look=later, now=work.now(), owner=work.owner
    )
    return work.ledger.shard(shard.shard_id)


def _requeue(work: Workplace, shard: Shard, error: ProviderError) -> None:
    """Back to planned: nothing was created. What waiting cannot mend is due again at once."""
    waits = isinstance(error, Throttled | Unavailable)
    hint = error.retry_after if isinstance(error, Throttled) else None
    delay = backoff(shard.tries, retry_after=hint) if waits else timedelta(0)
    work.ledger.requeue(
        shard.shard_id,
        message=str(error),
        not_before=work.now() + delay,
        now=work.now(),
        count_try=not isinstance(error, Unauthorized | OutOfCredit),
        owner=work.owner,
    )


def _halves(work: Workplace, shard: Shard, error: TooLarge) -> list[Shard]:
    if shard.requests == 1:
        _stop(work, shard, error)
        return []
    halves = split(shard, folder=work.store.shards_dir(shard.job))
    work.ledger.replace(
        shard.shard_id, halves, message=str(error), now=work.now(), owner=work.owner
    )
    return [work.ledger.shard(half.shard_id) for half in halves]


def _stop(work: Workplace, shard: Shard, error: ProviderError) -> None:
    work.ledger.failed(shard.shard_id, message=str(error), now=work.now(), owner=work.owner)


def cancel(work: Workplace, partitions: Sequence[str] | None) -> list[Shard]:
    """Withdraw what was not sent, and ask the provider to stop what was; returns those shards."""
    name, ledger = work.job.name, work.ledger
    planned = ledger.shards(name, partitions=partitions, states=[ShardState.PLANNED])
    ledger.withdraw([shard.shard_id for shard in planned], now=work.now())
    held = partitions or [counts.partition for counts in ledger.partitions(name)]
    ledger.hold(name, held, reason="cancelled by a person", now=work.now())
    running = ledger.shards(name, partitions=partitions, states=[ShardState.SUBMITTED])
    for shard in running:
        if shard.batch_id is not None:
            seen = work.client.cancel(shard.batch_id)
            ledger.observe(work.client.account, [seen], now=work.now(), ended=[])
    return [ledger.shard(shard.shard_id) for shard in (*planned, *running)]


def let_go(work: Workplace, partitions: Sequence[str], *, lost: bool) -> None:
    """A person asks again: lift holds, free shards that never reached the provider.

    With *lost*, also give up batches that are gone there; their rows are paid again.
    """
    name, ledger = work.job.name, work.ledger
    ledger.hold(name, partitions, reason=None, now=work.now())
    failed = ledger.shards(name, partitions=partitions, states=[ShardState.FAILED])
    unsent = [shard.shard_id for shard in failed if shard.batch_id is None]
    ledger.release(*unsent, now=work.now())
    if lost:
        gone = [shard.shard_id for shard in failed if shard.batch_id is not None]
        ledger.withdraw(gone, now=work.now(), failed=True)
