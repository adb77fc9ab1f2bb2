"""The failed rows of partitions or of some shards, as columns: why, and what a retry would do."""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from itertools import chain, groupby, islice, pairwise
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from batch_pipeline.model import FailureKind
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.sql import cost_sql, join_sql, priced
from batch_pipeline.stages.again import OnRetry, among, on_retry
from batch_pipeline.stages.results.bounded_tables import write_groups
from batch_pipeline.stages.sql import literal, outcome_rows
from batch_pipeline.whole_files import written_aside

LONGEST_MESSAGE = 500
"""Characters of a message, a code or a key that are listed; results have the whole of it."""
_GROUP_ROWS = 1 << 14
_MEANS_OF = 100_000  # answered rows, at most, that say what one costs

FAILED_ROWS = pa.schema(
    [
        ("partition", pa.string()),
        ("key", pa.string()),
        ("custom_id", pa.string()),
        ("failure", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("attempt", pa.int32()),
        ("attempts", pa.int32()),
        ("on_retry", pa.string()),
        ("run_id", pa.string()),
        ("batch_id", pa.string()),
        ("shard", pa.string()),
        ("provider", pa.string()),
        ("model", pa.string()),
        ("retry_cost_usd", pa.decimal128(18, 9)),
    ]
)
"""`attempt` is the one that failed, `attempts` the latest; a cost that nobody knows is null."""
_REPEATING = ["partition", "failure", "error_code", "error_message", "on_retry", "run_id"]
_REPEATING += ["batch_id", "shard", "provider", "model"]


_Count: TypeAlias = tuple[str, str, str, int, int, Decimal | None]
"""Partition, kind, what comes next: how many, of how many a cost is known, and the sum."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One failed row as a table shows it; texts are cut, and come from data and providers."""

    partition: str
    key: str
    custom_id: str
    failure: str
    error_code: str | None
    error_message: str | None
    attempt: int | None  # None: it was never sent
    attempts: int | None
    on_retry: OnRetry
    run_id: str | None
    batch_id: str | None

    @property
    def becomes(self) -> str:
        """What becomes of it when the job goes on by itself, in words."""
        number = (self.attempts or 0) + 1
        match self.on_retry:
            case OnRetry.AGAIN:
                return f"by itself, as attempt {number}"
            case OnRetry.ATTEMPTS:
                return f"not: sent {self.attempts} times"
            case word:
                return _WORDS[word]


_WORDS = {
    OnRetry.ON_ITS_WAY: "on its way",
    OnRetry.BLOCKED: "in a batch that waits for a person",
    OnRetry.HELD: "held",
    OnRetry.KIND: "not: its kind is not retried",
    OnRetry.WITHHELD: "with the next run",
    OnRetry.REJECTED: "not: the request is at fault",
    OnRetry.UNREAD: "not: its answer is not read yet",
    OnRetry.NO_LINE: "never: it was not sent",
    OnRetry.ANSWERED: "answered since",
    OnRetry.CHANGED: "its row has changed since",
}


@dataclass(frozen=True, slots=True)
class FailedRows:
    """What failed: all of it by kind and by what comes next, and the first rows.

    `retry_cost` is what sending all that can be sent is expected to cost: of each row what it cost
    last, else the mean of what was answered beside it. Rows of which neither is known are
    `unpriced`; None when that is all of them.
    """

    by_kind: Mapping[str, int] = field(default_factory=dict)
    by_next: Mapping[OnRetry, int] = field(default_factory=dict)
    first: tuple[FailedRow, ...] = ()
    retry_cost: Decimal | None = None
    unpriced: int = 0
    kinds_to_send: tuple[str, ...] = ()  # of rows that a retry by hand would send

    @property
    def total(self) -> int:
        """All failed rows."""
        return sum(self.by_kind.values())

    @property
    def to_send(self) -> int:
        """Those that a person can send again now."""
        return sum(n for word, n in self.by_next.items() if word not in NOT_TO_SEND)


NOT_TO_SEND = frozenset(OnRetry) - {
    *(OnRetry.AGAIN, OnRetry.HELD, OnRetry.ATTEMPTS, OnRetry.KIND),
    *(OnRetry.WITHHELD, OnRetry.REJECTED, OnRetry.UNREAD),
}
"""Of these nothing can be sent by hand: it is out, answered, another row, or has no line."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that tell of some partitions: their tables, outcomes of all their shards, policy.

    *flying* and *blocked* are request tables of the shards that hold ids now; *held* are
    partitions that do not go on by themselves.
    """

    tables: Sequence[Path]
    outcomes: Sequence[Path]
    flying: Sequence[Path]
    blocked: Sequence[Path]
    held: Collection[str]
    kinds: Collection[str]
    max_attempts: int


@contextmanager
def listed(
    con: duckdb.DuckDBPyConnection,
    sources: Sources,
    prices: Prices,
    *,
    shards: Collection[str] | None = None,
) -> Iterator[None]:
    """The temporary table `failed_rows`: of the *shards* what failed there, else what stands so."""
    with priced(con, prices, outcome_rows(sources.outcomes)):
        con.execute(f"CREATE OR REPLACE TEMP TABLE failed_rows AS {_rows(sources, shards)}")
    try:
        yield
    finally:
        con.execute("DROP TABLE IF EXISTS temp.failed_rows")


def _rows(sources: Sources, shards: Collection[str] | None) -> str:
    """SQL of FAILED_ROWS and their order."""
    told = _of_partitions() if shards is None else _of_shards(shards)
    order = "partition, failure, place, custom_id, attempt"
    may = ", ".join(literal(word.value) for word in sorted(NOT_TO_SEND))
    columns = ", ".join(f'"{one.name}"' for one in FAILED_ROWS if one.name != "retry_cost_usd")
    return f"""
        WITH outcomes AS (SELECT * FROM {outcome_rows(sources.outcomes)}),
        failing AS (SELECT DISTINCT custom_id, content_hash, shard FROM outcomes
            WHERE failure IS NOT NULL),
        rows AS (SELECT * FROM outcomes SEMI JOIN failing USING (custom_id, content_hash)),
        costs AS (SELECT rows.*, {cost_sql("paid")} AS cost FROM {join_sql("rows")}),
        answered AS (SELECT outcomes.* FROM outcomes SEMI JOIN failing USING (shard)
            WHERE failure IS NULL LIMIT {_MEANS_OF}),
        means AS (SELECT shard, avg({cost_sql("paid")}) AS mean
            FROM {join_sql("answered")} GROUP BY shard),
        latest AS (SELECT custom_id, content_hash,
            {on_retry(sources.kinds, sources.max_attempts)} AS on_retry,
            max(attempt) AS attempts, arg_max(shard, attempt) AS shard,
            arg_max(cost, attempt) AS cost FROM costs GROUP BY ALL),
        requests AS ({_requests(sources)}),
        told AS ({told}),
        now AS (SELECT told.* REPLACE ({_now(sources.held)} AS on_retry,
            left(told.key, {LONGEST_MESSAGE}) AS key,
            left(error_code, {LONGEST_MESSAGE}) AS error_code,
            left(error_message, {LONGEST_MESSAGE}) AS error_message),
            coalesce(told.cost, mean, (SELECT avg(mean) FROM means)) AS expected
            FROM told LEFT JOIN means USING (shard)
            LEFT JOIN ({_carried(sources)}) AS carried USING (custom_id, content_hash))
        SELECT {columns},
            CASE WHEN on_retry NOT IN ({may}) THEN expected END::DECIMAL(18, 9) AS retry_cost_usd,
            row_number() OVER (PARTITION BY partition ORDER BY failure, place, custom_id, attempt)
                AS number
        FROM now ORDER BY {order}"""


_TOLD = "failure, error_code, error_message, shard, attempt, run_id, batch_id, provider, model"


def _of_partitions() -> str:
    """SQL: the latest failed attempt of each request of today, and what was never sent."""
    nothing = ", ".join(f"NULL AS {name}" for name in _TOLD.split(", ")[3:])
    rejected = literal(FailureKind.REJECTED.value)
    return f"""
        SELECT requests.partition, key, custom_id, content_hash, place, {_last()}, attempts,
            on_retry, latest.cost
        FROM requests JOIN latest USING (custom_id, content_hash)
        JOIN costs AS last USING (custom_id, content_hash)
        WHERE rejected IS NULL AND on_retry <> {literal(OnRetry.ANSWERED.value)}
            AND last.attempt = attempts AND last.shard = latest.shard
        UNION ALL BY NAME
        SELECT partition, key, custom_id, content_hash, place, {rejected} AS failure,
            'not_sent' AS error_code, rejected AS error_message, {nothing},
            NULL AS attempts, {literal(OnRetry.NO_LINE.value)} AS on_retry, NULL AS cost
        FROM requests WHERE rejected IS NOT NULL"""


def _of_shards(shards: Collection[str]) -> str:
    """SQL: each request that failed in one of the *shards*, whatever became of it since."""
    changed = literal(OnRetry.CHANGED.value)
    return f"""
        SELECT last.partition, key, custom_id, content_hash, coalesce(place, 0) AS place, {_last()},
            attempts, latest.cost,
            CASE WHEN requests.place IS NULL THEN {changed} ELSE on_retry END AS on_retry
        FROM costs AS last JOIN latest USING (custom_id, content_hash)
        LEFT JOIN (SELECT * EXCLUDE (partition) FROM requests) AS requests
            USING (custom_id, content_hash)
        WHERE last.failure IS NOT NULL AND {among("last.shard", list(shards))}"""


def _last() -> str:
    return ", ".join(f"last.{name}" for name in _TOLD.split(", "))


def _now(held: Collection[str]) -> str:
    """SQL of what is on its way, or held, over what outcomes tell."""
    settled = among("on_retry", [OnRetry.ANSWERED, OnRetry.CHANGED, OnRetry.NO_LINE])
    again = literal(OnRetry.AGAIN.value)
    return f"""CASE WHEN carried.word IS NOT NULL AND NOT {settled} THEN carried.word
        WHEN on_retry = {again} AND {among("partition", held)}
        THEN {literal(OnRetry.HELD.value)} ELSE on_retry END"""


def _requests(sources: Sources) -> str:
    return f"""SELECT partition, key, custom_id, content_hash, rejected,
        file_index * (1::BIGINT << 32) + file_row_number AS place
        FROM {_parquet(sources.tables)}"""


def _carried(sources: Sources) -> str:
    """SQL of the request versions that a shard holds, and the word for it."""
    words = {OnRetry.ON_ITS_WAY: sources.flying, OnRetry.BLOCKED: sources.blocked}
    parts = [
        f"SELECT DISTINCT custom_id, content_hash, {literal(word.value)} AS word "
        f"FROM {_parquet(paths)}"
        for word, paths in words.items()
        if paths
    ]
    none = "SELECT '' AS custom_id, '' AS content_hash, '' AS word WHERE false"
    return " UNION ALL ".join(parts) or none


def _parquet(paths: Sequence[Path]) -> str:
    """The tables' own columns: folders named a=b add nothing."""
    names = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{names}], hive_partitioning = false)"


