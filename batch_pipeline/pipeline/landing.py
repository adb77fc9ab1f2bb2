"""From outcomes to results: one row per request of a partition."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha256

import duckdb

from batch_pipeline.errors import (
    StoreError,
    UsageError,
)
from batch_pipeline.model import (
    PartitionCounts,
)
from batch_pipeline.pipeline import decoding
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.decoding import COLLECT_SECONDS
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.stages.results.land import Landed, land

log = logging.getLogger("batch_pipeline")


def land_again(records: Records, clients: Clients, runtime: Runtime) -> None:
    """Make the results again that are gone from the store, whichever partitions they are of."""
    known = records.ledger.partitions(records.job.name)
    gone = [one.partition for one in known if is_gone(records, one)]
    if gone:
        log.warning("results are gone and made again", extra={"partitions": len(gone)})
        land_each(records, clients, runtime, gone)


def is_gone(records: Records, counts: PartitionCounts) -> bool:
    """True when results were written and are not in the store any more."""
    if counts.landed < 0 or counts.unanswered or not counts.digest:
        return False
    return not records.store.results_file(counts.job, counts.partition).exists()


def land_each(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> tuple[dict[str, Landed], list[StoreError]]:
    """Land each partition as far as it is answered; what could not be is the second part."""
    looked: dict[str, Landed] = {}
    stuck: list[StoreError] = []
    for partition in partitions:
        try:
            with said(), runtime.duckdb() as con:
                looked[partition] = _land(records, clients, runtime, con, partition)
        except StoreError as error:
            stuck.append(StoreError(f"partition {partition}: {error}"))
    return looked, stuck


def _land(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    con: duckdb.DuckDBPyConnection,
    partition: str,
) -> Landed:
    """Land one partition, alone: an older look must not replace a newer one's file."""
    digest = sha256(f"{records.job.name}\x1f{partition}".encode()).hexdigest()[:32]
    with runtime.lease(f"land:{digest}", seconds=COLLECT_SECONDS):
        return _land_alone(records, clients, runtime, con, partition)


def _land_alone(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    con: duckdb.DuckDBPyConnection,
    partition: str,
) -> Landed:
    job, ledger = records.job, records.ledger
    known = ledger.partition(job.name, partition)
    if not known.digest:
        raise UsageError(
            f"{job.name}: partition {partition!r} was never built. `batch-pipeline run` does it; "
            "in Dagster, materialize `requests` first."
        )
    landed = land(
        con,
        requests=records.store.requests_table(job.name, partition),
        outcomes=decoding.outcome_files(records, clients, runtime, partition),
        key_columns=job.dataset.key,
        schema=job.request.json_schema,
        priced=records.prices(runtime.now()),
        into=records.store.results_file(job.name, partition),
        retried_kinds=job.retry.kinds,
        max_attempts=job.retry.max_attempts,
        embeddings=job.numeric,
    )
    ledger.landed(
        job.name,
        partition,
        seen_collected=known.collected,
        digest=known.digest,
        succeeded=landed.succeeded,
        failed=landed.failed,
        retryable=landed.retryable,
        unanswered=landed.unanswered,
        now=runtime.now(),
    )
    return landed
