"""Result lines to the tables `decoded` and `salvaged`: by one query, and a second look at the rest.

Only lines that the query could not read, or in which there is nothing, are looked at in Python.
"""
# ruff: noqa: S608 - the query is a codec's own

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from batch_pipeline.stages.results import lines, long_lines, surrogates
from batch_pipeline.stages.results.lines import Files
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
        long_lines.decode_in_parts(con, decoding, files)
    finally:
        con.unregister("incoming")
    long_lines.decode_long(con, decoding, files)
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
        whys = [
            long_lines.too_long(files, at, line) for (at, *_), line in zip(some, found, strict=True)
        ]
        rows = [
            {
                "position": position,
                "id": known or _shown_id(line),
                "raw": _text(line) if why is None else long_lines.kept(why, line),
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
