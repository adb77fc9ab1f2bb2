"""Batches that ran, or may have, and whose answers are in no result: they are billed too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from batch_pipeline.escaping import markdown
from batch_pipeline.stages.bill.attempts import BillLine


@dataclass(frozen=True, slots=True)
class Beside:
    """A batch that ran beside a shard's own, or was given up; *rows* of each partition at most."""

    batch_id: str
    provider: str
    model: str
    status: str
    completed: int  # as last seen
    rows: Mapping[str, int] = field(default_factory=dict)

    def of(self, partitions: Collection[str]) -> Beside:
        """The same with the rows of these partitions alone."""
        return replace(self, rows={n: rows for n, rows in self.rows.items() if n in partitions})


def lines(batches: Iterable[Beside], partitions: Iterable[str]) -> list[BillLine]:
    """What nobody knows the cost of, per partition: every row that may have been billed."""
    wanted = set(partitions)
    return [
        BillLine(
            partition=partition,
            provider=batch.provider,
            model=batch.model,
            attempts=rows,
            unknown_cost=rows,
            cost=None,
            live_cost=None,
            saved=None,
            price_source="unknown",
        )
        for batch in batches
        for partition, rows in batch.rows.items()
        if partition in wanted
    ]


def told(batches: Sequence[Beside], shown: Callable[[str], str] = markdown) -> str:
    """What a person should know of them; nothing where there are none."""
    if not batches:
        return ""
    rows = sum(sum(batch.rows.values()) for batch in batches)
    names = ", ".join(
        f"{shown(batch.batch_id)} ({shown(batch.status)}, {batch.completed:,} answered)"
        for batch in batches[:10]
    )
    return (
        f"{len(batches):,} duplicate or lost batches ran beside those of the results: {names}. Up "
        f"to {rows:,} rows of theirs are on the provider's bill, at a cost that nobody told us."
    )
