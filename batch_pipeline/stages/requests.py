"""From a partition's rows to its request lines and request table, column by column."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.aims import Aim, described, destinations
from batch_pipeline.stages.columns import detached, row_groups
from batch_pipeline.stages.keys import check_names, missing, repeated, unmatched
from batch_pipeline.stages.linefiles import LINES, lines_written
from batch_pipeline.stages.linequery import KEY_HASH, LineQuery, line_query
from batch_pipeline.stages.placing import TargetLines, numbers, placed
from batch_pipeline.stages.reading import Selection
from batch_pipeline.stages.tally import Tally
from batch_pipeline.wholefile import written_aside

__all__ = ["Aim", "RequestsBuilt", "build_requests", "destinations"]

TABLE = "requests.parquet"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RequestsBuilt:
    """What a partition came to. `requests` counts every row, `rejected` those without a line.

    `lines` is the first target's first file; `bytes` is the size of all of them. `digest` is of
    the request table's content: equal requests to equal destinations, equal digest.
    """

    requests: int
    rejected: int
    bytes: int
    digest: str
    lines: Path
    table: Path
    by_target: dict[str, int] = field(default_factory=dict)  # rows to send


def build_requests(  # noqa: PLR0913 - keyword-only: what a request is made of
    con: duckdb.DuckDBPyConnection,
    *,
    job: BatchJob,
    aims: Sequence[Aim],
    selection: Selection,
    partition: str,
    into: Path,
) -> RequestsBuilt:
    """Write lines and TABLE into the folder *into*: every row of the partition once, in order.

    A row goes to the first aim whose `when` is true for it. One that cannot be a request (a line
    over the byte limit, a value that a cell cannot take) is a rejected row of the table and has
    no line, and then no offset; without a line to measure it has neither bytes nor content hash.
    Memory is bounded by a batch of rows and not by the partition. Raises TemplateError, SpecError
    (a key column's name is taken, a rule that cannot be used) and DatasetError (a null or repeated
    key, a row that no aim takes, a file that cannot be read); then nothing is written.
    """
    keys, where = job.dataset.key, f"{job.name}, partition {partition!r}"
    check_names(keys, job=job.name)
    query = line_query(con, job, aims, selection, partition)
    table, tally = into / TABLE, Tally(described(aims))
    limits = [aim.limits for aim in aims]
    with written_aside(table) as t, lines_written(into, limits) as writers:
        targets = [TargetLines(aim, out) for aim, out in zip(aims, writers, strict=True)]
        with closing(query.batches(con, where)) as batches:
            _write(batches, keys, partition, targets, table=t, tally=tally, where=where)
        if tally.unmatched:
            raise unmatched(where, tally.unmatched, tally.unmatched_keys)
        _check_unique(con, query, keys, tally, where)
        table.unlink(missing_ok=True)  # new lines beside an old table would be sent under its names
    return RequestsBuilt(
        requests=tally.requests,
        rejected=tally.rejected,
        bytes=sum(each.bytes for each in targets),
        digest=tally.digest(),
        lines=into / LINES,
        table=table,
        by_target={each.aim.destination.name: each.requests for each in targets},
    )


def _write(  # noqa: PLR0913 - one loop over everything a build has open
    batches: Generator[pa.RecordBatch],
    keys: Sequence[str],
    partition: str,
    targets: Sequence[TargetLines],
    *,
    table: Path,
    tally: Tally,
    where: str,
) -> None:
    first = next(batches)  # empty, for its schema
    schema = _schema(keys, first.schema, tally.destinations)
    with row_groups(table, schema) as groups:
        for batch in batches:
            *given, key, custom_id = batch.columns[: len(keys) + 2]
            if key.null_count:
                row = int(np.flatnonzero(key.is_null())[0]) + 1
                raise missing(where, keys, tally.requests + row)
            if tally.add_unmatched(batch):
                continue
            tally.key_hashes.append(batch[KEY_HASH].to_numpy().copy())
            made = placed(batch, targets)
            said = [detached(column) for column in (*given, key, custom_id)]
            content_hash, *places = made.columns
            columns = [pa.repeat(partition, batch.num_rows), *said, content_hash]
            columns += [_names(batch, targets), *places]
            groups.add(pa.record_batch(columns, schema=schema))
            tally.add(batch, made)


def _schema(
    keys: Sequence[str], built: pa.Schema, destinations: Mapping[bytes, bytes]
) -> pa.Schema:
    given = [pa.field(name, built.field(place).type) for place, name in enumerate(keys)]
    named = ("key", "custom_id", "content_hash", "target")
    text = [pa.field(name, pa.string()) for name in named]
    sizes = [pa.field(name, pa.int64()) for name in ("offset", "bytes")]
    partition, rejected = pa.field("partition", pa.string()), pa.field("rejected", pa.string())
    return pa.schema([partition, *given, *text, *sizes, rejected], metadata=dict(destinations))


def _names(batch: pa.RecordBatch, targets: Sequence[TargetLines]) -> pa.Array:
    names = [each.aim.destination.name for each in targets]
    if len(names) == 1:
        return pa.repeat(names[0], batch.num_rows)
    return pa.array(names, pa.string()).take(pa.array(numbers(batch)))


def _check_unique(
    con: duckdb.DuckDBPyConnection,
    query: LineQuery,
    keys: Sequence[str],
    tally: Tally,
    where: str,
) -> None:
    """Compare 64-bit hashes, 8 bytes a row; only equal ones are looked up by name."""
    if not tally.key_hashes:
        return
    hashes = np.concatenate(tally.key_hashes)
    tally.key_hashes.clear()
    hashes.sort()
    twice = hashes[1:][hashes[1:] == hashes[:-1]][:_SHOWN]
    if not len(twice):
        return
    found = query.repeated(con, [int(each) for each in twice], where)[:_SHOWN]
    if found:  # else two keys share a hash, which is nobody's fault
        raise repeated(where, keys, found)
