"""Outcomes to results: one final row per request of a partition, typed and priced."""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from batch_pipeline.stages.results.land_block import (
    FILE_BITS,
    ROW_BITS,
    OutcomeFiles,
    Typing,
    landed_block,
)
from batch_pipeline.stages.results.oddities import Oddities, oddities
from batch_pipeline.stages.schemas import REPEATING, result_schema
from batch_pipeline.stages.sql import literal, outcome_rows
from batch_pipeline.whole_files import written_aside

_BLOCK_ROWS = 1 << 14


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


def land(  # noqa: PLR0913 - what results are made from, each named by its caller
    con: duckdb.DuckDBPyConnection,
    *,
    requests: Path,
    outcomes: Sequence[Path],
    key_columns: Sequence[str],
    schema: dict[str, JsonValue] | None,
    priced: Prices,
    into: Path,
    retried_kinds: Collection[str],
    max_attempts: int,
    embeddings: bool = False,
) -> Landed:
    """Write *into* (RESULTS): one row per request of the table *requests*, in its order.

    A request's row is its latest success, else its latest attempt, among outcomes of its own
    content. Outcomes of other partitions are ignored. Holds 8 bytes a request, and blocks.

    With *embeddings*, the vectors of a partition are lists of one fixed size where they all have
    it, and plain lists where they differ (two models, a job that changed its dimensions): nobody's
    paid row is lost to a type.
    """
    files = OutcomeFiles(outcomes)
    files.check_current()
    places, retryable = _places(con, requests, outcomes, goes_again(retried_kinds, max_attempts))
    rejected = _rejected(con, requests)
    if int((places < 0).sum()) > rejected:
        return _waiting(con, files, places, retryable, rejected=rejected)
    typing = Typing.of(con, schema)
    asked = pq.read_schema(requests)
    into_schema = result_schema(
        [asked.field(name) for name in key_columns],
        typing.arrow,
        _vectors(files, places) if embeddings else None,
    )
    with price_sql.priced(con, priced, outcome_rows(outcomes)):
        rows = (
            landed_block(con, block, found, typing=typing, schema=into_schema)
            for block, found in _blocks(requests, files, places, key_columns)
        )
        with written_aside(into) as part:
            write_groups(part, into_schema, rows, repeating=REPEATING)
    return _landed(con, into, retryable, oddities(files.footers))


def _places(
    con: duckdb.DuckDBPyConnection,
    requests: Path,
    outcomes: Sequence[Path],
    again: str,
) -> tuple[Numbers, int]:
    """Where the outcome of each request is, in request order; -1 for none.

    Also how many of them go *again*, an aggregate over the outcomes of one.

    The greatest number wins: success, then attempt, then file and row. Ids and hashes are
    compared by a 128-bit digest, so that a join of millions of rows stays small.
    """
    count = pq.read_metadata(requests).num_rows
    if not outcomes:
        return np.full(count, -1, np.int64), 0
    con.register("outcome_files", pa.table({"name": [str(path) for path in outcomes]}))
    try:
        best = con.sql(
            f"""
            WITH asked AS (
                SELECT file_row_number AS ord, md5_number(custom_id || ' ' || content_hash) AS id
                FROM {_parquet([requests])} WHERE rejected IS NULL
            ), files AS (
                SELECT name, row_number() OVER () - 1 AS file FROM outcome_files
            ), answers AS (
                SELECT md5_number(custom_id || ' ' || content_hash) AS id,
                    ((status = 'succeeded')::BIGINT << 62) | (least(attempt, 4095)::BIGINT << 50)
                    | (file << {ROW_BITS}) | file_row_number AS place,
                    attempt, status, failure, error_code
                FROM {outcome_rows(outcomes, placed=True)} JOIN files ON name = filename
            )
            SELECT ord, max(place) AS place, {again} AS again
            FROM answers JOIN asked USING (id) GROUP BY ord
            """
        ).to_arrow_table()
    finally:
        con.unregister("outcome_files")
    places = np.full(count, -1, np.int64)
    found = best["place"].to_numpy() & ((1 << (FILE_BITS + ROW_BITS)) - 1)
    places[best["ord"].to_numpy()] = found
    return places, pc.sum(best["again"]).as_py() or 0


