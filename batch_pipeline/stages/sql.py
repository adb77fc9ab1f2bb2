"""SQL that several stages write: quoted names and texts, bytes as text, Parquet of any version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from batch_pipeline.stages.schemas import OUTCOMES


def literal(text: str) -> str:
    """A DuckDB string literal; nothing but the quote is special in it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted DuckDB name."""
    return '"' + name.replace('"', '""') + '"'


def text_value(name: str, kind: str) -> str:
    """A column of text, or of bytes that are text; null for bytes that are none."""
    return utf8_text(identifier(name)) if kind == "BLOB" else identifier(name)


def not_text(name: str) -> str:
    """Why a column's bytes are no text; null where they are, or where it is null."""
    value, said = identifier(name), literal(f"column {name!r}: the bytes are no UTF-8 text")
    return f"CASE WHEN {value} IS NOT NULL AND {utf8_text(value)} IS NULL THEN {said} END"


def utf8_text(value: str) -> str:
    """Bytes as UTF-8 text; null for what is none."""
    return f"TRY(decode({value}))"


_TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.list_(pa.float32()): "FLOAT[]",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}


def with_columns(rows: str, fields: Iterable[pa.Field]) -> str:
    """SQL of *rows* with all of these columns; one that they lack is null. No rows: none."""
    empty = ", ".join(f'NULL::{_TYPES[field.type]} AS "{field.name}"' for field in fields)
    none = f"FROM (SELECT {empty} WHERE false)"
    return f"{none} UNION ALL BY NAME {rows}" if rows else none


def outcome_rows(paths: Sequence[Path], *, placed: bool = False) -> str:
    """SQL of the rows of *paths* as a relation in brackets, with every column of OUTCOMES.

    With *placed* they have `filename` and `file_row_number` too. A folder named a=b adds nothing.
    """
    names = ", ".join(literal(str(path)) for path in paths)
    options = "hive_partitioning = false, union_by_name = true"
    if placed:
        options += ", filename = true, file_row_number = true"
    found = f"FROM read_parquet([{names}], {options})" if paths else ""
    return f"({with_columns(found, OUTCOMES)})"
