"""Which rows failed, of partitions or of a run, and what a retry would do with each and cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from batch_pipeline.model import IN_FLIGHT, Shard, ShardState
from batch_pipeline.pipeline import decoding, selecting, standing
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.stages.results.failed_rows import (
    FailedRows,
    Sources,
    listed,
    together,
    told,
    write,
)

SHOWN = 50
"""Rows that are shown; all of them are in the Parquet file."""


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed rows by partition, those that have any; and where all of them are, as Parquet."""

    partitions: Mapping[str, FailedRows] = field(default_factory=dict)
    whole: FailedRows = field(default_factory=FailedRows)
    files: Mapping[str, Path] = field(default_factory=dict)
    file: Path | None = None  # of a run: one for all of its partitions
    sent: int = 0  # of a run: the rows that it sent or collected


def of_partitions(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> Failures:
    """What stands failed in the partitions; a file of each that has any, none of the others."""
    job, store = records.job.name, records.store
    into = {name: store.failures_file(job, partition=name) for name in partitions}
    counts = records.ledger.partitions(job, partitions)
    failing = [one.partition for one in counts if one.failed or one.rejected]
    written: set[Path] = set()
    each: dict[str, FailedRows] = {}
    if failing:
        with _listed(records, clients, runtime, failing) as con:
            each = told(con, first=SHOWN)
            written = write(con, into.__getitem__) if records.writable else written
    if records.writable:
        for path in set(into.values()) - written:
            path.unlink(missing_ok=True)
    files = {name: path for name, path in into.items() if path in written}
    return Failures(each, together(each, first=SHOWN), files)


def of_run(records: Records, clients: Clients, runtime: Runtime, run_id: str) -> Failures:
    """What failed of what a past run had sent or collected, and what became of it since.

    UsageError for a run that did neither.
    """
    ids = [shard.shard_id for shard in shards_of_run(records, run_id)]
    return of_shards(records, clients, runtime, ids, run_id)


def shards_of_run(records: Records, run_id: str) -> list[Shard]:
    """What a past run had sent, else what it had collected that failed; UsageError for neither."""
    selecting.check_run(records, run_id)
    every = records.ledger.shards(records.job.name)
    collected = set(selecting.collected_in(records, run_id))
    sent = [shard for shard in every if shard.run_id == run_id]
    return sent or [shard for shard in every if shard.shard_id in collected]


def of_shards(
    records: Records, clients: Clients, runtime: Runtime, shard_ids: Collection[str], run_id: str
) -> Failures:
    """What failed of what these shards carried; kept as the failed rows of the run."""
    wanted = set(shard_ids)
    every = records.ledger.shards(records.job.name, states=[ShardState.COLLECTED])
    done = [shard for shard in every if shard.shard_id in wanted]
    sent = sum(shard.requests for shard in done)
    if not done:
        return Failures(sent=sent)
    partitions = sorted({name for shard in done for name in shard.partitions})
    file = records.store.failures_file(records.job.name, run_id=run_id)
    ids = [shard.shard_id for shard in done]
    with _listed(records, clients, runtime, partitions, ids) as con:
        each = told(con, first=SHOWN)
        written = write(con, lambda _: file) if records.writable else set()
    return Failures(
        each, together(each, first=SHOWN), file=file if file in written else None, sent=sent
    )


@contextmanager
def _listed(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    shards: Sequence[str] | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the table of failed rows: of these partitions, or of these shards."""
    sources = _sources(records, clients, runtime, partitions)
    prices = records.prices(runtime.now())
    with runtime.duckdb() as con, listed(con, sources, prices, shards=shards):
        yield con


def _sources(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> Sources:
    job, store, ledger = records.job, records.store, records.ledger
    carriers = ledger.carriers(job.name, partitions, states=[ShardState.COLLECTED])
    held = ledger.shards(job.name, partitions=partitions, states=IN_FLIGHT)
    steps = standing.of(records, runtime, partitions)

    def tables(wanted: Callable[[Shard], bool]) -> list[Path]:
        return [store.shard_requests(job.name, one.shard_id) for one in held if wanted(one)]

    return Sources(
        tables=[store.requests_table(job.name, name) for name in partitions],
        outcomes=list(decoding.outcomes_of(records, clients, runtime, list(carriers)).values()),
        flying=tables(lambda shard: shard.state is not ShardState.FAILED),
        blocked=tables(lambda shard: shard.state is ShardState.FAILED),
        held=[name for name, (_, summary) in steps.items() if summary.holds],
        kinds=job.retry.kinds,
        max_attempts=job.retry.max_attempts,
    )
