"""Result lines to the tables `decoded` and `salvaged`: by one query, and a second look at the rest.

Only lines that the query could not read are looked at in Python.
"""
# ruff: noqa: S608 - the query is a codec's own

from __future__ import annotations

import re

import duckdb
import pyarrow as pa

from batch_pipeline.stages import lines, surrogates
from batch_pipeline.stages.lines import Files

_SALVAGED = pa.schema([("position", pa.int64()), ("id", pa.string()), ("raw", pa.string())])
_SALVAGE = re.compile(rb'"custom_id"\s*:\s*"([A-Za-z0-9_-]{1,64})"')
_SALVAGED_AT_ONCE = 1000


def decode(con: duckdb.DuckDBPyConnection, decode_sql: str, files: Files) -> None:
    """Every line that is not blank, decoded, in no particular order."""
    con.register("incoming", lines.read(files))
    try:
        con.execute(f"CREATE OR REPLACE TEMP TABLE decoded AS {_decoding(decode_sql)}")
    finally:
        con.unregister("incoming")
    _mend(con, decode_sql, files)


def _decoding(decode_sql: str) -> str:
    return f"""
        WITH lines AS (
            FROM incoming
            WHERE line IS NULL OR strlen(line) > 2 OR trim(line, e' \t\r\n') <> ''
        )
        SELECT * FROM ({decode_sql})
        """


def _mend(con: duckdb.DuckDBPyConnection, decode_sql: str, files: Files) -> None:
    """Decode again what only our reader finds strange: half of a surrogate pair, as an escape."""
    unread = _unreadable(con)
    for start in range(0, len(unread), _SALVAGED_AT_ONCE):
        some = [position for position, _ in unread[start : start + _SALVAGED_AT_ONCE]]
        found = zip(some, lines.bytes_at(files, some), strict=True)
        mended = [(at, text) for at, line in found if (text := surrogates.mended(line)) is not None]
        if not mended:
            continue
        places, texts = zip(*mended, strict=True)
        sources = [files[lines.file_of(place)][1] for place in places]
        table = pa.table([texts, sources, places], schema=lines.SCHEMA)
        con.register("incoming", table)
        con.execute("DELETE FROM decoded WHERE position IN (SELECT position FROM incoming)")
        con.execute(f"INSERT INTO decoded {_decoding(decode_sql)}")
        con.unregister("incoming")


def _unreadable(con: duckdb.DuckDBPyConnection) -> list[tuple[int, str | None]]:
    return con.execute(
        "SELECT position, custom_id FROM decoded WHERE failure = 'unreadable' ORDER BY position"
    ).fetchall()


def salvage(con: duckdb.DuckDBPyConnection, files: Files) -> int:
    """Look again at lines that cannot be read: keep their text, and the id if it shows through."""
    con.execute("CREATE OR REPLACE TEMP TABLE salvaged (position BIGINT, id VARCHAR, raw VARCHAR)")
    unreadable = _unreadable(con)
    for start in range(0, len(unreadable), _SALVAGED_AT_ONCE):
        some = unreadable[start : start + _SALVAGED_AT_ONCE]
        found = lines.bytes_at(files, [position for position, _ in some])
        rows = [
            {"position": position, "id": known or _shown_id(line), "raw": _text(line)}
            for (position, known), line in zip(some, found, strict=True)
            if line.strip()
        ]
        table = pa.Table.from_pylist(rows, schema=_SALVAGED)
        con.register("found", table)
        con.execute("INSERT INTO salvaged FROM found")
        con.unregister("found")
    return int(con.execute("SELECT count(*) FROM salvaged").fetchall()[0][0])


def _shown_id(line: bytes) -> str | None:
    match = _SALVAGE.search(line)
    return match[1].decode() if match else None


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
