"""What some outcomes tell of others of the same content: failures, tokens and cost per row."""
# ruff: noqa: S608 - queries are built from quoted paths

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import duckdb

from batch_pipeline.model import FailureKind
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.sql import cost_sql, join_sql, priced
from batch_pipeline.stages.sql import literal, outcome_rows


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts, and means over rows whose tokens are known; None where none are.

    `cost_per_row` is in US dollars, as these rows are billed; None too if that of one is unknown.
    """

    requests: int
    by_failure: dict[str, int] = field(default_factory=dict)
    mean_input_tokens: float | None = None
    mean_output_tokens: float | None = None
    cost_per_row: Decimal | None = None


def sample(con: duckdb.DuckDBPyConnection, outcomes: Sequence[Path], prices: Prices) -> Sample:
    """Read the *outcomes* files; a row that was withheld did not run and says nothing."""
    rows = outcome_rows(outcomes)
    ran = f"{rows} WHERE failure IS DISTINCT FROM {literal(FailureKind.WITHHELD.value)}"
    kinds = con.execute(f"SELECT failure, count(*) FROM {ran} GROUP BY 1 ORDER BY 1").fetchall()
    known = f"FROM {rows} WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL"
    with priced(con, prices, rows):
        count, read, written, costs, total = con.execute(
            f"""
            WITH rows AS ({known}), costs AS (
                SELECT rows.*, {cost_sql("paid")} AS cost FROM {join_sql("rows")}
            )
            SELECT count(*), avg(input_tokens), avg(output_tokens), count(cost), sum(cost)
            FROM costs
            """
        ).fetchall()[0]
    return Sample(
        requests=sum(count for _, count in kinds),
        by_failure={kind: count for kind, count in kinds if kind is not None},
        mean_input_tokens=read,
        mean_output_tokens=written,
        cost_per_row=total / count if count and costs == count else None,
    )
