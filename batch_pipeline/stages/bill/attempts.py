"""The bill: what every attempt of some partitions cost, per partition and model, from columns."""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from batch_pipeline.prices import sql as price_sql
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.sql import (
    COSTS,
    UNKNOWN_USAGE,
    join_sql,
    total_sql,
    unknown_sql,
)
from batch_pipeline.stages.sql import literal, outcome_rows

_Key: TypeAlias = tuple[str, str | None, str | None]
_Facts: TypeAlias = dict[str, Any]
_OTHERWISE = "cost_usd IS NOT NULL AND source LIKE '%_price' AND source <> 'batch_price'"


@dataclass(frozen=True, slots=True)
class BillLine:
    """One partition and model. Money is US dollars; None is unknown, and unknowns are counted.

    `requests` to `by_kind` and `results_cost` speak of final rows; everything else of all rows
    that were sent, whatever became of them, because that is what is paid for.
    """

    partition: str
    provider: str | None = None  # None: rows that were never sent
    model: str | None = None
    requests: int = 0
    succeeded: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    input_tokens: int | None = None  # includes cached ones
    cached_input_tokens: int | None = None
    output_tokens: int | None = None  # includes reasoning
    reasoning_tokens: int | None = None
    cost: Decimal | None = Decimal(0)
    results_cost: Decimal | None = Decimal(0)  # of which for rows that are in results
    live_cost: Decimal | None = Decimal(0)  # what the same tokens cost outside a batch
    saved: Decimal | None = Decimal(0)  # over rows whose cost and live cost are both known
    unknown_cost: int = 0  # rows that cost something, or may have, nobody knows what
    unknown_usage: int = 0  # answered rows without a count of tokens
    price_source: str | None = None
    unknown_because: dict[str, int] = field(default_factory=dict)  # reason -> rows
    served_otherwise: dict[str, int] = field(default_factory=dict)  # price source -> rows
    price_as_of: date | None = None  # the oldest price used
    older_price: int = 0  # rows whose price is dated before them

    @property
    def failed(self) -> int:
        """Final rows that are no success."""
        return sum(self.by_kind.values())


def bill(
    con: duckdb.DuckDBPyConnection,
    *,
    results: Mapping[str, Path],
    outcomes: Sequence[Path],
    priced: Prices,
) -> tuple[BillLine, ...]:
    """The lines of the partitions in *results*, sorted; *outcomes* may hold other partitions."""
    lines: dict[_Key, _Facts] = {}
    if results and outcomes:
        lines |= _sent(con, sorted(results), outcomes, priced)
    for key, facts in _final(con, results) if results else ():
        lines[key] = {**lines.get(key, {}), **facts}
    order = sorted(lines, key=lambda key: tuple(part or "" for part in key))
    return tuple(BillLine(*key, **lines[key]) for key in order)


def total(lines: Iterable[BillLine]) -> BillLine:
    """All lines as one: sums of what is known."""
    every = list(lines)
    kinds = sorted({kind for line in every for kind in line.by_kind})
    return BillLine(
        partition="total",
        requests=sum(line.requests for line in every),
        succeeded=sum(line.succeeded for line in every),
        by_kind={kind: sum(line.by_kind.get(kind, 0) for line in every) for kind in kinds},
        attempts=sum(line.attempts for line in every),
        input_tokens=_tokens(line.input_tokens for line in every),
        cached_input_tokens=_tokens(line.cached_input_tokens for line in every),
        output_tokens=_tokens(line.output_tokens for line in every),
        reasoning_tokens=_tokens(line.reasoning_tokens for line in every),
        cost=_money(line.cost for line in every),
        results_cost=_money(line.results_cost for line in every),
        live_cost=_money(line.live_cost for line in every),
        saved=_money(line.saved for line in every),
        unknown_cost=sum(line.unknown_cost for line in every),
        unknown_usage=sum(line.unknown_usage for line in every),
        unknown_because=_counts(line.unknown_because for line in every),
        served_otherwise=_counts(line.served_otherwise for line in every),
        price_as_of=min((line.price_as_of for line in every if line.price_as_of), default=None),
        older_price=sum(line.older_price for line in every),
    )


