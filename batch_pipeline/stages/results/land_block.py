"""One block of results: the chosen outcomes fetched by place, typed and priced as columns."""
# ruff: noqa: S608 - queries are built from literals of this package and quoted names

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import JsonValue

from batch_pipeline.errors import StoreError
from batch_pipeline.model import FailureKind
from batch_pipeline.stages.arrow import Numbers
from batch_pipeline.stages.results import typed_output
from batch_pipeline.stages.results.costs import Costs
from batch_pipeline.stages.results.oddities import Oddities, oddities
from batch_pipeline.stages.schemas import JUDGED, OUTCOMES, RESULTS
from batch_pipeline.stages.sql import literal

FILE_BITS, ROW_BITS = 20, 30
"""A place is file << ROW_BITS | row: which outcome file, and which row of it."""

_OF_REQUEST = ("custom_id", "content_hash")
FETCHED = [
    one.name for one in RESULTS if one.name in OUTCOMES.names and one.name not in _OF_REQUEST
]
_NEEDED = {one.name for one in RESULTS if one.name in FETCHED and one.since == 1}


@dataclass(frozen=True)
class OutcomeFiles:
    """The outcome files of some partitions, read by place; footers are read once."""

    paths: Sequence[Path]

    @cached_property
    def footers(self) -> list[pq.FileMetaData]:
        """The footer of each file."""
        return [pq.read_metadata(path) for path in self.paths]

    @cached_property
    def _by_path(self) -> dict[Path, pq.FileMetaData]:
        return dict(zip(self.paths, self.footers, strict=True))

    @cached_property
    def _sizes(self) -> dict[Path, tuple[int, int]]:
        return {path: _size(footer) for path, footer in self._by_path.items()}

    def size(self, some: Sequence[Path]) -> tuple[int, int]:
        """Uncompressed bytes and rows of *some* of the files, with what JUDGED ones leave out."""
        sizes = [self._sizes[path] for path in some]
        return sum(size for size, _ in sizes), sum(rows for _, rows in sizes)

    def odd(self, some: Sequence[Path]) -> Oddities:
        """What the shards of *some* of the files counted."""
        return oddities(self._by_path[path] for path in some)

    def check_current(self) -> None:
        """StoreError for a file of a version whose rows cannot be landed as they are."""
        for path, footer in zip(self.paths, self.footers, strict=True):
            if not set(footer.schema.to_arrow_schema().names) >= _NEEDED:
                raise StoreError(
                    f"{path}: these outcomes were written by an older version. "
                    "`batch-pipeline reparse` makes them anew from the raw answers; nothing is "
                    "sent and nothing is paid."
                )

    def fetch(self, places: Numbers, columns: Sequence[str] = FETCHED) -> pa.Table:
        """*columns* at *places*, in that order; a row of nulls where a place is negative."""
        if not (places >= 0).any():
            schema = pa.schema([OUTCOMES.field(name) for name in columns])
            return pa.table([pa.nulls(len(places), kind) for kind in schema.types], schema=schema)
        tables: list[pa.Table] = []
        at = np.full(len(places), -1, np.int64)
        files = np.where(places < 0, -1, places >> ROW_BITS)
        held = 0
        for number in np.unique(files[files >= 0]).tolist():
            mine = files == number
            rows = places[mine] & ((1 << ROW_BITS) - 1)
            table, index = self._rows(number, rows, columns)
            tables.append(table)
            at[mine] = index + held
            held += table.num_rows
        return _taken(pa.concat_tables(tables), at)

    def _rows(self, number: int, rows: Numbers, columns: Sequence[str]) -> tuple[pa.Table, Numbers]:
        """The row groups of a file that hold *rows*, and where in them each row is."""
        footer = self.footers[number]
        sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        group = np.searchsorted(starts, rows, side="right") - 1
        wanted = np.unique(group)
        held = np.concatenate([[0], np.cumsum(np.asarray(sizes)[wanted])])[:-1]
        with pq.ParquetFile(self.paths[number], metadata=footer) as file:
            there = set(file.schema_arrow.names)
            held_there = [name for name in columns if name in there]
            table = file.read_row_groups(wanted.tolist(), columns=held_there)
        table = _completed(table, columns)
        if "output" in columns and _judged(footer):
            table = _with_output(table)
        return table, held[np.searchsorted(wanted, group)] + rows - starts[group]


