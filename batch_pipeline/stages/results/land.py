"""Outcomes to results: one final row per request of each partition, typed and priced.

Partitions are landed together: setting up a query takes longer than the rows of a small one.
"""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import JsonValue

from batch_pipeline.model import FailureKind
from batch_pipeline.prices import sql as price_sql
from batch_pipeline.prices.find import Prices
from batch_pipeline.stages.again import goes_again
from batch_pipeline.stages.arrow import Numbers
from batch_pipeline.stages.results.bounded_tables import rows_within, write_groups
from batch_pipeline.stages.results.costs import Costs
from batch_pipeline.stages.results.land_block import (
    FILE_BITS,
    ROW_BITS,
    OutcomeFiles,
    Typing,
    landed_block,
)
from batch_pipeline.stages.results.oddities import Oddities
from batch_pipeline.stages.schemas import REPEATING, result_schema
from batch_pipeline.stages.sql import literal, outcome_rows
from batch_pipeline.whole_files import written_aside

BLOCK_ROWS = 1 << 14
"""Rows that are landed at once, at most: of one partition, or of many small ones."""
_PLACED_AT_ONCE = 1 << 19  # requests: more of them take as many passes, and no more memory


@dataclass(frozen=True, slots=True)
class Landing:
    """A partition to land: its request table, the outcomes of its shards, its results file."""

    requests: Path
    outcomes: Sequence[Path]
    into: Path


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a partition. With *unanswered* requests nothing was written."""

    requests: int
    succeeded: int
    failed: int
    unanswered: int
    retryable: int  # failed rows that the retry policy would send again
    by_kind: dict[str, int] = field(default_factory=dict)
    odd: Oddities = field(default_factory=Oddities)  # of the shards that carried its requests


@dataclass(frozen=True, slots=True)
class _Looked:
    """A partition as far as it is answered: `places` of its requests' outcomes, -1 for none."""

    part: Landing
    asked: pa.Schema
    places: Numbers
    retryable: int
    rejected: int

    @property
    def unanswered(self) -> int:
        """Requests that were to be sent and have no outcome."""
        return int((self.places < 0).sum()) - self.rejected


def land(  # noqa: PLR0913 - what results are made from, each named by its caller
    con: duckdb.DuckDBPyConnection,
    parts: Sequence[Landing],
    *,
    outcomes: Sequence[Path],
    key_columns: Sequence[str],
    schema: dict[str, JsonValue] | None,
    priced: Prices,
    retried_kinds: Collection[str],
    max_attempts: int,
    embeddings: bool = False,
) -> list[Landed]:
    """Write the RESULTS of each part: one row per request of its table, in its order.

    A request's row is its latest success, else its latest attempt, among outcomes of its own
    content. *outcomes* are those of all parts, oldest first; rows of other partitions are ignored.
    Holds 8 bytes a request, and blocks. What fails, fails for all parts; files of some may be
    written by then.

    With *embeddings*, the vectors of a partition are lists of one fixed size where they all have
    it, and plain lists where they differ (two models, a job that changed its dimensions): nobody's
    paid row is lost to a type.
    """
    files = OutcomeFiles(outcomes)
    files.check_current()
    looked = _looked(con, parts, outcomes, goes_again(retried_kinds, max_attempts))
    answered = [one for one in looked if not one.unanswered]
    typing = Typing.of(con, schema)

    def into(one: _Looked) -> pa.Schema:
        keys = [one.asked.field(name) for name in key_columns]
        return result_schema(keys, typing.arrow, _vectors(files, one) if embeddings else None)

    kinds = {one.part.into: Counter[str]() for one in answered}
    prices = price_sql.priced(con, priced, outcome_rows(outcomes))
    with prices, closing(Costs(con)) as costs:
        for written, some in groupby(answered, key=into):
            blocks = _blocks(list(some), files, key_columns)
            rows = (
                _landed_block(con, block, files, typing=typing, costs=costs, schema=written)
                for block in blocks
            )
            _write(_each(rows), written, kinds)
    waiting = [one for one in looked if one.unanswered]
    kinds |= {one.part.into: by_kind for one, by_kind in _so_far(waiting, files)}
    return [_counted(one, kinds[one.part.into], files) for one in looked]