def _counts(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Rows by reason, over all lines."""
    every = list(each)
    names = sorted({name for counts in every for name in counts})
    return {name: sum(counts.get(name, 0) for counts in every) for name in names}


def _counted(text: str, where: str = "true") -> str:
    """SQL aggregate: how many rows have each value of *text*, as a map."""
    return f"histogram({text}) FILTER ({text} IS NOT NULL AND {where})"


def _tokens(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _money(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Null only when there is something to pay and nothing of it is known."""
    every = list(amounts)
    known = [amount for amount in every if amount is not None]
    return sum(known, start=Decimal(0)) if known or not every else None


def _sent(
    con: duckdb.DuckDBPyConnection, partitions: list[str], outcomes: Sequence[Path], priced: Prices
) -> Iterable[tuple[_Key, _Facts]]:
    """What was sent and what it cost: every row of every attempt."""
    rows = outcome_rows(outcomes)
    con.register("wanted", pa.table({"partition": pa.array(partitions, pa.string())}))
    try:
        with price_sql.priced(con, priced, rows):
            yield from _records(
                con,
                f"""
            WITH rows AS (FROM {rows} SEMI JOIN wanted USING (partition)), costs AS (
                SELECT rows.*, {COSTS}, coalesce(price.source, 'unknown') AS source, price.as_of,
                    price.as_of < ended_at::DATE AS outdated
                FROM {join_sql("rows")}
            )
            SELECT partition, provider, model, count(*) AS attempts,
                sum(input_tokens)::BIGINT AS input_tokens,
                sum(cached_input_tokens)::BIGINT AS cached_input_tokens,
                sum(output_tokens)::BIGINT AS output_tokens,
                sum(reasoning_tokens)::BIGINT AS reasoning_tokens,
                {total_sql("cost_usd")} AS cost, {total_sql("live_cost_usd")} AS live_cost,
                {total_sql("(live_cost_usd - cost_usd)")} AS saved,
                {unknown_sql("cost_usd")} AS unknown_cost,
                count(*) FILTER ({UNKNOWN_USAGE}) AS unknown_usage,
                min(source) AS price_source,
                {_counted("cost_unknown")} AS unknown_because,
                {_counted("source", _OTHERWISE)} AS served_otherwise,
                min(as_of) FILTER (cost_usd IS NOT NULL) AS price_as_of,
                count(*) FILTER (cost_usd IS NOT NULL AND outdated) AS older_price
            FROM costs GROUP BY ALL
            """,
            )
    finally:
        con.unregister("wanted")


def _final(
    con: duckdb.DuckDBPyConnection, results: Mapping[str, Path]
) -> Iterable[tuple[_Key, _Facts]]:
    """What became of the requests in the end."""
    paths = ", ".join(literal(str(path)) for path in results.values())
    named = {"partition": list(results), "path": [str(path) for path in results.values()]}
    con.register("landed", pa.table(named))
    try:
        yield from _records(
            con,
            f"""
        WITH kinds AS (
            SELECT filename, provider, model, failure, count(*) AS rows, sum(cost_usd) AS cost,
                {unknown_sql("cost_usd")} AS unknown
            FROM read_parquet([{paths}], filename = true, hive_partitioning = false) GROUP BY ALL
        )
        SELECT landed.partition, provider, model, sum(rows)::BIGINT AS requests,
            coalesce(sum(rows) FILTER (failure IS NULL), 0)::BIGINT AS succeeded,
            map_from_entries(
                coalesce(
                    list({{'k': failure, 'v': rows}} ORDER BY failure)
                        FILTER (failure IS NOT NULL),
                    []
                )
            ) AS by_kind,
            coalesce(sum(cost), CASE WHEN sum(unknown) = 0 THEN 0 END) AS results_cost
        FROM kinds JOIN landed ON path = filename GROUP BY ALL
        """,
        )
    finally:
        con.unregister("landed")


def _records(con: duckdb.DuckDBPyConnection, query: str) -> Iterable[tuple[_Key, _Facts]]:
    result = con.execute(query)
    names = [column[0] for column in result.description][3:]
    for partition, provider, model, *facts in result.fetchall():
        found = dict(zip(names, facts, strict=True))
        for name in ("unknown_because", "served_otherwise"):
            if name in found:
                found[name] = dict(sorted((found[name] or {}).items()))
        yield (partition, provider, model), found
