"""Result lines to the tables `decoded` and `salvaged`: by one query, and a second look at the rest.

Only lines that the query could not read, or in which there is nothing, are looked at in Python.
DuckDB needs many times the bytes of a line to take its JSON apart, and gives up at its limit: one
line must not keep a whole shard from being read, so long ones are decoded alone, or not at all.
"""
# ruff: noqa: S608 - the query is a codec's own

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from batch_pipeline.stages.results import lines, surrogates
from batch_pipeline.stages.results.lines import LONG, Files
from batch_pipeline.stages.schemas import OUTCOME_COLUMNS, OUTCOMES, Source
from batch_pipeline.stages.sql import with_columns

_DECODED = [
    pa.field("position", pa.int64()),
    *(OUTCOMES.field(one.name) for one in OUTCOME_COLUMNS if one.source is Source.ANSWER),
]
"""What a codec's query may say; a column that it lacks is null in every row."""
_SALVAGED = pa.schema(
    [
        *(("position", pa.int64()), ("id", pa.string())),
        *(("raw", pa.string()), ("unreadable", pa.bool_()), ("too_long", pa.string())),
    ]
)
_SALVAGE = re.compile(rb'"custom_id"\s*:\s*"([A-Za-z0-9_-]{1,64})"')
_AT_ONCE = 1000


def decode(con: duckdb.DuckDBPyConnection, decode_sql: str, files: Files) -> None:
    """Every line that is not blank, decoded, in no particular order."""
    decoding = f"""
        WITH lines AS (
            FROM incoming
            WHERE line IS NULL OR strlen(line) > 2 OR trim(line, e' \t\r\n') <> ''
        )
        {with_columns(f"SELECT * FROM ({decode_sql})", _DECODED)}
        """
    con.register("incoming", lines.read(files))
    try:
        con.execute(f"CREATE OR REPLACE TEMP TABLE decoded AS {decoding}")
    except duckdb.OutOfMemoryException:
        _decode_in_parts(con, decoding, files)
    finally:
        con.unregister("incoming")
    _decode_long(con, decoding, files)
    _mend(con, decoding, files)


def _mend(con: duckdb.DuckDBPyConnection, decoding: str, files: Files) -> None:
    """Decode again what only our reader finds strange: half of a surrogate pair, as an escape."""
    unread = [at for (at,) in con.execute(_positions("failure = 'unreadable'")).fetchall()]
    for start in range(0, len(unread), _AT_ONCE):
        some = unread[start : start + _AT_ONCE]
        found = zip(some, lines.bytes_at(files, some), strict=True)
        mended = [(at, text) for at, line in found if (text := surrogates.mended(line)) is not None]
        if not mended:
            continue
        places, texts = zip(*mended, strict=True)
        sources = [files[lines.file_of(place)][1] for place in places]
        table = pa.table([texts, sources, places], schema=lines.SCHEMA)
        con.register("incoming", table)
        con.execute("DELETE FROM decoded WHERE position IN (SELECT position FROM incoming)")
        con.execute(f"INSERT INTO decoded {decoding}")
        con.unregister("incoming")


def _positions(which: str, more: str = "") -> str:
    return f"SELECT position{more} FROM decoded WHERE {which} ORDER BY position"


def salvage(con: duckdb.DuckDBPyConnection, files: Files) -> int:
    """Look again at lines that cannot be read, or hold nothing: keep their text, and their id.

    Returns how many cannot be read.
    """
    con.execute("""
        CREATE OR REPLACE TEMP TABLE salvaged
            (position BIGINT, id VARCHAR, raw VARCHAR, unreadable BOOLEAN, too_long VARCHAR)
        """)
    odd, more = "failure IN ('unreadable', 'empty')", ", custom_id, failure = 'unreadable'"
    kept = con.execute(_positions(odd, more)).fetchall()
    for start in range(0, len(kept), _AT_ONCE):
        some = kept[start : start + _AT_ONCE]
        found = list(lines.bytes_at(files, [position for position, *_ in some]))
        whys = [_too_long(files, at, line) for (at, *_), line in zip(some, found, strict=True)]
        rows = [
            {
                "position": position,
                "id": known or _shown_id(line),
                "raw": _text(line) if why is None else _beginning(why, line),
                "unreadable": unreadable,
                "too_long": why,
            }
            for (position, known, unreadable), line, why in zip(some, found, whys, strict=True)
            if line.strip()
        ]
        table = pa.Table.from_pylist(rows, schema=_SALVAGED)
        con.register("found", table)
        con.execute("INSERT INTO salvaged FROM found")
        con.unregister("found")
    return int(con.execute("SELECT count(*) FROM salvaged WHERE unreadable").fetchall()[0][0])


def _shown_id(line: bytes) -> str | None:
    match = _SALVAGE.search(line)
    return match[1].decode() if match else None


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


_SHARE = 8  # of the memory that DuckDB may take, for one line
_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_KEPT = 1 << 16


def _decode_long(con: duckdb.DuckDBPyConnection, decoding: str, files: Files) -> None:
    """Decode the long lines that memory allows; they are in `decoded` as unreadable so far."""
    most = longest(con)
    for position, size in _long(con, files):
        if size > most:
            continue
        con.execute("DELETE FROM decoded WHERE position = ?", [position])
        _put(con, decoding, lines.one(files, position))


def _decode_in_parts(con: duckdb.DuckDBPyConnection, decoding: str, files: Files) -> None:
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


def _too_long(files: Files, position: int, head: bytes) -> str | None:
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


def _beginning(why: str, head: bytes) -> str:
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
