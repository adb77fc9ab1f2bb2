"""Which requests may be sent now: not answered, not in flight, not at the end of their attempts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_pipeline.model import BuiltTarget
from batch_pipeline.stages.again import WITHHELD, among, goes_again
from batch_pipeline.stages.arrow import Numbers
from batch_pipeline.stages.requests.targets import built_targets
from batch_pipeline.stages.sql import literal, outcome_rows


@dataclass(frozen=True, slots=True)
class Only:
    """A retry by hand: these custom_ids, and/or what failed so, and/or what failed in that run.

    *shards* are those that a run collected: what failed there last. None does not restrict.
    Attempts and retried kinds do not bind such a retry, and a rejected request goes again as it
    is: whoever names rows knows why.
    """

    custom_ids: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    run_id: str | None = None
    shards: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Requests to send, as columns in request-table order: numbers only, 30 bytes a request.

    `table` counts in *tables*, `target` in *targets*, `row` in that table; `offset` and
    `bytes` are of the lines that the table has for that target.
    """

    tables: tuple[Path, ...]
    targets: tuple[BuiltTarget, ...]
    table: Numbers
    target: Numbers
    row: Numbers
    offset: Numbers
    bytes: Numbers
    attempt: Numbers

    def __len__(self) -> int:
        return len(self.row)

    def at(self, places: Numbers) -> Pending:
        """The requests at *places*, in that order."""
        return self._with(column[places] for column in self._columns)

    def between(self, first: int, end: int) -> Pending:
        """The requests from *first* to before *end*; shares their memory."""
        return self._with(column[first:end] for column in self._columns)

    def sent_alike(self) -> Iterator[Pending]:
        """The requests by target and attempt; if that is one group, it shares its memory."""
        for target in np.unique(self.target).tolist():
            mine = self.target == target
            for attempt in np.unique(self.attempt[mine]).tolist():
                wanted = mine & (self.attempt == attempt)
                yield self if wanted.all() else self.at(np.flatnonzero(wanted))

    def first_of_each(self, counts: Sequence[int]) -> tuple[Pending, Pending]:
        """The first requests of each target, as many as it has, and the rest; in order."""
        first = np.zeros(len(self), np.bool_)
        for target in np.unique(self.target).tolist():
            first[np.flatnonzero(self.target == target)[: counts[target]]] = True
        return self.at(np.flatnonzero(first)), self.at(np.flatnonzero(~first))

    def _with(self, columns: Iterable[Numbers]) -> Pending:
        return Pending(self.tables, self.targets, *columns)

    @property
    def _columns(self) -> tuple[Numbers, ...]:
        return (self.table, self.target, self.row, self.offset, self.bytes, self.attempt)


def choose(  # noqa: PLR0913 - keyword-only: what the choice depends on
    con: duckdb.DuckDBPyConnection,
    *,
    tables: Sequence[Path],
    held: Sequence[Path],
    outcomes: Sequence[Path],
    retried_kinds: Sequence[str],
    max_attempts: int,
    only: Only | None = None,
    withheld: bool = False,
    once: Sequence[str] = (),
) -> Pending:
    """The requests of *tables* that may be sent now, each with the attempt it will be.

    A request version (custom_id and content hash) in *held* or with a succeeded outcome is never
    chosen. Without *only*, one that failed is chosen again while its latest failure is among
    *retried_kinds* and it has been sent less than *max_attempts* times, not counting attempts that
    were withheld, unless its answer is in the part of a file that did not come. Withheld ones go
    where somebody asks (*withheld*), rejected ones never. Of the partitions *once* only what was
    never sent is chosen.
    """
    go = _BuiltTargets.of(tables)
    if not tables:
        return Pending((), (), *(np.zeros(0, kind) for kind in _COLUMNS.values()))
    may = _may_be_sent(only, withheld=withheld)
    if once:
        may = f"({may}) AND (sent IS NULL OR NOT {among('partition', once)})"
    latest = _latest(outcomes, goes_again(retried_kinds, max_attempts)) if outcomes else None
    query = _query(tables, held, latest, may)
    with closing(con.cursor()) as cursor, cursor.sql(query).to_arrow_reader(_BATCH) as reader:
        batches = [_numbers(batch, go) for batch in reader]
    columns = [
        np.concatenate([np.zeros(0, kind), *(batch.pop(0) for batch in batches)], dtype=kind)
        for kind in _COLUMNS.values()  # one column after the other: the pieces are let go
    ]
    pending = Pending(tuple(tables), go.every, *columns)
    place = pending.table.astype(np.int64) << _ROW_BITS | pending.row
    if (place[1:] > place[:-1]).all():
        return pending
    return pending.at(np.argsort(place))  # a join promises no order


