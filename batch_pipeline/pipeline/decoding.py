"""From raw files to outcomes: one row per request of a shard, made again when they are gone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from batch_pipeline.errors import NotFound, StoreError
from batch_pipeline.model import Shard
from batch_pipeline.pipeline import fetching
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.fetching import Fetched
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.stages.results.outcomes import OutcomesDecoded, decode_shard

log = logging.getLogger("batch_pipeline")

COLLECT_SECONDS = 900.0
"""The lease of a step that makes a shard's outcomes or a partition's results."""


def outcomes(
    records: Records, clients: Clients, runtime: Runtime, shards: Sequence[Shard]
) -> list[Path]:
    """The outcomes of collected shards; those that are gone are made again, from raw answers.

    Raw answers that are gone too are fetched again. StoreError when the provider has none.
    """
    return list(outcomes_of(records, clients, runtime, [one.shard_id for one in shards]).values())


def outcomes_of(
    records: Records, clients: Clients, runtime: Runtime, shard_ids: Sequence[str]
) -> dict[str, Path]:
    """`outcomes`, for who knows no more of the shards than their ids."""
    job = records.job.name
    paths = {one: records.store.outcomes_file(job, one) for one in shard_ids}
    for one, path in paths.items():
        if not path.exists():
            with runtime.lease(f"collect:{one}", seconds=COLLECT_SECONDS):
                log.warning("outcomes are gone and made again", extra={"shard": one})
                shard = records.ledger.shard(one)
                found = _read_or_fetched(records, clients, runtime, shard, path)
                decode(records, clients, runtime, shard, found)
    return paths


def _read_or_fetched(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, lost: Path
) -> Fetched:
    try:
        return fetching.on_disk(records, shard)
    except StoreError:
        pass
    try:
        return fetching.fetch(records, clients, runtime, shard)
    except NotFound as error:
        raise StoreError(
            f"{lost} and the raw answers it was made from are gone from the store, and the "
            f"provider has them no more: {error} {shard.requests:,} answered requests are lost "
            "here. Bring outcomes/ or raw/ back from a backup; nothing was sent again."
        ) from None


def make_outcomes(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, found: Fetched
) -> OutcomesDecoded:
    """Decode the files and tell the shard's partitions, whose results are stale by that."""
    decoded = decode(records, clients, runtime, shard, found)
    records.ledger.cuts.read(
        shard,
        succeeded=decoded.succeeded,
        failed=decoded.failed,
        left=None if found.short is None else _what_is_left(found.short),
        now=runtime.now(),
    )
    return decoded


def _what_is_left(short: str) -> str:
    return (
        f"{short}. What came is landed, the other rows are missing. `run` fetches the file again, "
        "at no cost; `retry --kind missing` sends those rows again, at their full price."
    )


def decode(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard, fetched: Fetched
) -> OutcomesDecoded:
    """Outcomes from the files; rows that a short file lacks are `missing`, and say why."""
    with runtime.duckdb() as con:
        return decode_shard(
            con,
            shard=shard,
            requests=records.store.shard_requests(shard.job, shard.shard_id),
            files=fetched.files,
            decode_sql=clients.codec(shard.provider).decode_sql(shard.endpoint),
            schema=records.job.request.json_schema,
            observation=shard.remote,
            short=fetched.short,
            into=records.store.outcomes_file(shard.job, shard.shard_id),
        )
