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
from batch_pipeline.stages.sql import literal, outcome_rows


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts, and means over rows whose tokens are known; None where none are.

    `tokens` is (provider, model, rows, mean input, cached, written, of it for an hour, output).
    """

    requests: int
    by_failure: dict[str, int] = field(default_factory=dict)
    mean_input_tokens: float | None = None
    mean_output_tokens: float | None = None
    tokens: tuple[tuple[str, str, int, float, float, float, float, float], ...] = ()

    def cost_per_row(self, prices: Prices) -> Decimal | None:
        """US dollars of a row at batch price, its models mixed as here; None if one is unknown."""
        total, rows = Decimal(0), 0
        for provider, model, count, read, cached, written, hour, output in self.tokens:
            tiers = prices.find(provider, model).batch
            if not tiers:
                return None
            tier = next(one for one in reversed(tiers) if one.above < read)
            dollars = (
                tier.input * Decimal(read - cached - written)
                + tier.cached_read * Decimal(cached)
                + tier.cache_write * Decimal(written - hour)
                + tier.cache_write_1h * Decimal(hour)
                + tier.output * Decimal(output)
            )
            total, rows = total + dollars * count / 1_000_000, rows + count
        return total / rows if rows else None


def sample(con: duckdb.DuckDBPyConnection, outcomes: Sequence[Path]) -> Sample:
    """Read the *outcomes* files; a row that was withheld did not run and says nothing."""
    if not outcomes:
        return Sample(0)
    rows = outcome_rows(outcomes)
    ran = f"{rows} WHERE failure IS DISTINCT FROM {literal(FailureKind.WITHHELD.value)}"
    kinds = con.execute(f"SELECT failure, count(*) FROM {ran} GROUP BY 1 ORDER BY 1").fetchall()
    known = f"{rows} WHERE input_tokens IS NOT NULL AND output_tokens IS NOT NULL"
    means = con.execute(f"SELECT avg(input_tokens), avg(output_tokens) FROM {known}").fetchall()[0]
    tokens = con.execute(
        f"""
        SELECT provider, model, count(*), avg(input_tokens), avg(coalesce(cached_input_tokens, 0)),
            avg(coalesce(cache_write_tokens, 0)), avg(coalesce(cache_write_1h_tokens, 0)),
            avg(output_tokens)
        FROM {known} GROUP BY 1, 2 ORDER BY 1, 2
        """
    ).fetchall()
    return Sample(
        requests=sum(count for _, count in kinds),
        by_failure={kind: count for kind, count in kinds if kind is not None},
        mean_input_tokens=means[0],
        mean_output_tokens=means[1],
        tokens=tuple(tokens),
    )