@dataclass(frozen=True, slots=True)
class _BuiltTargets:
    """The distinct targets of some tables, and which of them each table's target names are."""

    every: tuple[BuiltTarget, ...]
    names: pa.Array
    places: np.ndarray[tuple[int, int], np.dtype[np.int16]]  # by table and name

    @classmethod
    def of(cls, tables: Sequence[Path]) -> _BuiltTargets:
        each = [built_targets(table) for table in tables]
        every: list[BuiltTarget] = []
        for one in chain.from_iterable(each):
            if one not in every:
                every.append(one)
        names = list(dict.fromkeys(one.name for one in every))
        places = np.full((len(tables), len(names)), -1, np.int16)
        for table, there in enumerate(each):
            for one in there:
                places[table, names.index(one.name)] = every.index(one)
        return cls(tuple(every), pa.array(names, pa.string()), places)

    def of_rows(self, table: Numbers, target: pa.Array) -> Numbers:
        """The target of each row, given its table and its target's name."""
        if len(self.every) == 1:
            return np.zeros(len(table), np.int16)
        taken: Numbers = self.places[table, pc.index_in(target, self.names).to_numpy()]
        return taken


_BATCH = 1 << 16
_ROW_BITS = 32
_COLUMNS = {
    "file_index": np.int32,
    "target": np.int16,
    "file_row_number": np.int32,
    "offset": np.int64,
    "bytes": np.int64,
    "attempt": np.int32,
}
_VERSION = "custom_id, content_hash"
_READ = f'{_VERSION}, partition, target, "offset", bytes, file_index, file_row_number'
"""Of a request table; its key columns may have any name, those of the others below too."""
_NEVER_SENT = (
    "NULL::INTEGER AS sent, false AS answered, false AS again, NULL AS failure, NULL AS run_id, "
    "NULL AS shard"
)


def _query(tables: Sequence[Path], held: Sequence[Path], latest: str | None, may: str) -> str:
    """Numbers of the requests for which *may* holds; files that are not there are not joined."""
    # All texts are quoted paths and values.
    free = f"SELECT {_READ} FROM {_parquet(tables)} WHERE rejected IS NULL"  # noqa: S608
    if held:
        free = f"SELECT * FROM ({free}) ANTI JOIN {_parquet(held)} USING ({_VERSION})"  # noqa: S608
    known = f"SELECT *, {_NEVER_SENT} FROM ({free})"  # noqa: S608
    if latest is not None:
        known = f"SELECT * FROM ({free}) LEFT JOIN ({latest}) USING ({_VERSION})"  # noqa: S608
    return f"""
        SELECT file_index, target, file_row_number, "offset", bytes,
            coalesce(sent, 0) + 1 AS attempt
        FROM ({known}) WHERE NOT coalesce(answered, false) AND ({may})"""  # noqa: S608


def _latest(outcomes: Sequence[Path], again: str) -> str:
    return f"""
        SELECT {_VERSION}, bool_or(status = 'succeeded') AS answered, max(attempt) AS sent,
               {again} AS again,
               arg_max(coalesce(failure, ''), (attempt, coalesce(failure, ''))) AS failure,
               arg_max(coalesce(run_id, ''), (attempt, coalesce(failure, ''))) AS run_id,
               arg_max(shard, (attempt, coalesce(failure, ''))) AS shard
        FROM {outcome_rows(outcomes)} GROUP BY {_VERSION}"""  # noqa: S608 - quoted paths


def _may_be_sent(only: Only | None, *, withheld: bool) -> str:
    """A condition on a request; `sent` is null when it was never sent."""
    if only is None:
        by_hand = f" OR failure = {WITHHELD}" if withheld else ""
        return f"sent IS NULL OR again{by_hand}"
    asked = ["true"]
    if only.custom_ids is not None:
        asked.append(among("custom_id", only.custom_ids))
    if only.kinds is not None:
        asked.append(f"coalesce({among('failure', only.kinds)}, false)")
    if only.run_id is not None:
        asked.append(f"coalesce(run_id = {literal(only.run_id)}, false)")
    if only.shards is not None:
        asked.append(f"coalesce({among('shard', only.shards)}, false)")
    return " AND ".join(asked)


def _numbers(batch: pa.RecordBatch, go: _BuiltTargets) -> list[Numbers]:
    columns = {name: batch.column(name) for name in _COLUMNS}
    table = columns["file_index"].to_numpy()
    numbers = {n: col.to_numpy() for n, col in columns.items() if n != "target"}
    numbers["target"] = go.of_rows(table, columns["target"])
    # A copy of each: the batch's own memory goes back.
    return [numbers[name].astype(kind) for name, kind in _COLUMNS.items()]


def _parquet(paths: Sequence[Path]) -> str:
    # The folder's partition=... is not asked: the column in the file is the truth.
    names = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{names}], hive_partitioning = false)"
