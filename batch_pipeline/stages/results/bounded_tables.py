"""Arrow tables of a size that memory can hold, cut the same way however their rows arrive."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_BYTES = 32 << 20


def rows_within(size: int, *, rows: int, at_most: int) -> int:
    """How many rows to hold at once when *rows* of them are *size* bytes: 32 MB worth."""
    return max(1, min(at_most, _BYTES * max(rows, 1) // max(size, 1)))


def regrouped(reader: pa.RecordBatchReader, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The reader's rows as tables of exactly *rows* (the last may be shorter), cast to *schema*."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in reader:
        while held + batch.num_rows >= rows:
            room = rows - held
            yield _table([*waiting, batch.slice(0, room)], schema)
            waiting, held, batch = [], 0, batch.slice(room)  # noqa: PLW2901 - what is left of it
        waiting.append(batch)
        held += batch.num_rows
    if held:
        yield _table(waiting, schema)


def write_groups(
    path: Path, schema: pa.Schema, tables: Iterator[pa.Table], *, repeating: list[str]
) -> None:
    """Write each table as a row group while the next one is made; *repeating* get a dictionary."""
    with (
        pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeating) as writer,
        ThreadPoolExecutor(max_workers=1) as beside,
    ):
        writing: Future[None] | None = None
        for table in tables:
            if writing is not None:
                writing.result()
            writing = beside.submit(writer.write_table, table, row_group_size=table.num_rows)
        if writing is not None:
            writing.result()


def _table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches).cast(schema)
