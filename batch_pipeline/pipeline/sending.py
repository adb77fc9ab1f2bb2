"""From planned shards to batches: one create each, whatever crashes or stays unclear in between.

The ledger says `submitting`, with an intent, before the call that costs money; what follows a crash
or an unclear answer looks for that intent at the provider first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

from batch_pipeline.errors import (
    Ambiguous,
    BadLines,
    NotFound,
    OtherApi,
    OutOfCredit,
    ProviderError,
    Refused,
    StoreError,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
    Undecided,
)
from batch_pipeline.model import (
    UNSENT,
    Fault,
    Observation,
    Problem,
    RemoteStatus,
    Shard,
    ShardState,
)
from batch_pipeline.pipeline import doubt, holds, missed, planning
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime, is_dead
from batch_pipeline.policy.absence import is_due
from batch_pipeline.policy.lifecycle import backoff
from batch_pipeline.stages.shards.cut import Only, split

log = logging.getLogger("batch_pipeline")

_NAMELESS = (
    "It may have been sent: batches carry no name here, and a listing may hide a new one for a "
    "while (BATCH_PIPELINE_LISTING_LAG_SECONDS). It is sent only when none can be hidden any more."
)


@dataclass(frozen=True, slots=True)
class Submission:
    """What one run sent for a set of partitions; *problem* is what a person should hear."""

    sent: tuple[Shard, ...] = ()
    adopted: tuple[Shard, ...] = ()  # found at the provider after a crash or an unclear answer
    waiting: tuple[Shard, ...] = ()  # planned or in doubt: due later, or another run's to send
    problem: ProviderError | None = None

    @property
    def requests(self) -> int:
        """Requests that are at the provider because of this run."""
        return sum(shard.requests for shard in (*self.sent, *self.adopted))

    def and_then(self, later: Submission) -> Submission:
        """Both as one: what waited and was sent then does not wait."""
        done = {shard.shard_id for shard in (*self.sent, *self.adopted, *later.sent)}
        done |= {shard.shard_id for shard in later.adopted}
        waiting = {shard.shard_id: shard for shard in (*self.waiting, *later.waiting)}
        return Submission(
            sent=(*self.sent, *later.sent),
            adopted=(*self.adopted, *later.adopted),
            waiting=tuple(shard for name, shard in waiting.items() if name not in done),
            problem=self.problem or later.problem,
        )


def submit(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    *,
    run_id: str | None,
    only: Only | None = None,
    by_hand: bool = False,
) -> Submission:
    """Send whatever is not answered, not in flight and may be sent; twice is the same as once.

    Unless somebody asks for it *by_hand*, what a hold stops is left alone.
    """
    if not by_hand:
        partitions = holds.free(records, runtime, partitions)
    planning.plan(records, clients, runtime, partitions, only=only, by_hand=by_hand)
    return _send(records, clients, runtime, partitions, run_id)


def _send(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    run_id: str | None,
) -> Submission:
    shards = records.ledger.shards(records.job.name, partitions=partitions, states=UNSENT)
    queue = [shard for shard in shards if _is_due(records, runtime, shard)]
    due = {shard.shard_id for shard in queue}
    done = Submission(waiting=tuple(shard for shard in shards if shard.shard_id not in due))
    while queue:
        shard = queue.pop(0)
        try:
            done = _with(done, *_send_one(records, clients, runtime, shard, run_id))
        except TooLarge as error:
            queue = [*_halves(records, runtime, shard, error), *queue]
        except Refused as error:
            _stop(records, runtime, shard, str(error))
            done = replace(done, problem=error)
        except ProviderError as error:  # the next shard would hear the same
            return replace(done, waiting=(*done.waiting, shard, *queue), problem=error)
    return done


def _is_due(records: Records, runtime: Runtime, shard: Shard) -> bool:
    if shard.state is ShardState.SUBMITTING and shard.claimed_by and is_dead(shard.claimed_by):
        records.ledger.expire(shard.shard_id, owner=shard.claimed_by, now=runtime.now())
        return True
    return shard.not_before is None or is_due(shard.not_before, now=runtime.now())


def _with(done: Submission, how: str, shard: Shard) -> Submission:
    match how:
        case "sent":
            return replace(done, sent=(*done.sent, shard))
        case "adopted":
            return replace(done, adopted=(*done.adopted, shard))
        case _:
            return replace(done, waiting=(*done.waiting, shard))


def _send_one(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, run_id: str | None
) -> tuple[str, Shard]:
    # the client first: without a key nothing is claimed
    client, intent = clients.client(shard.provider), uuid4().hex
    _check_whole(records, shard)
    lease = runtime.settings.claim_seconds
    claimed = records.ledger.claim(
        shard.shard_id, owner=runtime.owner, intent=intent, now=runtime.now(), lease=lease
    )
    if claimed is None:  # another run was faster
        return "waiting", shard
    if claimed.intent != intent:  # begun before: the provider may have it
        begun = _begun_before(records, clients, runtime, shard, claimed, run_id)
        if begun is not None:
            return begun
    try:
        observation = _create(records, clients, runtime, claimed)
    except Ambiguous as error:
        return _after_ambiguous(records, clients, runtime, claimed, error, run_id)
    except BadLines as error:
        return "sent", _refused_at_upload(records, clients, runtime, claimed, error, run_id)
    except ProviderError as error:
        if not isinstance(error, Refused):
            _requeue(records, runtime, claimed, error)
        raise
    if observation is None:  # the upload outlasted our claim, and somebody took over
        return "waiting", claimed
    log.info("batch submitted", extra=_ids(claimed, observation, account=client.account))
    return "sent", _submitted(records, clients, runtime, claimed, observation, run_id)


def _begun_before(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    shard: Shard,
    claimed: Shard,
    run_id: str | None,
) -> tuple[str, Shard] | None:
    """What became of a sending that an earlier run began; None: surely nothing."""
    since = shard.doubted_at if shard.state is ShardState.IN_DOUBT else None
    try:
        found = doubt.found(records, clients, runtime, claimed, since=since)
    except Undecided:  # its own answers will tell
        return "waiting", records.ledger.shard(claimed.shard_id)
    if found is not None:
        return "adopted", _submitted(records, clients, runtime, claimed, found, run_id)
    if shard.state is not ShardState.IN_DOUBT:  # a listing may lag: this look is too early
        return "waiting", doubt.in_doubt(
            records, clients, runtime, claimed, "a crash left it open whether it was sent"
        )
    if doubt.may_hide(clients, runtime, claimed, since):
        return "waiting", doubt.in_doubt(records, clients, runtime, claimed, _NAMELESS, since=since)
    return None


def _check_whole(records: Records, shard: Shard) -> None:
    """Lines are not synced to disk when they are cut: a power cut may have left a part of them."""
    lines = records.store.shard_lines(shard.job, shard.shard_id)
    size = lines.stat().st_size if lines.exists() else 0
    if size != shard.bytes:
        raise StoreError(
            f"{lines}: {size:,} bytes of {shard.bytes:,} are there. Nothing of it was sent. "
            "`batch-pipeline cancel` frees its rows, and `run` cuts them again."
        )


def _after_ambiguous(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    shard: Shard,
    error: Ambiguous,
    run_id: str | None,
) -> tuple[str, Shard]:
    try:
        found = doubt.look(records, clients, runtime, shard)
    except ProviderError:  # still unclear; the next look is due later
        found = None
    if found is not None:
        return "adopted", _submitted(records, clients, runtime, shard, found, run_id)
    return "waiting", doubt.in_doubt(records, clients, runtime, shard, str(error))


def _refused_at_upload(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    shard: Shard,
    error: BadLines,
    run_id: str | None,
) -> Shard:
    """The provider read the lines and took none: those it named are at fault, the others go again.

    The refusal is kept as a batch that failed, so that what follows is what follows one.
    """
    log.warning("upload refused", extra={"shard": shard.shard_id, "lines": len(error.lines)})
    refusal = Observation(
        batch_id=f"refused_upload_{shard.intent}",
        made=False,
        status=RemoteStatus.FAILED,
        raw_status="upload refused",
        total=shard.requests,
        completed=0,
        failed=0,
        created_at=runtime.now(),
        ended_at=runtime.now(),
        problems=tuple(
            Problem("invalid_line", message, line=line, fault=Fault.REQUEST)
            for line, message in sorted(error.lines.items())
        ),
    )
    _submitted(records, clients, runtime, shard, refusal, run_id)
    account = clients.client(shard.provider).account
    records.ledger.observe(account, [refusal], now=runtime.now(), ended=[refusal.batch_id])
    return records.ledger.shard(shard.shard_id)


def _create(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard
) -> Observation | None:
    """Upload and create; None when the claim was lost before the call that costs."""
    try:
        return _upload_and_create(records, clients, runtime, shard)
    except NotFound:  # an upload that was not kept: the bytes are ours to send again
        return _upload_and_create(records, clients, runtime, shard)


def _upload_and_create(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard
) -> Observation | None:
    lines = records.store.shard_lines(shard.job, shard.shard_id)
    client = clients.client(shard.provider)
    file_id = client.upload(lines, name=f"{shard.job}-{shard.shard_id}.jsonl")
    lease = runtime.settings.claim_seconds
    ours = records.ledger.renew(shard.shard_id, owner=runtime.owner, now=runtime.now(), lease=lease)
    return client.create(shard, lines, file_id=file_id) if ours else None


def _submitted(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    shard: Shard,
    observation: Observation,
    run_id: str | None,
) -> Shard:
    client = clients.client(shard.provider)
    is_the_one = records.ledger.submitted(
        shard.shard_id,
        observation=observation,
        account=client.account,
        run_id=run_id,
        now=runtime.now(),
        simulated=client.clock.simulated,
    )
    if not is_the_one:
        missed.drop(records, clients, runtime, shard, observation)
    return records.ledger.shard(shard.shard_id)


def _ids(shard: Shard, observation: Observation, **more: str) -> dict[str, str]:
    ids = {"job": shard.job, "shard": shard.shard_id, "batch": observation.batch_id}
    return {**ids, **more}


def _requeue(records: Records, runtime: Runtime, shard: Shard, error: ProviderError) -> None:
    """Back to planned: nothing was created. What waiting cannot mend is due again at once."""
    waits = isinstance(error, Throttled | Unavailable)
    hint = error.retry_after if isinstance(error, Throttled) else None
    delay = backoff(shard.tries, retry_after=hint) if waits else timedelta(0)
    records.ledger.requeue(
        shard.shard_id,
        message=str(error),
        not_before=runtime.now() + delay,
        now=runtime.now(),
        count_try=not isinstance(error, Unauthorized | OutOfCredit | OtherApi),
        owner=runtime.owner,
    )


def _halves(records: Records, runtime: Runtime, shard: Shard, error: TooLarge) -> list[Shard]:
    if shard.requests == 1:
        _stop(records, runtime, shard, f"{error} {one_line_too_large(shard)}")
        return []
    halves = split(shard, folder=records.store.shards_dir(shard.job))
    records.ledger.replace(
        shard.shard_id, halves, message=str(error), now=runtime.now(), owner=runtime.owner
    )
    return [records.ledger.shard(half.shard_id) for half in halves]


def one_line_too_large(shard: Shard) -> str:
    """What a person can do about a shard that is too much and cannot be cut."""
    return (
        f"It holds a single line of {shard.bytes:,} bytes: set shard.max_bytes below that, and "
        "the row is left out as rejected when the requests are built again."
    )


def _stop(records: Records, runtime: Runtime, shard: Shard, message: str) -> None:
    records.ledger.failed(shard.shard_id, message=message, now=runtime.now(), owner=runtime.owner)
