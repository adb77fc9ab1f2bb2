"""Whether a create without a certain answer made a batch: looked for, and again later."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch_pipeline.errors import (
    ProviderError,
    Refused,
    Unavailable,
)
from batch_pipeline.model import Observation, Shard
from batch_pipeline.pipeline import stray_batches
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.policy.lifecycle import UNSURE
from batch_pipeline.providers.protocol import Known
from batch_pipeline.stages.shards.request_names import ids_of

_LONGEST = 300.0  # seconds between two looks for a batch that may not exist


def found(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, *, since: datetime | None
) -> Observation | None:
    """The shard's batch at the provider. While we cannot look, the shard stays in doubt."""
    try:
        return look(records, clients, runtime, shard)
    except ProviderError as error:
        in_doubt(records, clients, runtime, shard, str(error), since=since)
        if isinstance(error, Refused):  # it refused the look: that says nothing about the shard
            raise Unavailable(str(error)) from None
        raise


def look(records: Records, clients: Clients, runtime: Runtime, shard: Shard) -> Observation | None:
    """The shard's batch in the provider's listing, by name or by its first result."""
    client, since = clients.client(shard.provider), _begun(clients, runtime, shard)
    requests = records.store.shard_requests(shard.job, shard.shard_id)
    known = Known(records.ledger.known_batches(client.account), ids_of(requests).__contains__)
    return client.find(shard, since=since, known=known)


def in_doubt(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    shard: Shard,
    message: str,
    *,
    since: datetime | None = None,
) -> Shard:
    """Look again later; *since* is when the doubt began, by the provider's clock, if not now."""
    there = clients.there(shard.provider)
    waited = (there - (since or there)).total_seconds()
    pause = runtime.settings.settle_seconds
    if not clients.client(shard.provider).names_batches:  # this may take long: look ever less often
        pause = max(pause, min(waited, _LONGEST))
    records.ledger.in_doubt(
        shard.shard_id,
        message=message,
        next_look=runtime.now() + timedelta(seconds=pause),
        now=runtime.now(),
        owner=runtime.owner,
        since=since or there,
    )
    return records.ledger.shard(shard.shard_id)


def may_hide(clients: Clients, runtime: Runtime, shard: Shard, since: datetime | None) -> bool:
    """Whether a listing could still be hiding a batch that nothing but the listing would tell of.

    It is asked for by name where it has one; else waited for twice as long as a listing ever
    lagged, by the provider's clock.
    """
    if clients.client(shard.provider).names_batches:
        return False
    most = timedelta(seconds=2 * runtime.settings.listing_lag_seconds)
    return since is None or clients.there(shard.provider) - since < most


def _begun(clients: Clients, runtime: Runtime, shard: Shard) -> datetime:
    """When the create can have been at the earliest, by the provider's clock.

    Ours may have been ahead when the shard was planned. A batch with a name is looked for in a
    longer time than it takes: no other has that name.
    """
    client = clients.client(shard.provider)
    if not clients.tells_time(shard.provider):
        next(client.observe(since=runtime.now()), None)  # one page, for its date
    latest = clients.there(shard.provider) - timedelta(seconds=runtime.settings.claim_seconds)
    begun = min(filter(None, [stray_batches.begun(shard), latest]))
    return begun - UNSURE if client.names_batches else begun
