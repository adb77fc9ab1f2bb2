"""What follows when a shard's batch, its answers or its end is missed, and when it is found."""

from __future__ import annotations

import logging
from datetime import timedelta

from batch_pipeline.errors import ProviderError
from batch_pipeline.model import TERMINAL, Missed, Observation, RemoteStatus, Shard
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.policy import absence
from batch_pipeline.policy.lifecycle import Verdict, cancel_pause, overdue

log = logging.getLogger("batch_pipeline")


def missed(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, what: Missed, said: str
) -> None:
    """Note one more look in vain; the shard waits for the next, or fails when it is believed."""
    again = absence.missed(shard, what, there=clients.there(shard.provider), now=runtime.now())
    log.warning(
        "missed at the provider",
        extra={"shard": shard.shard_id, "batch": shard.batch_id, "what": what, "n": again.looks},
    )
    records.ledger.absences.missed(
        shard.shard_id,
        what=what,
        since=again.since,
        looks=again.looks,
        look_at=again.look_at,
        message=again.told(said),
        now=runtime.now(),
        batch_id=shard.batch_id,
        believed=again.believed,
    )


def goes_on(
    records: Records, runtime: Runtime, shard: Shard, seen: Observation, said: Verdict
) -> bool:
    """Note that a batch was seen; False when that is not what was missed of it."""
    over = seen.status in TERMINAL
    match shard.missed:
        case None:
            return True
        case Missed.END if said is Verdict.STUCK:
            return not is_waited_for(runtime, shard)
        case Missed.ANSWERS if not over:
            return False
    log.info("found again", extra={"shard": shard.shard_id, "batch": shard.batch_id})
    answers = shard.missed is Missed.ANSWERS  # the batch is there: now for its file
    records.ledger.absences.found(
        shard.shard_id, whole=not answers, batch_id=shard.batch_id, now=runtime.now()
    )
    return True


def is_waited_for(runtime: Runtime, shard: Shard) -> bool:
    """True while it is too early for another look at what is missed."""
    return shard.missed is not None and not absence.is_due(shard.look_at, now=runtime.now())


def stop(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, seen: Observation
) -> str | None:
    """Ask the provider to stop a batch that outlived its window; what came of it, for `status`.

    None while it is too early to ask once more.
    """
    there = clients.there(shard.provider)
    if not _may_ask(records, runtime, seen, overdue(seen, now=there)):
        return None
    log.warning("batch outlived its window", extra={"batch": seen.batch_id})
    closes = "" if seen.expires_at is None else f" at {seen.expires_at:%Y-%m-%d %H:%M} UTC"
    try:
        said = f"answered {clients.client(shard.provider).cancel(seen.batch_id).raw_status!r}"
    except ProviderError as error:
        said = f"was refused: {error}"
    return (
        f"The batch's window closed{closes} and it is {seen.raw_status!r}. It was asked to stop, "
        f"which {said} (at {there:%Y-%m-%d %H:%M} UTC)."
    )


def stuck(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, seen: Observation
) -> None:
    """A batch is far over its window: ask it to stop once more, then tell a person."""
    said = None if shard.missed is Missed.END else stop(records, clients, runtime, shard, seen)
    missed(records, clients, runtime, shard, Missed.END, said or f"It is {seen.raw_status!r}.")


def note(records: Records, runtime: Runtime, shard: Shard, said: str) -> None:
    """Say in `status` what is the matter with a batch that is waited for."""
    batch_id = shard.batch_id
    records.ledger.absences.note(shard.shard_id, message=said, now=runtime.now(), batch_id=batch_id)


def drop(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, seen: Observation
) -> None:
    """The shard goes by another batch: stop paying for this one. It is in the ledger already."""
    over = seen.status in TERMINAL or seen.status is RemoteStatus.ENDING
    if over or not _may_ask(
        records, runtime, seen, clients.there(shard.provider) - seen.created_at
    ):
        return
    log.warning(
        "duplicate batch cancelled",
        extra={"job": shard.job, "shard": shard.shard_id, "batch": seen.batch_id},
    )
    try:
        clients.client(shard.provider).cancel(seen.batch_id)
    except ProviderError as error:  # asked again later; it must not keep others from being seen
        log.warning("a duplicate batch could not be cancelled: %s", error)


def _may_ask(records: Records, runtime: Runtime, seen: Observation, late: timedelta) -> bool:
    """Each time later than the last."""
    every = cancel_pause(late).total_seconds()
    return records.ledger.absences.pace(f"stop:{seen.batch_id}", now=runtime.now(), every=every)
