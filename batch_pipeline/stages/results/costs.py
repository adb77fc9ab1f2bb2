"""What each row of a block of results costs: one query, prepared once for all blocks."""
# ruff: noqa: S608 - the query is built from literals of this package

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from batch_pipeline.prices.sql import COSTS, MAY_BE_BILLED, join_sql

_PRICED_BY = [
    *("provider", "model", "service_tier", "extras", "failure", "error_code"),
    *("input_tokens", "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    "output_tokens",
]
_COSTS = f"""
    SELECT ord, {COSTS},
        CASE WHEN {MAY_BE_BILLED} THEN coalesce(price.source, 'unknown') END AS price_source,
        CASE WHEN {MAY_BE_BILLED} AND price.source <> 'unknown' THEN price.as_of END
            AS price_as_of
    FROM {join_sql("billed")}
"""


@dataclass
class Costs:
    """The query of costs, planned once: that takes longer than a block's rows.

    DuckDB asks the registered object for its rows each time that the prepared query runs. A table
    that is registered in its place would not be seen.
    """

    con: duckdb.DuckDBPyConnection
    _rows: pa.Table | None = None

    def of(self, rows: pa.Table) -> pa.Table:
        """What each of the outcomes *rows* costs, in their order; `prices` is registered."""
        planned, order = self._rows is not None, pa.array(np.arange(rows.num_rows))
        self._rows = rows.select(_PRICED_BY).append_column("ord", order)
        if not planned:
            self.con.register("billed", self)
            self.con.execute(f"PREPARE costs AS {_COSTS}")
        found = self.con.sql("EXECUTE costs").to_arrow_table()
        # A join promises no order, and nearly always keeps it: sorting all columns costs more.
        places = found["ord"].to_numpy()
        if (places[1:] < places[:-1]).any():
            found = found.take(pa.array(np.argsort(places)))
        return found.drop_columns(["ord"])

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The rows of now, as Arrow's protocol has it."""
        assert self._rows is not None  # noqa: S101 - registered with its first rows
        return self._rows.__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Let go of the query and the last rows."""
        if self._rows is not None:
            self.con.execute("DEALLOCATE costs")
            self.con.unregister("billed")
            self._rows = None