def _completed(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The *columns*; those that an older version did not write are null."""
    for name in columns:
        if name not in table.column_names:
            field = OUTCOMES.field(name)
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(list(columns))


def _judged(footer: pq.FileMetaData) -> bool:
    return JUDGED.items() <= (footer.metadata or {}).items()


def _size(footer: pq.FileMetaData) -> tuple[int, int]:
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    left_out = _left_out(footer, groups) if _judged(footer) else 0
    return left_out + sum(g.total_byte_size for g in groups), sum(g.num_rows for g in groups)


def _left_out(footer: pq.FileMetaData, groups: Sequence[pq.RowGroupMetaData]) -> int:
    """The bytes of `output`, had it been written: about those of the texts."""
    places = {name: at for at, name in enumerate(footer.schema.to_arrow_schema().names)}
    text, output = (
        sum(int(group.column(places[name]).total_uncompressed_size) for group in groups)
        for name in ("text", "output")
    )
    return max(text - output, 0)


def _with_output(table: pa.Table) -> pa.Table:
    """JUDGED outcomes with the `output` that they leave out: a success's text, where there is one.

    Files of before say every `output`, and those of a job without a schema had none.
    """
    own = pc.and_(pc.equal(table["status"], "succeeded"), pc.not_equal(table["text"], ""))
    output = table["text"]  # nearly always: then no byte of it is copied
    if table["output"].null_count < table.num_rows or not pc.all(own, skip_nulls=False).as_py():
        output = pc.coalesce(table["output"], pc.if_else(own, table["text"], None))
    return table.set_column(table.column_names.index("output"), OUTCOMES.field("output"), output)


def _taken(table: pa.Table, at: Numbers) -> pa.Table:
    """Rows *at* of the table; a run of neighbours, the usual case, is not copied."""
    if at[0] >= 0 and np.array_equal(at, np.arange(at[0], at[0] + len(at))):
        return table.slice(int(at[0]), len(at))
    return table.take(pa.array(at, mask=at < 0))


@dataclass(frozen=True)
class Typing:
    """How checked answers become columns: DuckDB's expression for `output`, and its Arrow type."""

    expression: str
    arrow: pa.DataType | None

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, schema: dict[str, JsonValue] | None) -> Typing:
        """The typing of a job's output schema; without one, no `output`."""
        if schema is None:
            return cls("NULL", None)
        tree = typed_output.tree(schema)
        if tree == typed_output.JSON:
            return cls("output", pa.string())
        kind = typed_output.sql_type(tree)
        expression = f"json_transform(output, {literal(typed_output.structure(schema))})::{kind}"
        arrow = con.sql(f"SELECT NULL::{kind} AS output").to_arrow_table().schema.field(0).type
        return cls(expression, arrow)


def landed_block(
    con: duckdb.DuckDBPyConnection,
    asked: pa.Table,
    outcomes: pa.Table,
    *,
    typing: Typing,
    costs: Costs,
    schema: pa.Schema,
) -> pa.Table:
    """RESULTS rows of the request rows *asked* and their *outcomes*, side by side in order."""
    rows = _with_rejected(asked, outcomes)
    computed = _computed(con, rows, typing, costs)
    columns = []
    for name in schema.names:
        source = next(t for t in (computed, asked, rows) if name in t.column_names)
        columns.append(source[name])
    return pa.table(columns, names=schema.names).cast(schema)


def _with_rejected(asked: pa.Table, outcomes: pa.Table) -> pa.Table:
    """Rows that were never sent become failures of their own kind."""
    rejected = asked["rejected"]
    if rejected.null_count == len(rejected):
        return outcomes
    unsent = pc.is_valid(rejected)
    for name, value in (
        ("status", "failed"),
        ("failure", FailureKind.REJECTED.value),
        ("error_message", rejected),
    ):
        column = pc.if_else(unsent, value, outcomes[name])
        outcomes = outcomes.set_column(
            outcomes.column_names.index(name), OUTCOMES.field(name), column
        )
    return outcomes


def _computed(
    con: duckdb.DuckDBPyConnection, rows: pa.Table, typing: Typing, costs: Costs
) -> pa.Table:
    """The columns that need more than a copy: cost, and the typed output."""
    known = costs.of(rows)
    if typing.arrow is None:
        return known
    con.register("landing", rows.select(["output"]))
    try:
        answered = con.sql(f"SELECT {typing.expression} AS output FROM landing")
        return known.append_column("output", answered.to_arrow_table()["output"])
    finally:
        con.unregister("landing")
