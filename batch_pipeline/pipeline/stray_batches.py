"""Batches beside the one that a shard goes by: found, written down, and stopped.

They come of a create whose answer was lost and of a listing that hid what it had made. One that
is found in time is the shard's own; any other is in its history, and so on the bill.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from batch_pipeline.model import TERMINAL, Observation, Shard, ShardState
from batch_pipeline.pipeline import missed
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.stages.shards.request_names import ids_of

log = logging.getLogger("batch_pipeline")

_MARGIN = timedelta(minutes=30)  # a create may take so long, and clocks differ a little
_READ_SECONDS = 3600.0  # until a stranger's first result is read again
_AT_WORK = frozenset({ShardState.SUBMITTING})  # whoever is sending it looks for it himself


def begun(shard: Shard) -> datetime | None:
    """The earliest time, by the provider's clock, at which an unknown batch of it was made."""
    if shard.doubted_at is None or shard.created_at is None:
        return shard.created_at
    return min(shard.created_at, shard.doubted_at) - _MARGIN


def settle(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    provider: str,
    listed: Mapping[str, Observation],
    wary: Sequence[Shard],
) -> None:
    """Adopt or stop what is listed and is no shard's own; *wary* are shards that were in doubt."""
    client = clients.client(provider)
    beside = records.ledger.absences.beside(client.account)
    again = [seen for name, seen in listed.items() if name in beside]
    if again:
        _follow(records, clients, runtime, client.account, again)
    known = records.ledger.absences.known(client.account, listed)
    unknown = [seen for name, seen in listed.items() if name not in known]
    for seen, shard in _whose(records, clients, runtime, provider, unknown, wary):
        if shard.state in _AT_WORK:
            continue
        own = records.ledger.submitted(
            shard.shard_id,
            observation=seen,
            account=client.account,
            run_id=shard.run_id,
            now=runtime.now(),
            simulated=client.clock.simulated,
        )
        extra = {"job": shard.job, "shard": shard.shard_id, "batch": seen.batch_id, "own": own}
        log.warning("a batch that nobody knew of", extra=extra)
        if not own:
            missed.drop(records, clients, runtime, shard, seen)


def _follow(
    records: Records, clients: Clients, runtime: Runtime, account: str, again: Sequence[Observation]
) -> None:
    """Batches that we know to be superseded: what became of them, and stop them if need be."""
    records.ledger.observe(account, again, now=runtime.now(), ended=[])
    shards = records.ledger.absences.owners(account, [seen.batch_id for seen in again])
    for seen in again:
        if (shard := shards.get(seen.batch_id)) is not None:
            missed.drop(records, clients, runtime, shard, seen)


def _whose(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    provider: str,
    unknown: Sequence[Observation],
    wary: Sequence[Shard],
) -> list[tuple[Observation, Shard]]:
    intents = {seen.metadata["intent"] for seen in unknown if seen.metadata.get("intent")}
    named = records.ledger.absences.intended(intents) if intents else {}
    by_name = [(seen, named.get(seen.metadata.get("intent", ""))) for seen in unknown]
    found = [(seen, shard) for seen, shard in by_name if shard is not None]
    if clients.client(provider).names_batches:
        return found
    nameless = [seen for seen in unknown if not seen.metadata.get("intent")]
    return [*found, *_by_first_result(records, clients, runtime, provider, nameless, wary)]


def _by_first_result(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    provider: str,
    nameless: Sequence[Observation],
    wary: Sequence[Shard],
) -> list[tuple[Observation, Shard]]:
    found: list[tuple[Observation, Shard]] = []
    for seen in nameless:
        maybe = [shard for shard in wary if _may_be_of(shard, seen)]
        if not maybe or seen.status not in TERMINAL or not _may_read(records, runtime, seen):
            continue
        first = clients.client(provider).first_id(seen)
        if first is None:
            continue
        ours = [shard for shard in maybe if first in _ids(records, shard)]
        found += [(seen, ours[-1])] if ours else []
    return found


def _may_be_of(shard: Shard, seen: Observation) -> bool:
    since = begun(shard)
    if shard.doubted_at is None or since is None or seen.total != shard.requests:
        return False
    return since <= seen.created_at <= shard.doubted_at + _MARGIN


def _may_read(records: Records, runtime: Runtime, seen: Observation) -> bool:
    """A stranger's first result says the same each time: read it now and then."""
    return records.ledger.absences.pace(
        f"read:{seen.batch_id}", now=runtime.now(), every=_READ_SECONDS
    )


def _ids(records: Records, shard: Shard) -> frozenset[str]:
    path = records.store.shard_requests(shard.job, shard.shard_id)
    return ids_of(path) if path.exists() else frozenset()
