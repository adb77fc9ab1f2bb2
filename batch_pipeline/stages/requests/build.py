"""From partitions' rows to their request lines and request tables, column by column."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.arrow import detached, row_groups, text_buffer
from batch_pipeline.stages.requests.keys import check_names, missing, repeated, unmatched
from batch_pipeline.stages.requests.line_files import LINES, lines_written
from batch_pipeline.stages.requests.line_query import KEY_HASH, TARGET, LineQuery, line_query
from batch_pipeline.stages.requests.line_writer import TargetLines, numbers, placed
from batch_pipeline.stages.requests.reading import Selection
from batch_pipeline.stages.requests.targets import CompiledTarget, built_targets, described
from batch_pipeline.whole_files import written_aside

__all__ = ["Building", "CompiledTarget", "RequestsBuilt", "build_requests", "built_targets"]

TABLE = "requests.parquet"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class RequestsBuilt:
    """What a partition came to. `requests` counts every row, `rejected` those without a line.

    `lines` is the first target's first file; `bytes` is the size of all of them. `digest` is of
    the request table's content: equal requests to equal targets, equal digest.
    """

    requests: int
    rejected: int
    bytes: int
    digest: str
    lines: Path
    table: Path
    by_target: dict[str, int] = field(default_factory=dict)  # rows to send


@dataclass(frozen=True, slots=True)
class Building:
    """A partition to build: its rows, and the folder that its lines and table go to."""

    selection: Selection
    into: Path


def build_requests(
    con: duckdb.DuckDBPyConnection,
    *,
    job: BatchJob,
    targets: Sequence[CompiledTarget],
    partitions: Mapping[str, Building],
) -> dict[str, RequestsBuilt]:
    """Write lines and TABLE of each partition, by name: every row once, in order.

    A row goes to the first target whose `when` is true for it. One that cannot be a request (a line
    over the byte limit, a value that a cell cannot take) is a rejected row of the table and has
    no line, and then no offset; without a line to measure it has neither bytes nor content hash.
    Memory is bounded by a batch of rows and not by a partition. Raises TemplateError, SpecError
    (a key column's name is taken, a rule that cannot be used) and DatasetError (a null or repeated
    key, a row that no target takes, a file that cannot be read); then what is in the folders is of
    no use, and nobody says which partition it was.
    """
    check_names(job.dataset.key, job=job.name)
    selections = {name: one.selection for name, one in partitions.items()}
    query = line_query(con, job, targets, selections)
    first = f"{job.name}, partition {next(iter(partitions))!r}"
    built: dict[str, RequestsBuilt] = {}
    with closing(query.batches(con, first)) as batches:
        for number, some in groupby(batches, key=itemgetter(0)):
            name = query.partitions[number]
            one = _One(con, job, targets, query, number)
            built[name] = one.built((batch for _, batch in some), partitions[name].into)
    return built


@dataclass(frozen=True, slots=True)
class _One:
    """One partition of those that a query yields."""

    con: duckdb.DuckDBPyConnection
    job: BatchJob
    targets: Sequence[CompiledTarget]
    query: LineQuery
    number: int

    @property
    def name(self) -> str:
        """The partition's."""
        return self.query.partitions[self.number]

    @property
    def where(self) -> str:
        """What errors say of it."""
        return f"{self.job.name}, partition {self.name!r}"

    def built(self, batches: Iterator[pa.RecordBatch], into: Path) -> RequestsBuilt:
        """Write the lines and the table into the folder."""
        table, tally = into / TABLE, Tally(described(self.targets))
        limits = [compiled.limits for compiled in self.targets]
        with written_aside(table) as t, lines_written(into, limits) as writers:
            written = [
                TargetLines(compiled, out)
                for compiled, out in zip(self.targets, writers, strict=True)
            ]
            self._write(batches, written, table=t, tally=tally)
            if tally.unmatched:
                raise unmatched(self.where, tally.unmatched, tally.unmatched_keys)
            self._check_unique(tally)
            table.unlink(missing_ok=True)  # new lines beside an old table would be sent as its own
        return RequestsBuilt(
            requests=tally.requests,
            rejected=tally.rejected,
            bytes=sum(each.bytes for each in written),
            digest=tally.digest(),
            lines=into / LINES,
            table=table,
            by_target={each.compiled.target.name: each.requests for each in written},
        )

    def _write(
        self,
        batches: Iterator[pa.RecordBatch],
        written: Sequence[TargetLines],
        *,
        table: Path,
        tally: Tally,
    ) -> None:
        keys = self.job.dataset.key
        first = next(batches)  # empty, for its schema
        schema = _schema(keys, first.schema, tally.targets)
        with row_groups(table, schema) as groups:
            for batch in batches:
                *given, key, custom_id = batch.columns[: len(keys) + 2]
                if key.null_count:
                    row = int(np.flatnonzero(key.is_null())[0]) + 1
                    raise missing(self.where, keys, tally.requests + row)
                if tally.add_unmatched(batch):
                    continue
                tally.key_hashes.append(batch[KEY_HASH].to_numpy().copy())
                made = placed(batch, written)
                said = [detached(column) for column in (*given, key, custom_id)]
                content_hash, *places = made.columns
                columns = [pa.repeat(self.name, batch.num_rows), *said, content_hash]
                columns += [_names(batch, written), *places]
                groups.add(pa.record_batch(columns, schema=schema))
                tally.add(batch, made)

    def _check_unique(self, tally: Tally) -> None:
        """Compare 64-bit hashes, 8 bytes a row; only equal ones are looked up by name."""
        if not tally.key_hashes:
            return
        hashes = np.concatenate(tally.key_hashes)
        tally.key_hashes.clear()
        hashes.sort()
        twice = [int(each) for each in hashes[1:][hashes[1:] == hashes[:-1]][:_SHOWN]]
        found = self.query.repeated(self.con, self.number, twice, self.where) if twice else []
        if found:  # else two keys share a hash, which is nobody's fault
            raise repeated(self.where, self.job.dataset.key, found[:_SHOWN])


