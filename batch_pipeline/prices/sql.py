"""Prices as a table, and cost as a column: bulk rows are priced by a join and a product.

A row's cost is exact to 9 decimals (a nanodollar), rounded half up once per row, so that the rows
of a table add up to its total. Rows have the token counts, `provider`, `model`, `service_tier` and
`extras`, as outcomes do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import duckdb
import pyarrow as pa

from batch_pipeline.prices.find import Price, Prices, Served, Tier

Kind: TypeAlias = Literal["paid", "live"]
"""The cost of a row as it was served, or of the same outside a batch."""

_DOLLARS = pa.decimal128(18, 9)
_EACH = pa.map_(pa.string(), pa.decimal128(18, 15))
_AMOUNTS = ("input", "cached_read", "cache_write", "cache_write_1h", "output")
_ENDLESS = 2**62
_MILLION = Decimal(1_000_000)
_UNHEARD = "other"  # served in a way we know no price of

SCHEMA = pa.schema(
    [
        pa.field("seller", pa.string()),
        pa.field("sold", pa.string()),
        pa.field("served", pa.string()),
        pa.field("above", pa.int64()),
        pa.field("upto", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("as_of", pa.date32()),
        pa.field("by_page", pa.bool_()),
        pa.field("us_inference", pa.decimal128(4, 3)),
        *(pa.field(f"paid_{name}", _DOLLARS) for name in _AMOUNTS),
        *(pa.field(f"live_{name}", _DOLLARS) for name in _AMOUNTS),
        pa.field("paid_each", _EACH),
        pa.field("live_each", _EACH),
    ]
)
"""A row per model, way of serving and range of input tokens; seller is the provider."""

MAY_BE_BILLED = (
    "(provider IS NOT NULL AND (input_tokens IS NOT NULL OR failure IS NULL OR failure IN "
    "('truncated', 'refused', 'invalid', 'empty', 'missing', 'unreadable') "
    "OR (failure = 'cancelled' AND coalesce(error_code, '') IN ('', 'batch_cancelled'))))"
)
"""SQL: rows that were run, or may have been; without a cost, theirs is unknown and not zero.

A cancelled batch has been seen to report finished rows as not executed: those were billed.
"""

UNKNOWN_USAGE = (
    "(failure IS NULL OR failure IN ('truncated', 'refused', 'invalid', 'empty')) "
    "AND (input_tokens IS NULL OR output_tokens IS NULL) "
    "AND NOT coalesce(extras LIKE '%ocr_%pages%', false)"
)
"""SQL: rows that were answered without a count of what is billed for them."""

_SERVED = f"""CASE coalesce(lower(service_tier), 'batch')
    WHEN 'batch' THEN 'batch' WHEN 'default' THEN 'standard' WHEN 'standard' THEN 'standard'
    WHEN 'flex' THEN 'flex' WHEN 'priority' THEN 'priority' WHEN 'fast' THEN 'fast'
    ELSE '{_UNHEARD}' END"""
_COUNTED = "TRY_CAST(extras AS JSON)::MAP(VARCHAR, BIGINT)"


def table(prices: Prices, models: Iterable[tuple[str, str]]) -> pa.Table:
    """The prices of the distinct (provider, model) pairs *models*; null amounts are unknown."""
    rows = []
    for provider, model in sorted(set(models)):
        price = prices.find(provider, model)
        for served in get_args(Served):
            rows += _rows(provider, model, price, served, price.tiers(served))
        rows += _rows(provider, model, price, _UNHEARD, ())
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@contextmanager
def priced(con: duckdb.DuckDBPyConnection, prices: Prices, rows: str) -> Iterator[None]:
    """The table `prices` of the models in *rows*, for as long as they are priced."""
    models = con.execute(
        f"SELECT DISTINCT provider, model FROM {rows} WHERE model IS NOT NULL"  # noqa: S608 - ours
    ).fetchall()
    con.register("prices", table(prices, models))
    try:
        yield
    finally:
        con.unregister("prices")


def cost_sql(kind: Kind) -> str:
    """SQL of a row's cost over its columns and the joined price columns.

    Null when a count or a price is unknown or the counts contradict each other. A provider that
    does not tell cached tokens apart bills them like any other.
    """
    each = f"price.{kind}_each"
    extras = (
        f"TRY_CAST(list_sum(list_transform(map_entries({_COUNTED}), "
        f"lambda used: used.value::DECIMAL(15, 0) * {each}[used.key])) AS DECIMAL(28, 15))"
    )
    tokens = f"({_tokens_sql(kind)})"
    served_there = (
        f"CASE WHEN extras LIKE '%\"us_inference\"%' "
        f"THEN TRY_CAST({tokens} AS DECIMAL(28, 15)) * price.us_inference ELSE {tokens} END"
    )
    return f"""CASE WHEN extras IS NULL THEN TRY_CAST({tokens} AS DECIMAL(18, 9))
        WHEN len({_unpriced(kind)}) = 0 THEN TRY_CAST(
            TRY_CAST(CASE WHEN price.by_page AND input_tokens IS NULL THEN 0
                ELSE {served_there} END AS DECIMAL(32, 18)) + {extras} AS DECIMAL(18, 9)) END"""


def unknown_reason_sql(cost: str) -> str:
    """SQL of why a row's *cost* is not known; null where it is, or there is none."""
    used = (
        f"array_to_string(list_transform({_unpriced('paid')}, "
        "lambda name: replace(name, '_', ' ') || ': no dated price'), ', ')"
    )
    return f"""CASE WHEN {cost} IS NOT NULL OR NOT {MAY_BE_BILLED} THEN NULL
        WHEN failure IN ('missing', 'unreadable', 'cancelled') AND input_tokens IS NULL
            THEN 'nobody knows whether it was run'
        WHEN price.sold IS NULL OR (price.live_input IS NULL AND price.paid_input IS NULL
            AND NOT price.by_page) THEN 'no price for the model'
        WHEN price.source = 'unknown' THEN
            'served as ' || lower(service_tier) || ': no dated price'
        WHEN extras IS NOT NULL AND len({_unpriced("paid")}) > 0 THEN {used}
        WHEN failure = 'refused' AND input_tokens IS NULL
            THEN 'withheld by a filter: perhaps billed'
        WHEN input_tokens IS NULL OR output_tokens IS NULL THEN 'no count of tokens'
        ELSE 'the counts of tokens contradict each other' END"""


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
        f"AND price.served = {_SERVED} "
        f"AND coalesce({rows}.input_tokens, 0) > price.above "
        f"AND coalesce({rows}.input_tokens, 0) <= price.upto"
    )


