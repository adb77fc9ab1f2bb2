"""Names of requests, fetched from their request tables by place, one row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_pipeline.stages.arrow import Numbers
from batch_pipeline.stages.shards.pending import Pending

NAMES = ["partition", "key", "custom_id", "content_hash"]


class Named:
    """Reads names, one caller at a time; the last row group read is kept for the next one."""

    def __init__(self, tables: Sequence[Path]) -> None:
        self._tables = tables
        self._lock = Lock()
        self._last: tuple[tuple[int, int], pa.Table] | None = None

    def of(self, part: Pending) -> pa.Table:
        """The NAMES of every request of *part*, in its order."""
        pieces: list[pa.Table] = []
        with self._lock:
            for table in np.unique(part.table).tolist():
                pieces += self._in_table(table, part.row[part.table == table])
        return pa.concat_tables(pieces)

    def _in_table(self, table: int, rows: Numbers) -> Iterator[pa.Table]:
        with pq.ParquetFile(self._tables[table]) as parquet:
            meta = parquet.metadata
            sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
            starts = np.cumsum([0, *sizes])
            groups = np.searchsorted(starts, rows, side="right") - 1
            for group in np.unique(groups).tolist():
                names = self._group(parquet, table, group)
                yield names.take(pa.array(rows[groups == group] - starts[group]))

    def _group(self, parquet: pq.ParquetFile, table: int, group: int) -> pa.Table:
        if self._last is None or self._last[0] != (table, group):
            self._last = ((table, group), parquet.read_row_group(group, columns=NAMES))
        return self._last[1]


def ids_of(table: Path) -> frozenset[str]:
    """Every custom_id of a request table."""
    return frozenset(pq.read_table(table, columns=["custom_id"])["custom_id"].to_pylist())
