"""Bytes of Arrow text columns and tables of exact row groups: what bulk writing needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_pipeline.whole_files import private_file

if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:  # nobody chose
    # Arrow's own choice gives the memory of each batch back and asks anew: a tenth of a build.
    jemalloc = "jemalloc" in pa.supported_memory_backends()  # not everywhere
    pa.set_memory_pool(pa.jemalloc_memory_pool() if jemalloc else pa.system_memory_pool())

Numbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.signedinteger]]
ROW_GROUP = 1 << 16
_FEW_TEXTS = ("partition", "shard", "target", "rejected")


def text_buffer(texts: pa.Array) -> tuple[Numbers, memoryview]:
    """The offsets (one more than rows) and the bytes they point into; no copy of the bytes."""
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(1, np.int64), memoryview(b"")
    every = np.frombuffer(offsets, dtype=width)
    return (
        every[texts.offset : texts.offset + len(texts) + 1].astype(np.int64),
        memoryview(b"" if data is None else data),
    )


def detached(column: pa.Array) -> pa.Array:
    """A copy in memory of its own; a column from DuckDB keeps its whole batch, lines and all."""
    return pa.concat_arrays([column, column.slice(0, 0)])


@dataclass
class RowGroups:
    """Rows in row groups of exactly ROW_GROUP, however they arrive: equal rows, equal bytes."""

    writer: pq.ParquetWriter
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the rows of *batch*; full groups are written."""
        while self.rows + batch.num_rows >= ROW_GROUP:
            room = ROW_GROUP - self.rows
            self._take(batch.slice(0, room))
            self.flush()
            batch = batch.slice(room)
        self._take(batch)

    def flush(self) -> None:
        """Write what waits as a group of its own."""
        if self.rows:
            self.writer.write_batch(pa.concat_batches(self.waiting), row_group_size=ROW_GROUP)
        self.waiting, self.rows = [], 0

    def _take(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self.waiting.append(batch)
            self.rows += batch.num_rows


@contextmanager
def row_groups(path: Path, schema: pa.Schema) -> Iterator[RowGroups]:
    """A Parquet file of names and numbers to add rows to.

    Delta encodings: half the time and size of plain ones on names that are alike. Columns of few
    texts take a dictionary. Names have no statistics; nobody looks for a range of hashes.
    """
    encodings = {field.name: _encoding(field) for field in schema}
    options = {
        "compression": "zstd",
        "use_dictionary": [name for name in schema.names if name in _FEW_TEXTS],
        "column_encoding": {name: which for name, which in encodings.items() if which},
        "write_statistics": [field.name for field in schema if not _is_text(field)],
    }
    private_file(path)
    with pq.ParquetWriter(path, schema, **options) as writer:
        groups = RowGroups(writer)
        yield groups
        groups.flush()


def _encoding(field: pa.Field) -> str | None:
    if field.name in _FEW_TEXTS:
        return None
    if field.name == "content_hash":
        return "DELTA_LENGTH_BYTE_ARRAY"  # hashes share no beginnings
    if _is_text(field):
        return "DELTA_BYTE_ARRAY"
    return "DELTA_BINARY_PACKED" if field.type in {pa.int32(), pa.int64()} else None


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_string(field.type))
