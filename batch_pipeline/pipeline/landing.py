"""From outcomes to results: one row per request of a partition, small partitions together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from batch_pipeline.errors import StoreError, UsageError
from batch_pipeline.model import PartitionCounts, ShardState
from batch_pipeline.pipeline import decoding
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.decoding import COLLECT_SECONDS
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.standing import is_gone
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.pipeline.together import within
from batch_pipeline.stages.results.land import BLOCK_ROWS, Landed, Landing, land

log = logging.getLogger("batch_pipeline")


def land_again(records: Records, clients: Clients, runtime: Runtime) -> None:
    """Make the results again that are gone from the store, whichever partitions they are of."""
    known = records.ledger.partitions(records.job.name)
    gone = [one.partition for one in known if is_gone(records, one)]
    if gone:
        log.warning("results are gone and made again", extra={"partitions": len(gone)})
        land_each(records, clients, runtime, gone)


def land_each(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> tuple[dict[str, Landed], list[StoreError]]:
    """Land each partition as far as it is answered; what could not be is the second part."""
    looked: dict[str, Landed] = {}
    stuck: list[StoreError] = []
    for some in _together(records, partitions):
        done, troubles = _landed_or_stuck(records, clients, runtime, some)
        looked |= done
        stuck += troubles
    return looked, stuck


def _together(records: Records, partitions: Sequence[str]) -> Iterator[list[PartitionCounts]]:
    """Neighbours of few rows together: a query, a lease and a transaction take their time."""
    known = {one.partition: one for one in records.ledger.partitions(records.job.name)}
    for name in partitions:
        if name not in known or not known[name].digest:
            raise UsageError(
                f"{records.job.name}: partition {name!r} was never built. `batch-pipeline run` "
                "does it; in Dagster, materialize `requests` first."
            )
    yield from within([known[name] for name in partitions], lambda one: one.requests, BLOCK_ROWS)


def _landed_or_stuck(
    records: Records, clients: Clients, runtime: Runtime, some: Sequence[PartitionCounts]
) -> tuple[dict[str, Landed], list[StoreError]]:
    """Land these together; where that fails, halves, until what fails stands alone."""
    try:
        with said(), runtime.lease(*map(_lease, some), seconds=COLLECT_SECONDS):
            return _landed(records, clients, runtime, [one.partition for one in some]), []
    except StoreError as error:
        if len(some) == 1:
            return {}, [StoreError(f"partition {some[0].partition}: {error}")]
    middle = len(some) // 2
    first, rest = (
        _landed_or_stuck(records, clients, runtime, half) for half in (some[:middle], some[middle:])
    )
    return first[0] | rest[0], [*first[1], *rest[1]]


def _lease(counts: PartitionCounts) -> str:
    """Of one partition: an older look must not replace a newer one's file."""
    named = f"{counts.job}\x1f{counts.partition}"
    return f"land:{sha256(named.encode()).hexdigest()[:32]}"


def _landed(
    records: Records, clients: Clients, runtime: Runtime, names: Sequence[str]
) -> dict[str, Landed]:
    job, ledger, store = records.job, records.ledger, records.store
    seen = ledger.partitions(job.name, names)  # before the outcomes are: what comes later is new
    carriers = ledger.carriers(job.name, names, states=[ShardState.COLLECTED])
    paths = decoding.outcomes_of(records, clients, runtime, list(carriers))
    parts = {
        name: Landing(
            requests=store.requests_table(job.name, name),
            outcomes=[paths[one] for one, carried in carriers.items() if name in carried],
            into=store.results_file(job.name, name),
        )
        for name in names
    }
    with runtime.duckdb() as con:
        landed = land(
            con,
            list(parts.values()),
            outcomes=list(paths.values()),
            key_columns=job.dataset.key,
            schema=job.request.json_schema,
            priced=records.prices(runtime.now()),
            retried_kinds=job.retry.kinds,
            max_attempts=job.retry.max_attempts,
            embeddings=job.numeric,
        )
    found = dict(zip(names, landed, strict=True))
    ledger.landed([_counted(one, found[one.partition]) for one in seen], now=runtime.now())
    return found


def _counted(seen: PartitionCounts, landed: Landed) -> PartitionCounts:
    return replace(
        seen,
        landed=seen.collected,
        succeeded=landed.succeeded,
        failed=landed.failed,
        retryable=landed.retryable,
        unanswered=landed.unanswered,
    )