def _looked(
    con: duckdb.DuckDBPyConnection,
    parts: Sequence[Landing],
    outcomes: Sequence[Path],
    again: str,
) -> list[_Looked]:
    footers = [pq.read_metadata(part.requests) for part in parts]
    edges = list(accumulate((footer.num_rows for footer in footers), initial=0))
    starts = pa.array(edges[:-1], pa.int64())
    names = pa.array([str(part.requests) for part in parts], pa.string())
    con.register("asked_files", pa.table({"name": names, "start": starts}))
    try:
        places, going = _places(con, parts, edges[-1], outcomes, again)
        rejected = dict(
            con.execute(
                f"SELECT filename, count(rejected) FROM {_parquet(parts)} GROUP BY ALL"
            ).fetchall()
        )
    finally:
        con.unregister("asked_files")
    return [
        _Looked(
            part,
            footer.schema.to_arrow_schema(),
            places[first:end],
            int(going[first:end].sum()),
            rejected.get(str(part.requests), 0),
        )
        for part, footer, (first, end) in zip(parts, footers, pairwise(edges), strict=True)
    ]


def _places(
    con: duckdb.DuckDBPyConnection,
    parts: Sequence[Landing],
    count: int,
    outcomes: Sequence[Path],
    again: str,
) -> tuple[Numbers, Numbers]:
    """Where the outcome of each of *count* requests is, in request order; -1 for none.

    Also which of them go *again*, an aggregate over the outcomes of one.

    The greatest number wins: success, then attempt, then file and row. Ids and hashes are
    compared by a 128-bit digest, so that a join of millions of rows stays small.
    """
    places, going = np.full(count, -1, np.int64), np.zeros(count, np.int8)
    if not outcomes:
        return places, going
    con.register("outcome_files", pa.table({"name": [str(path) for path in outcomes]}))
    passes = -(-count // _PLACED_AT_ONCE)
    try:
        for mine in (f"hash(custom_id) % {passes} = {number}" for number in range(passes)):
            found = con.sql(_places_sql(parts, outcomes, again, mine if passes > 1 else "true"))
            for best in found.to_arrow_reader(_PLACED_AT_ONCE):
                rows = best["ord"].to_numpy()
                places[rows] = best["place"].to_numpy() & ((1 << (FILE_BITS + ROW_BITS)) - 1)
                going[rows] = best["again"].to_numpy()
    finally:
        con.unregister("outcome_files")
    return places, going


def _places_sql(parts: Sequence[Landing], outcomes: Sequence[Path], again: str, mine: str) -> str:
    return f"""
        WITH asked AS (
            SELECT start + file_row_number AS ord,
                md5_number(custom_id || ' ' || content_hash) AS id
            FROM {_parquet(parts)} JOIN asked_files ON name = filename
            WHERE rejected IS NULL AND {mine}
        ), files AS (
            SELECT name, row_number() OVER () - 1 AS file FROM outcome_files
        ), answers AS (
            SELECT md5_number(custom_id || ' ' || content_hash) AS id,
                ((status = 'succeeded')::BIGINT << 62) | (least(attempt, 4095)::BIGINT << 50)
                | (file << {ROW_BITS}) | file_row_number AS place,
                attempt, status, failure, error_code
            FROM {outcome_rows(outcomes, placed=True)} JOIN files ON name = filename
            WHERE {mine}
        )
        SELECT ord, max(place) AS place, ({again})::TINYINT AS again
        FROM answers JOIN asked USING (id) GROUP BY ord
        """


@dataclass(frozen=True, slots=True)
class _Piece:
    """Neighbouring requests of a partition; `share` is how much of a block they fill."""

    part: Landing
    asked: pa.Table
    places: Numbers
    share: float


def _blocks(
    parts: Sequence[_Looked], files: OutcomeFiles, keys: Sequence[str]
) -> Iterator[list[_Piece]]:
    """The requests of the parts, as many at once as memory should hold."""
    block: list[_Piece] = []
    filled = 0.0
    for piece in _pieces(parts, files, keys):
        if block and filled + piece.share > 1:
            yield block
            block, filled = [], 0.0
        block.append(piece)
        filled += piece.share
    if block:
        yield block


def _pieces(parts: Sequence[_Looked], files: OutcomeFiles, keys: Sequence[str]) -> Iterator[_Piece]:
    """Each is a row group of its partition's results; one of no request is an empty piece."""
    columns = [*keys, "custom_id", "content_hash", "rejected"]
    for one in parts:
        most = _rows_at_once(files, one)
        start = 0
        # Buffering ahead would keep every byte that has been read until the last block.
        with pq.ParquetFile(one.part.requests, pre_buffer=False) as file:
            for batch in file.iter_batches(most, columns=columns):
                asked = pa.Table.from_batches([batch])
                places = one.places[start : start + asked.num_rows]
                yield _Piece(one.part, asked, places, asked.num_rows / most)
                start += asked.num_rows
            if not start:
                none = pa.schema([file.schema_arrow.field(name) for name in columns]).empty_table()
                yield _Piece(one.part, none, one.places, 0.0)


def _landed_block(
    con: duckdb.DuckDBPyConnection,
    block: Sequence[_Piece],
    files: OutcomeFiles,
    *,
    typing: Typing,
    costs: Costs,
    schema: pa.Schema,
) -> Iterator[tuple[Path, pa.Table]]:
    """The rows of each piece, with the file that they go to."""
    asked = pa.concat_tables([piece.asked for piece in block])
    found = files.fetch(np.concatenate([piece.places for piece in block]))
    rows = landed_block(con, asked, found, typing=typing, costs=costs, schema=schema)
    start = 0
    for piece in block:
        count = piece.asked.num_rows
        yield piece.part.into, rows.slice(start, count)
        start += count


def _each(blocks: Iterable[Iterator[tuple[Path, pa.Table]]]) -> Iterator[tuple[Path, pa.Table]]:
    for block in blocks:
        yield from block


def _write(
    rows: Iterator[tuple[Path, pa.Table]], schema: pa.Schema, kinds: dict[Path, Counter[str]]
) -> None:
    """Write each file, and count the failures in it by kind."""
    for path, pieces in groupby(rows, key=lambda piece: piece[0]):
        counted = _counting(kinds[path], (table for _, table in pieces if table.num_rows))
        with written_aside(path) as aside:
            write_groups(aside, schema, counted, repeating=REPEATING)


def _counting(kinds: Counter[str], tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        kinds.update(_by_kind(table["failure"]))
        yield table


def _rows_at_once(files: OutcomeFiles, one: _Looked) -> int:
    size, count = files.size(one.part.outcomes)
    return rows_within(size, rows=count, at_most=BLOCK_ROWS)


def _vectors(files: OutcomeFiles, one: _Looked) -> pa.DataType:
    """The type of the partition's embeddings, by their lengths."""
    rows = _rows_at_once(files, one)
    lengths: set[int] = set()
    for start in range(0, len(one.places), rows):
        vectors = files.fetch(one.places[start : start + rows], ["embedding"])["embedding"]
        lengths |= set(pc.unique(pc.list_value_length(vectors)).drop_null().to_pylist())
        if len(lengths) > 1:
            break
    return pa.list_(pa.float32(), *lengths) if len(lengths) == 1 else pa.list_(pa.float32())


def _so_far(
    waiting: Sequence[_Looked], files: OutcomeFiles
) -> Iterator[tuple[_Looked, Counter[str]]]:
    """The failures so far of partitions that cannot land yet."""
    if not waiting:
        return
    answered = [one.places[one.places >= 0] for one in waiting]
    failures = files.fetch(np.concatenate(answered), ["failure"])["failure"]
    start = 0
    for one, places in zip(waiting, answered, strict=True):
        by_kind = Counter(_by_kind(failures.slice(start, len(places))))
        if one.rejected:
            by_kind[FailureKind.REJECTED.value] += one.rejected
        yield one, by_kind
        start += len(places)


def _counted(one: _Looked, by_kind: Counter[str], files: OutcomeFiles) -> Landed:
    requests, failed = len(one.places), by_kind.total()
    return Landed(
        requests=requests,
        succeeded=requests - one.unanswered - failed,
        failed=failed,
        unanswered=one.unanswered,
        retryable=one.retryable,
        by_kind=dict(sorted(by_kind.items())),
        odd=files.odd(one.part.outcomes),
    )


def _by_kind(failures: pa.ChunkedArray) -> dict[str, int]:
    if failures.null_count == len(failures):
        return {}
    counts = pc.value_counts(failures.drop_null())
    return {pair["values"]: pair["counts"] for pair in counts.to_pylist()}


def _parquet(parts: Sequence[Landing]) -> str:
    """The tables' own columns and their rows' places; folders named a=b add nothing."""
    names = ", ".join(literal(str(part.requests)) for part in parts)
    places = "filename = true, file_row_number = true"
    return f"read_parquet([{names}], {places}, hive_partitioning = false)"