def told(con: duckdb.DuckDBPyConnection, *, first: int) -> dict[str, FailedRows]:
    """What is `listed`, by partition, with the *first* rows of each."""
    rows = _first(con, first)
    counts = con.execute(
        """
        SELECT partition, failure, on_retry, count(*), count(retry_cost_usd), sum(retry_cost_usd)
        FROM failed_rows GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()
    by_partition = groupby(counts, key=lambda count: str(count[0]))
    return {name: _counted(list(some), rows.get(name, ())) for name, some in by_partition}


def together(each: Mapping[str, FailedRows], *, first: int) -> FailedRows:
    """The failed rows of several partitions as one."""
    every = list(each.values())
    costs = [one.retry_cost for one in every if one.retry_cost is not None]
    kinds, nexts = Counter[str](), Counter[OnRetry]()
    for one in every:
        kinds.update(one.by_kind)
        nexts.update(one.by_next)
    return FailedRows(
        by_kind=dict(sorted(kinds.items())),
        by_next=dict(sorted(nexts.items())),
        first=tuple(islice(chain.from_iterable(one.first for one in every), first)),
        retry_cost=sum(costs, Decimal(0)) if costs else None,
        unpriced=sum(one.unpriced for one in every),
        kinds_to_send=tuple(sorted({kind for one in every for kind in one.kinds_to_send})),
    )


def write(con: duckdb.DuckDBPyConnection, into: Callable[[str], Path]) -> set[Path]:
    """All that is `listed` as Parquet, each partition's rows *into* its file; those written."""
    columns = ", ".join(f'"{one.name}"' for one in FAILED_ROWS)
    rows = con.sql(f"SELECT {columns} FROM failed_rows ORDER BY partition, number")
    pieces = _pieces(rows.to_arrow_reader(_GROUP_ROWS))
    written: set[Path] = set()
    for path, tables in groupby(pieces, key=lambda piece: into(piece[0])):
        with written_aside(path) as aside:
            write_groups(aside, FAILED_ROWS, (one for _, one in tables), repeating=_REPEATING)
        written.add(path)
    return written


def _pieces(reader: pa.RecordBatchReader) -> Iterator[tuple[str, pa.Table]]:
    """The sorted rows as tables of one partition each."""
    for batch in reader:
        names = batch.column("partition")
        edges = [0, *pc.add(pc.indices_nonzero(_turns(names)), 1).to_pylist(), batch.num_rows]
        for start, end in pairwise(edges):
            if end > start:
                table = pa.Table.from_batches([batch.slice(start, end - start)]).cast(FAILED_ROWS)
                yield names[start].as_py(), table


def _turns(names: pa.Array) -> pa.Array:
    return pc.not_equal(names.slice(1), names.slice(0, max(len(names) - 1, 0)))


def _first(con: duckdb.DuckDBPyConnection, first: int) -> dict[str, tuple[FailedRow, ...]]:
    names = [one.name for one in fields(FailedRow)]
    found = con.execute(
        f"SELECT {', '.join(names)} FROM failed_rows WHERE number <= {int(first)} "
        "ORDER BY partition, number"
    ).fetchall()
    rows = (FailedRow(**dict(zip(names, row, strict=True))) for row in found)
    each = (replace(row, on_retry=OnRetry(row.on_retry)) for row in rows)
    return {name: tuple(some) for name, some in groupby(each, key=lambda row: row.partition)}


def _counted(counts: Sequence[_Count], first: tuple[FailedRow, ...]) -> FailedRows:
    kinds, nexts = Counter[str](), Counter[OnRetry]()
    for _, failure, word, number, _, _ in counts:
        kinds[failure] += number
        nexts[OnRetry(word)] += number
    sendable = [one for one in counts if OnRetry(one[2]) not in NOT_TO_SEND]
    costs = [cost for *_, cost in sendable if cost is not None]
    return FailedRows(
        by_kind=dict(sorted(kinds.items())),
        by_next=dict(sorted(nexts.items())),
        first=first,
        retry_cost=sum(costs, Decimal(0)) if costs else None,
        unpriced=sum(number - priced for *_, number, priced, _ in sendable),
        kinds_to_send=tuple(sorted({failure for _, failure, *_ in sendable})),
    )