def _schema(keys: Sequence[str], built: pa.Schema, targets: Mapping[bytes, bytes]) -> pa.Schema:
    given = [pa.field(name, built.field(place).type) for place, name in enumerate(keys)]
    named = ("key", "custom_id", "content_hash", "target")
    text = [pa.field(name, pa.string()) for name in named]
    sizes = [pa.field(name, pa.int64()) for name in ("offset", "bytes")]
    partition, rejected = pa.field("partition", pa.string()), pa.field("rejected", pa.string())
    return pa.schema([partition, *given, *text, *sizes, rejected], metadata=dict(targets))


def _names(batch: pa.RecordBatch, written: Sequence[TargetLines]) -> pa.Array:
    names = [each.compiled.target.name for each in written]
    if len(names) == 1:
        return pa.repeat(names[0], batch.num_rows)
    return pa.array(names, pa.string()).take(pa.array(numbers(batch)))


_DIGESTED = ("target", "custom_id", "content_hash", "rejected", "reasons")


@dataclass
class Tally:
    """Counts of a build; *targets* are in the digest too."""

    targets: Mapping[bytes, bytes]
    requests: int = 0
    rejected: int = 0
    unmatched: int = 0  # rows that no rule takes
    unmatched_keys: list[str] = field(default_factory=list)  # the first of them
    key_hashes: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = field(default_factory=list)
    # One running digest a column, so that it does not matter where a batch ends.
    digests: dict[str, hashlib._Hash] = field(
        default_factory=lambda: {name: hashlib.sha256() for name in _DIGESTED}
    )

    def add(self, batch: pa.RecordBatch, made: pa.RecordBatch) -> None:
        """Count rows as LineQuery yields them, and their PLACED."""
        rejected = made["rejected"]
        self.requests += batch.num_rows
        self.rejected += batch.num_rows - rejected.null_count
        texts = {"custom_id": batch["custom_id"], "content_hash": made["content_hash"]}
        for name, column in {**texts, "reasons": rejected}.items():
            bounds, data = text_buffer(column)
            self.digests[name].update(data[bounds[0] : bounds[-1]])
        valid = rejected.is_valid().to_numpy(zero_copy_only=False)
        self.digests["rejected"].update(valid.tobytes())
        self.digests["target"].update(numbers(batch).tobytes())

    def add_unmatched(self, batch: pa.RecordBatch) -> bool:
        """Count the rows that no rule takes; True when there are some."""
        if TARGET not in batch.schema.names or not batch[TARGET].null_count:
            return False
        lost = batch["key"].filter(batch[TARGET].is_null())
        self.requests += batch.num_rows
        self.unmatched += len(lost)
        room = _SHOWN - len(self.unmatched_keys)
        self.unmatched_keys += [str(key) for key in islice(lost.to_pylist(), room)]
        return True

    def digest(self) -> str:
        """The digest of every row so far and of where they go."""
        whole = hashlib.sha256(b"".join(d.digest() for d in self.digests.values()))
        for said in self.targets.values():
            whole.update(said)
        return whole.hexdigest()
