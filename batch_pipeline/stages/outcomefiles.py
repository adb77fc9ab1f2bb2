"""Outcome files of any version as one relation: a column that a file lacks is null in its rows."""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from batch_pipeline.stages.outcomes import SCHEMA
from batch_pipeline.stages.twins import literal

_TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.list_(pa.float32()): "FLOAT[]",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}
_NONE = ", ".join(f'NULL::{_TYPES[field.type]} AS "{field.name}"' for field in SCHEMA)


def outcome_rows(paths: Sequence[Path], *, placed: bool = False) -> str:
    """SQL of the rows of *paths* as a relation in brackets, with every column of OUTCOMES.

    With *placed* they have `filename` and `file_row_number` too. A folder named a=b adds nothing.
    """
    names = ", ".join(literal(str(path)) for path in paths)
    options = "hive_partitioning = false, union_by_name = true"
    if placed:
        options += ", filename = true, file_row_number = true"
    return (
        f"(FROM (SELECT {_NONE} WHERE false) "
        f"UNION ALL BY NAME FROM read_parquet([{names}], {options}))"
    )
