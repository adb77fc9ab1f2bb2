"""`make bench ROWS=500000`: building requests and collecting results, beside plain baselines.

Every round is a process of its own; the table shows the median of the rounds by time, the largest
peak memory of them, and ratios to ours. Ours also runs once on four times the rows: its memory
should not grow with them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import build, collect
from benchmarks.build import Measured

GROWTH = 4
OURS = "ours"
_Measure = Callable[..., Measured]


def main() -> None:
    """Measure both ways and print a table each."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--rows", type=int, default=500_000)
    said.add_argument("--rounds", type=int, default=3)
    said.add_argument("--work", type=Path, default=Path("data/bench"))
    options = said.parse_args()
    out = Console(highlight=False)
    for title, room in (("Building requests", build), ("Collecting results", collect)):
        work = options.work / room.__name__.rpartition(".")[2]
        found = _contest(room, options.rows, work, rounds=options.rounds)
        larger = _contest(room, GROWTH * options.rows, work, rounds=1, only=[OURS])
        out.print(_table(title, found))
        grown = larger[OURS].peak_mb / found[OURS].peak_mb - 1
        out.print(
            f"ours at {larger[OURS].rows:,} rows: {larger[OURS].seconds:.2f} s, "
            f"{larger[OURS].peak_mb} MB peak ({grown:+.0%})\n"
        )


def _contest(
    room: object, rows: int, work: Path, *, rounds: int, only: list[str] | None = None
) -> dict[str, Measured]:
    module = build if room is build else collect
    module.prepare(rows, work)
    names = only or list(module.CONTESTANTS)
    return {name: module.measured(name, rows, work, rounds=rounds) for name in names}


def _table(title: str, found: dict[str, Measured]) -> Table:
    ours = found[OURS]
    table = Table(title=f"{title}, {ours.rows:,} rows", title_justify="left", box=None)
    table.add_column("")
    for heading in ("seconds", "rows/s", "MB/s", "peak MB", "times ours"):
        table.add_column(heading, justify="right")
    for name, one in found.items():
        table.add_row(
            name,
            f"{one.seconds:.2f}",
            f"{one.rows / one.seconds:,.0f}",
            f"{one.bytes / one.seconds / 1e6:,.0f}",
            f"{one.peak_mb}",
            f"{one.seconds / ours.seconds:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
