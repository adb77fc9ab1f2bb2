"""What the rules of a job's targets saved: its rows' tokens at the price of every target."""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa

from batch_pipeline.prices import sql as price_sql
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.sql import cost_sql, join_sql
from batch_pipeline.stages.sql import literal, outcome_rows


@dataclass(frozen=True, slots=True)
class Routed:
    """Costs of the same sent rows: as they were routed, and had all gone to the dearest target.

    An estimate: another model would have counted and written other tokens. `rows` are those whose
    cost is known; `unpriced` are targets nobody knows a price of, which are not compared.
    """

    rows: int
    cost: Decimal
    dearest: str  # provider/model
    dearest_cost: Decimal
    unpriced: tuple[str, ...] = ()

    @property
    def saved(self) -> Decimal:
        """What the rules saved."""
        return self.dearest_cost - self.cost


@dataclass(frozen=True, slots=True)
class _Route:
    """A partition's rows whose cost is known, what they cost, and what at each target."""

    rows: int
    cost: Decimal
    at: Mapping[str, Decimal | None]


@dataclass(frozen=True, slots=True)
class Routes:
    """The comparison of each partition, to be added up over any of them."""

    targets: Sequence[str]
    by_partition: Mapping[str, _Route]

    def over(self, partitions: Iterable[str]) -> Routed | None:
        """The comparison over *partitions*; None for nothing to say."""
        some = [self.by_partition[one] for one in partitions if one in self.by_partition]
        known = {
            target: [cost for one in some if (cost := one.at[target]) is not None]
            for target in self.targets
        }
        found = {target: sum(costs, Decimal(0)) for target, costs in known.items() if costs}
        if not found:
            return None
        dearest = max(found, key=lambda target: found[target])
        unpriced = tuple(target for target in self.targets if target not in found)
        rows, cost = sum(one.rows for one in some), sum((one.cost for one in some), Decimal(0))
        return Routed(rows, cost, dearest, found[dearest], unpriced)


def routes(
    con: duckdb.DuckDBPyConnection,
    *,
    targets: Sequence[tuple[str, str]],
    partitions: Collection[str],
    outcomes: Sequence[Path],
    priced: Prices,
) -> Routes:
    """Compare *targets* (provider, model) over *partitions*; of one target there is no choice."""
    if len(set(targets)) < 2 or not outcomes or not partitions:  # noqa: PLR2004 - as above
        return Routes((), {})
    con.register("wanted", pa.table({"partition": pa.array(sorted(partitions), pa.string())}))
    rows = f"{outcome_rows(outcomes)} SEMI JOIN wanted USING (partition)"
    try:
        with price_sql.priced(con, priced, rows):
            con.execute(
                f"""
            CREATE OR REPLACE TEMP TABLE paid AS
            WITH rows AS (SELECT * FROM {rows})
            SELECT rows.partition, rows.input_tokens, rows.cached_input_tokens,
                rows.cache_write_tokens, rows.cache_write_1h_tokens,
                rows.output_tokens, rows.service_tier, NULL::VARCHAR AS extras,
                {cost_sql("paid")} AS cost
            FROM {join_sql("rows")}
            WHERE rows.extras IS NULL AND {cost_sql("paid")} IS NOT NULL
            """
            )
        return _compared(con, targets, priced)
    finally:
        con.execute("DROP TABLE IF EXISTS temp.paid")
        con.unregister("wanted")


def _compared(
    con: duckdb.DuckDBPyConnection, targets: Sequence[tuple[str, str]], priced: Prices
) -> Routes:
    paid = con.execute("SELECT partition, count(*), sum(cost) FROM paid GROUP BY ALL").fetchall()
    at: dict[str, dict[str, Decimal | None]] = {}
    for provider, model in dict.fromkeys(targets):
        named = f"SELECT *, {literal(provider)} AS provider, {literal(model)} AS model FROM paid"
        with price_sql.priced(con, priced, f"({named})"):
            costs = con.execute(
                f"WITH rows AS ({named}) SELECT partition, sum({cost_sql('paid')}) "
                f"FROM {join_sql('rows')} GROUP BY ALL"
            ).fetchall()
        at[f"{provider}/{model}"] = dict(costs)
    return Routes(
        tuple(at),
        {
            partition: _Route(rows, cost, {target: each[partition] for target, each in at.items()})
            for partition, rows, cost in paid
        },
    )
