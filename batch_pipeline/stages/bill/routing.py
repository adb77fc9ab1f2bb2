"""What the rules of a job's targets saved: its rows' tokens at the price of every target."""
# ruff: noqa: S608 - queries are built from literals of this package and quoted paths

from __future__ import annotations

from collections.abc import Collection, Sequence
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


def routed(
    con: duckdb.DuckDBPyConnection,
    *,
    targets: Sequence[tuple[str, str]],
    partitions: Collection[str],
    outcomes: Sequence[Path],
    priced: Prices,
) -> Routed | None:
    """The comparison over *partitions* for *targets* (provider, model); None for nothing to say."""
    if len(set(targets)) < 2 or not outcomes or not partitions:  # noqa: PLR2004 - one has no choice
        return None
    con.register("wanted", pa.table({"partition": pa.array(sorted(partitions), pa.string())}))
    rows = f"{outcome_rows(outcomes)} SEMI JOIN wanted USING (partition)"
    try:
        with price_sql.priced(con, priced, rows):
            con.execute(
                f"""
            CREATE OR REPLACE TEMP TABLE paid AS
            WITH rows AS (SELECT * FROM {rows})
            SELECT rows.input_tokens, rows.cached_input_tokens, rows.cache_write_tokens,
                rows.cache_write_1h_tokens,
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
) -> Routed | None:
    count, cost = con.execute("SELECT count(*), sum(cost) FROM paid").fetchall()[0]
    if not count:
        return None
    found: dict[str, Decimal] = {}
    unpriced: list[str] = []
    for provider, model in dict.fromkeys(targets):
        named = f"SELECT *, {literal(provider)} AS provider, {literal(model)} AS model FROM paid"
        with price_sql.priced(con, priced, f"({named})"):
            total = con.execute(
                f"WITH rows AS ({named}) SELECT sum({cost_sql('paid')}) FROM {join_sql('rows')}"
            ).fetchall()[0][0]
        if total is None:
            unpriced.append(f"{provider}/{model}")
        else:
            found[f"{provider}/{model}"] = total
    if not found:
        return None
    dearest = max(found, key=lambda name: found[name])
    return Routed(count, cost, dearest, found[dearest], tuple(unpriced))
