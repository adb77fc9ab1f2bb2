"""Prices as a table, and cost as a column: bulk rows are priced by a join and a product.

A row's cost is exact to 9 decimals (a nanodollar), rounded half up once per row, so that the rows
of a table add up to its total.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa

from batch_pipeline.prices.find import Prices, Tier

_DOLLARS = pa.decimal128(18, 9)
_AMOUNTS = ("input", "cached_read", "cache_write", "cache_write_1h", "output")
_ENDLESS = 2**62

SCHEMA = pa.schema(
    [
        pa.field("seller", pa.string()),
        pa.field("sold", pa.string()),
        pa.field("above", pa.int64()),
        pa.field("upto", pa.int64()),
        pa.field("source", pa.string()),
        *(pa.field(f"batch_{name}", _DOLLARS) for name in _AMOUNTS),
        *(pa.field(f"live_{name}", _DOLLARS) for name in _AMOUNTS),
    ]
)
"""A row per model and range of input tokens (above < tokens <= upto); seller is the provider."""

MAY_BE_BILLED = (
    "(provider IS NOT NULL AND (input_tokens IS NOT NULL OR failure IS NULL OR failure IN "
    "('truncated', 'refused', 'invalid', 'missing', 'unreadable') "
    "OR (failure = 'cancelled' AND coalesce(error_code, '') IN ('', 'batch_cancelled'))))"
)
"""SQL: rows that were run, or may have been; without a cost, theirs is unknown and not zero.

A cancelled batch has been seen to report finished rows as not executed: those were billed.
"""


def table(prices: Prices, models: Iterable[tuple[str, str]]) -> pa.Table:
    """The prices of the distinct (provider, model) pairs *models*; null amounts are unknown."""
    rows = []
    for provider, model in sorted(set(models)):
        price = prices.find(provider, model)
        starts = sorted({-1, *(tier.above for tier in (*price.batch, *price.live))})
        rows += [
            {
                "seller": provider,
                "sold": model,
                "above": above,
                "upto": upto,
                "source": price.source,
                **_amounts("batch", price.batch, above),
                **_amounts("live", price.live, above),
            }
            for above, upto in pairwise([*starts, _ENDLESS])
        ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def cost_sql(kind: str) -> str:
    """SQL of a row's cost: *kind* is batch or live, over token columns and joined price columns.

    Null when a count or a price is unknown or the counts contradict each other. A provider that
    does not tell cached tokens apart bills them like any other.
    """
    cached, write = "coalesce(cached_input_tokens, 0)", "coalesce(cache_write_tokens, 0)"
    hour = "coalesce(cache_write_1h_tokens, 0)"  # among the writes
    plain, short = f"(input_tokens - {cached} - {write})", f"({write} - {hour})"
    counts = (plain, cached, short, hour, "output_tokens")
    parts = [
        f"{kind}_{name}::DECIMAL(24, 9) * {count}::DECIMAL(13, 0)"
        for name, count in zip(_AMOUNTS, counts, strict=True)
    ]
    whole = f"({' + '.join(parts)}) * 0.000001"
    return f"CASE WHEN {plain} >= 0 AND {short} >= 0 THEN TRY_CAST({whole} AS DECIMAL(18, 9)) END"


def unknown_sql(cost: str) -> str:
    """SQL aggregate: rows that cost something, or may have, but whose *cost* is null."""
    return f"count(*) FILTER ({cost} IS NULL AND {MAY_BE_BILLED})"


def total_sql(cost: str) -> str:
    """SQL aggregate: the known part of *cost*; null if that is nothing while some is unknown."""
    return f"coalesce(sum({cost}), CASE WHEN {unknown_sql(cost)} = 0 THEN 0 END)"


def join_sql(rows: str) -> str:
    """SQL of the join of *rows* with the registered table `prices`: one price row each, or none."""
    return (
        f"{rows} LEFT JOIN prices AS price "
        f"ON price.seller = {rows}.provider AND price.sold = {rows}.model "
        f"AND coalesce({rows}.input_tokens, 0) > price.above "
        f"AND coalesce({rows}.input_tokens, 0) <= price.upto"
    )


def _amounts(kind: str, tiers: Sequence[Tier], above: int) -> dict[str, Decimal | None]:
    held = [tier for tier in tiers if tier.above <= above]
    return {f"{kind}_{name}": getattr(held[-1], name) if held else None for name in _AMOUNTS}