def _blocks(
    requests: Path, files: OutcomeFiles, places: Numbers, keys: Sequence[str]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Request rows and their outcomes side by side, as many at once as memory should hold."""
    size, count = files.size
    rows = rows_within(size, rows=count, at_most=_BLOCK_ROWS)
    columns = [*keys, "custom_id", "content_hash", "rejected"]
    start = 0
    # Buffering ahead would keep every byte that has been read until the last block.
    with pq.ParquetFile(requests, pre_buffer=False) as file:
        for batch in file.iter_batches(rows, columns=columns):
            asked = pa.Table.from_batches([batch])
            yield asked, files.fetch(places[start : start + asked.num_rows])
            start += asked.num_rows


def _vectors(files: OutcomeFiles, places: Numbers) -> pa.DataType:
    """The type of the embeddings at *places*, by their lengths."""
    size, count = files.size
    rows = rows_within(size, rows=count, at_most=_BLOCK_ROWS)
    lengths: set[int] = set()
    for start in range(0, len(places), rows):
        vectors = files.fetch(places[start : start + rows], ["embedding"])["embedding"]
        lengths |= set(pc.unique(pc.list_value_length(vectors)).drop_null().to_pylist())
        if len(lengths) > 1:
            break
    return pa.list_(pa.float32(), *lengths) if len(lengths) == 1 else pa.list_(pa.float32())


def _rejected(con: duckdb.DuckDBPyConnection, requests: Path) -> int:
    return int(_one(con, f"SELECT count(rejected) FROM {_parquet([requests])}")[0])


def _waiting(
    con: duckdb.DuckDBPyConnection,
    files: OutcomeFiles,
    places: Numbers,
    retryable: int,
    *,
    rejected: int,
) -> Landed:
    """The counts so far of a partition that cannot land yet."""
    answered = places[places >= 0]
    con.register("found", files.fetch(answered, ["failure"]))
    try:
        by_kind = _by_kind(con, "found")
    finally:
        con.unregister("found")
    succeeded = len(answered) - sum(by_kind.values())
    if rejected:
        kind = FailureKind.REJECTED.value
        by_kind[kind] = by_kind.get(kind, 0) + rejected
    return Landed(
        requests=len(places),
        succeeded=succeeded,
        failed=sum(by_kind.values()),
        unanswered=len(places) - len(answered) - rejected,
        retryable=retryable,
        by_kind=by_kind,
        odd=oddities(files.footers),
    )


def _landed(con: duckdb.DuckDBPyConnection, results: Path, retryable: int, odd: Oddities) -> Landed:
    by_kind = _by_kind(con, _parquet([results]))
    requests, failed = pq.read_metadata(results).num_rows, sum(by_kind.values())
    return Landed(
        requests=requests,
        succeeded=requests - failed,
        failed=failed,
        unanswered=0,
        retryable=retryable,
        by_kind=by_kind,
        odd=odd,
    )


def _by_kind(con: duckdb.DuckDBPyConnection, rows: str) -> dict[str, int]:
    return dict(
        con.execute(
            f"SELECT failure, count(*) FROM {rows} WHERE failure IS NOT NULL GROUP BY 1 ORDER BY 1"
        ).fetchall()
    )


def _one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    return con.execute(query).fetchall()[0]


def _parquet(paths: Sequence[Path]) -> str:
    """The files' own columns and their rows' places; folders named a=b add nothing."""
    names = ", ".join(literal(str(path)) for path in paths)
    places = "filename = true, file_row_number = true"
    return f"read_parquet([{names}], {places}, hive_partitioning = false)"