def _tokens_sql(kind: Kind) -> str:
    """What the tokens cost, unrounded; null for counts that contradict each other."""
    cached, write = "coalesce(cached_input_tokens, 0)", "coalesce(cache_write_tokens, 0)"
    hour = "coalesce(cache_write_1h_tokens, 0)"  # among the writes
    plain, short = f"(input_tokens - {cached} - {write})", f"({write} - {hour})"
    counts = (plain, cached, short, hour, "output_tokens")
    parts = [
        f"price.{kind}_{name}::DECIMAL(24, 9) * {count}::DECIMAL(13, 0)"
        for name, count in zip(_AMOUNTS, counts, strict=True)
    ]
    whole = f"({' + '.join(parts)}) * 0.000001"
    return f"CASE WHEN {plain} >= 0 AND {short} >= 0 THEN {whole} END"


def _unpriced(kind: Kind) -> str:
    """What a row used that nobody here knows the price of, as a list."""
    return f"list_filter(map_keys({_COUNTED}), lambda name: price.{kind}_each[name] IS NULL)"


def _rows(
    provider: str, model: str, price: Price, served: str, tiers: Sequence[Tier]
) -> list[dict[str, object]]:
    starts = sorted({-1, *(tier.above for tier in (*tiers, *price.live))})
    paid_each = price.each if served == "batch" else price.live_each
    return [
        {
            "seller": provider,
            "sold": model,
            "served": served,
            "above": above,
            "upto": upto,
            "source": _source(price, served, tiers),
            "as_of": price.as_of,
            "by_page": price.by_page,
            "us_inference": price.us_inference,
            **_amounts("paid", tiers, above),
            **_amounts("live", price.live, above),
            "paid_each": _each(paid_each, price, tiers, above),
            "live_each": _each(price.live_each, price, price.live, above),
        }
        for above, upto in pairwise([*starts, _ENDLESS])
    ]


def _source(price: Price, served: str, tiers: Sequence[Tier]) -> str:
    if served == "batch" or price.by_page:
        return price.source
    if not tiers:
        return "unknown"
    return price.source if price.source in {"override", "own_table"} else f"{served}_price"


def _amounts(kind: str, tiers: Sequence[Tier], above: int) -> dict[str, Decimal | None]:
    held = [tier for tier in tiers if tier.above <= above]
    return {f"{kind}_{name}": getattr(held[-1], name) if held else None for name in _AMOUNTS}


def _each(
    each: Mapping[str, Decimal], price: Price, tiers: Sequence[Tier], above: int
) -> list[tuple[str, Decimal]]:
    """Dollars per use; of audio, what a token costs more than one of text, which it is among."""
    found = dict(each)
    held = [tier for tier in tiers if tier.above <= above][-1:]
    for tier in held:
        for name, plain in (("audio_input", tier.input), ("audio_output", tier.output)):
            dear = getattr(tier, name)
            if dear is not None:
                found.setdefault(f"{name}_tokens", (dear - plain) / _MILLION)
    if price.us_inference is not None:
        found["us_inference"] = Decimal(0)  # a factor of the tokens, not a use
    return sorted(found.items())


COSTS = f"""{cost_sql("paid")} AS cost_usd, {cost_sql("live")} AS live_cost_usd,
    {unknown_reason_sql("cost_usd")} AS cost_unknown"""
"""SQL: what a row costs and why nobody knows, over `join_sql`: of results, bill and estimates."""
