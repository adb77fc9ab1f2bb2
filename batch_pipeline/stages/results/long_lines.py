"""Result lines that are too long to be read with others: few or one at a time, or not at all.

DuckDB needs many times the bytes of a line to take its JSON apart, and gives up at its limit: one
line must not keep a whole shard from being read.
"""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from batch_pipeline.stages.results import lines
from batch_pipeline.stages.results.lines import LONG, Files

_SHARE = 8  # of the memory that DuckDB may take, for one line
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_KEPT = 1 << 16


def decode_long(con: duckdb.DuckDBPyConnection, decoding: str, files: Files) -> None:
    """Decode the long lines that memory allows; they are in `decoded` as unreadable so far."""
    most = longest(con)
    for position, size in _long(con, files):
        if size > most:
            continue
        con.execute("DELETE FROM decoded WHERE position = ?", [position])
        _put(con, decoding, lines.one(files, position))


def decode_in_parts(con: duckdb.DuckDBPyConnection, decoding: str, files: Files) -> None:
    """The table `decoded` by one query for each block: slower, in far less memory."""
    con.register("incoming", lines.SCHEMA.empty_table())
    con.execute(f"CREATE OR REPLACE TEMP TABLE decoded AS {decoding}")
    con.unregister("incoming")
    for batch in lines.read(files):
        _put(con, decoding, batch)


def _put(con: duckdb.DuckDBPyConnection, decoding: str, batch: pa.RecordBatch) -> None:
    """Decode the lines of *batch*: where memory does not allow it, halves; a line alone as null."""
    con.register("incoming", pa.Table.from_batches([batch]))
    try:
        con.execute(f"INSERT INTO decoded {decoding}")
    except duckdb.OutOfMemoryException:
        if batch["line"].null_count == batch.num_rows:
            raise
        for part in _smaller(batch):
            _put(con, decoding, part)
    finally:
        con.unregister("incoming")


def _smaller(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    half = batch.num_rows // 2
    if half:
        return [batch[:half], batch[half:]]
    nothing = pa.nulls(batch.num_rows, pa.large_string())
    return [pa.record_batch([nothing, batch["source"], batch["position"]], schema=lines.SCHEMA)]


def longest(con: duckdb.DuckDBPyConnection) -> int:
    """The bytes of the longest line that is read."""
    [(limit,)] = con.execute("SELECT current_setting('memory_limit')").fetchall()
    found = re.fullmatch(r"([\d.]+) (\w+)", str(limit))
    memory = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    return max(LONG, memory // _SHARE)


def too_long(files: Files, position: int, head: bytes) -> str | None:
    """Why a line that begins so was not read, where it is too long; None for one that is not."""
    if len(head) < LONG:
        return None
    [size] = lines.sizes_at(files, [position])
    if size <= LONG:
        return None
    return (
        f"The result line is too long to be read with the memory that is set: a line of {size:,} "
        "bytes. It is whole in the file of raw/. Raise BATCH_PIPELINE_MEMORY to 16 times that or "
        "more, then run `batch-pipeline reparse`."
    )


def kept(why: str, head: bytes) -> str:
    """What stands in the table for a line that is too long: why, and how it begins."""
    return f"{why} It begins: {head[:_KEPT].decode('utf-8', 'replace')}"


def _long(con: duckdb.DuckDBPyConnection, files: Files) -> list[tuple[int, int]]:
    """Where long lines start, and their sizes."""
    unread = con.execute(
        "SELECT position FROM decoded WHERE failure = 'unreadable' ORDER BY position"
    ).fetchall()
    heads = lines.bytes_at(files, [position for (position,) in unread])
    some = [at for (at,), head in zip(unread, heads, strict=True) if len(head) >= LONG]
    return list(zip(some, lines.sizes_at(files, some), strict=True))
