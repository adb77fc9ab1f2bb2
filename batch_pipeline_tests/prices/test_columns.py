from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.prices import sql as columns
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.overrides import Override

ON = datetime(2026, 11, 21, tzinfo=UTC)
COUNTS = st.none() | st.integers(0, 10**7)


def test_every_range_of_input_tokens_has_one_row() -> None:
    table = columns.table(Prices(ON), [("openai", "gpt-5.4"), ("openai", "gpt-5.4")])
    assert table.schema == columns.SCHEMA
    served = table.filter(pc.equal(table["served"], "batch"))
    assert served["above"].to_pylist() == [-1, 272_000]
    assert served["upto"].to_pylist() == [272_000, 2**62]
    assert served["paid_input"].to_pylist() == [Decimal("1.25"), Decimal("2.5")]


def test_an_unknown_model_has_rows_that_say_so() -> None:
    for row in columns.table(Prices(ON), [("openai", "gpt-nope")]).to_pylist():
        assert (row["source"], row["paid_input"], row["live_output"]) == ("unknown", None, None)


NAMES = ("input", "cached_input", "cache_write", "cache_write_1h", "output")
PRICE = Override(
    input=Decimal("0.125"),
    cached_read=Decimal("0.0125"),
    cache_write=Decimal("0.2"),
    cache_write_1h=Decimal("0.32"),
    output=Decimal("1.000000001"),
    as_of=ON.date(),
    source="test",
)


def _costs(rows: list[tuple[int | None, ...]]) -> list[Decimal | None]:
    """The cost of each row of token counts, in the order of NAMES."""
    counts = {
        f"{name}_tokens": pa.array([row[place] for row in rows], pa.int64())
        for place, name in enumerate(NAMES)
    }
    with duckdb.connect() as con:
        con.register("prices", columns.table(Prices(ON, {"m": PRICE}), [("p", "m")]))
        nothing = pa.array([None] * len(rows), pa.string())
        models = {
            "provider": ["p"] * len(rows),
            "model": ["m"] * len(rows),
            "service_tier": nothing,
            "extras": nothing,
        }
        con.register("rows", pa.table({**models, **counts, "ord": list(range(len(rows)))}))
        query = (
            f"SELECT {columns.cost_sql('paid')} FROM {columns.join_sql('rows')} "  # noqa: S608 - ours
            "ORDER BY ord"
        )
        return [cost for (cost,) in con.execute(query).fetchall()]


def _exact(row: tuple[int | None, ...]) -> Decimal | None:
    prompt, cached, write, hour, output = row
    cached, write, hour = cached or 0, write or 0, hour or 0
    if prompt is None or output is None or prompt < cached + write or write < hour:
        return None
    dollars = (
        (prompt - cached - write) * PRICE.input
        + cached * Decimal("0.0125")
        + (write - hour) * Decimal("0.2")
        + hour * Decimal("0.32")
        + output * PRICE.output
    )
    return (dollars / 10**6).quantize(Decimal("1e-9"), rounding="ROUND_HALF_UP")


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS), min_size=1, max_size=200))
def test_a_cost_in_columns_is_the_exact_sum_rounded_once(
    rows: list[tuple[int | None, ...]],
) -> None:
    assert _costs(rows) == [_exact(row) for row in rows]
