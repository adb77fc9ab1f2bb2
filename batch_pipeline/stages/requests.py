"""From a partition's rows to its request lines and request table, column by column."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from batch_pipeline.model import Envelope, Limits, Tree
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.columns import Numbers, detached, row_groups, text_buffer
from batch_pipeline.stages.hashing import content_hashes
from batch_pipeline.stages.keys import check_names, custom_id_sql, key_sql, missing, repeated
from batch_pipeline.stages.linefiles import LINES, LineWriter, lines_written
from batch_pipeline.stages.reading import Selection
from batch_pipeline.stages.rows import VIEW, Rows
from batch_pipeline.stages.template import compile_body
from batch_pipeline.stages.twins import identifier, literal
from batch_pipeline.wholefile import written_aside

TABLE = "requests.parquet"
_SHOWN = 5
_DIGESTED = ("custom_id", "content_hash", "rejected")


@dataclass(frozen=True, slots=True)
class RequestsBuilt:
    """What a partition came to. `requests` counts every row, `rejected` those without a line.

    `bytes` is the size of the lines file; `digest` is of the request table's content: equal
    requests, equal digest.
    """

    requests: int
    rejected: int
    bytes: int
    digest: str
    lines: Path
    table: Path


@dataclass
class _Tally:
    """What the batches so far came to."""

    requests: int = 0
    rejected: int = 0
    bytes: int = 0
    key_hashes: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = field(default_factory=list)
    # One running digest a column, so that it does not matter where a batch ends.
    digests: dict[str, hashlib._Hash] = field(
        default_factory=lambda: {name: hashlib.sha256() for name in _DIGESTED}
    )

    def digest(self) -> str:
        """The digest of every row so far."""
        return hashlib.sha256(b"".join(d.digest() for d in self.digests.values())).hexdigest()


def build_requests(  # noqa: PLR0913 - keyword-only: what a request is made of
    con: duckdb.DuckDBPyConnection,
    *,
    job: BatchJob,
    body: Mapping[str, Tree],
    envelope: Envelope,
    limits: Limits,
    selection: Selection,
    partition: str,
    into: Path,
) -> RequestsBuilt:
    """Write lines and TABLE into the folder *into*: every row of the partition once, in order.

    A line over the byte limit is a rejected row of the table and has no line. Memory is bounded
    by a batch of rows and not by the partition. Raises TemplateError, SpecError (a key column's
    name is taken) and DatasetError (a null or repeated key, a file that cannot be read); then
    nothing is written.
    """
    keys, where = job.dataset.key, f"{job.name}, partition {partition!r}"
    check_names(keys, job=job.name)
    skeleton = compile_body(body, selection.columns)
    key = key_sql(keys, selection.kinds)
    rows = Rows(selection, keys, skeleton.templates)
    query = _query(job, partition, envelope, key, skeleton.sql(rows.texts))
    lines, table, tally = into / LINES, into / TABLE, _Tally()
    with written_aside(table) as t, lines_written(into, limits) as out:
        with closing(rows.query(con, query, where=where)) as batches:
            _write(
                batches,
                keys,
                partition,
                envelope,
                limits,
                out=out,
                table=t,
                tally=tally,
                where=where,
            )
        _check_unique(con, rows, key, tally, where)
        table.unlink(missing_ok=True)  # new lines beside an old table would be sent under its names
    return RequestsBuilt(
        requests=tally.requests,
        rejected=tally.rejected,
        bytes=tally.bytes,
        digest=tally.digest(),
        lines=lines,
        table=table,
    )


def _query(job: BatchJob, partition: str, envelope: Envelope, key: str, body: str) -> str:
    """Key columns, then key, custom_id, line and a 64-bit hash of the key."""
    names = [f'"key {place}"' for place in range(len(job.dataset.key))]
    given = [
        f"{identifier(column)} AS {name}"
        for column, name in zip(job.dataset.key, names, strict=True)
    ]
    opaque = job.custom_id == "opaque"
    custom_id = custom_id_sql("key", job=job.name, partition=partition, opaque=opaque)
    line = (
        f"concat({literal(envelope.before_id)}, '\"', custom_id, '\"', "
        f"{literal(envelope.before_body)}, body, {literal(envelope.after_body)})"
    )
    return (
        f"SELECT {', '.join(names)}, key, custom_id, {line}, hash(key) "  # noqa: S608 - names and texts are quoted
        "FROM ("
        f"SELECT *, {custom_id} AS custom_id FROM ("
        f"SELECT {', '.join(given)}, {key} AS key, {body} AS body FROM {identifier(VIEW)}))"
    )


def _write(  # noqa: PLR0913 - one loop over everything a build has open
    batches: Generator[pa.RecordBatch],
    keys: Sequence[str],
    partition: str,
    envelope: Envelope,
    limits: Limits,
    *,
    out: LineWriter,
    table: Path,
    tally: _Tally,
    where: str,
) -> None:
    first = next(batches)  # empty, for its schema
    schema = _schema(keys, first.schema)
    with row_groups(table, schema) as groups:
        for batch in batches:
            *given, key, custom_id, texts, key_hash = batch.columns
            if key.null_count:
                row = int(np.flatnonzero(key.is_null())[0]) + 1
                raise missing(where, keys, tally.requests + row)
            tally.key_hashes.append(key_hash.to_numpy().copy())
            content_hash = content_hashes(texts, custom_id, envelope)
            places = _write_lines(texts, limits, out, tally)
            names = pa.repeat(partition, batch.num_rows)
            said = [detached(column) for column in (*given, key, custom_id, content_hash)]
            columns = [names, *said, *places]
            groups.add(pa.record_batch(columns, schema=schema))
            _count(tally, custom_id, content_hash, places[-1])


def _schema(keys: Sequence[str], built: pa.Schema) -> pa.Schema:
    given = [pa.field(name, built.field(place).type) for place, name in enumerate(keys)]
    text = [pa.field(name, pa.string()) for name in ("key", "custom_id", "content_hash")]
    sizes = [pa.field(name, pa.int64()) for name in ("offset", "bytes")]
    partition, rejected = pa.field("partition", pa.string()), pa.field("rejected", pa.string())
    return pa.schema([partition, *given, *text, *sizes, rejected])


def _write_lines(
    texts: pa.Array, limits: Limits, out: LineWriter, tally: _Tally
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Write the lines that fit, as slices of their buffer; returns offset, bytes, rejected."""
    bounds, data = text_buffer(texts)
    sizes = np.diff(bounds)
    fits = sizes <= limits.bytes
    # Neighbours that fit are one slice: all of them, nearly always.
    edges = np.flatnonzero(np.diff(fits, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2):
        out.write(data, bounds[first : last + 1])
    ends = tally.bytes + np.cumsum(np.where(fits, sizes, 0))
    offsets = pa.array(ends - sizes, mask=~fits)
    tally.bytes = int(ends[-1])
    return offsets, pa.array(sizes), _reasons(sizes, fits, limits)


def _reasons(
    sizes: Numbers, fits: np.ndarray[tuple[int], np.dtype[np.bool_]], limits: Limits
) -> pa.Array:
    if fits.all():
        return pa.nulls(len(sizes), pa.string())
    texts = [
        f"line of {size:,} bytes is over the limit of {limits.bytes:,}"
        for size in sizes[~fits].tolist()
    ]
    return pa.array(texts, pa.string()).take(pa.array(np.cumsum(~fits) - 1, mask=fits))


def _count(tally: _Tally, custom_id: pa.Array, content_hash: pa.Array, rejected: pa.Array) -> None:
    tally.requests += len(custom_id)
    tally.rejected += len(rejected) - rejected.null_count
    for name, texts in zip(_DIGESTED, (custom_id, content_hash), strict=False):
        bounds, data = text_buffer(texts)
        tally.digests[name].update(data[bounds[0] : bounds[-1]])
    valid = rejected.is_valid().to_numpy(zero_copy_only=False)
    tally.digests["rejected"].update(valid.tobytes())


def _check_unique(
    con: duckdb.DuckDBPyConnection, rows: Rows, key: str, tally: _Tally, where: str
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
    query = (
        f"SELECT key FROM (SELECT {key} AS key FROM {identifier(VIEW)}) "  # noqa: S608 - quoted
        f"WHERE hash(key) IN ({', '.join(map(str, twice))}) "
        f"GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT {_SHOWN}"
    )
    names = Rows(rows.selection, rows.keys, ()).query(con, query, where=where)
    found = [name for batch in names for name in batch.column(0).to_pylist()]
    if found:  # else two keys share a hash, which is nobody's fault
        raise repeated(where, rows.keys, found)
