"""`make bench ROWS=500000`: building requests and collecting results, beside plain baselines.

Every round is a process of its own; the table shows the median of the rounds by time, the largest
peak memory of them, and ratios to ours. Ours also runs once on four times the rows: its memory
should not grow with them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import build, collect
from benchmarks.measuring import Measured, printed

CONTESTS = {contest.name: contest for contest in (build.CONTEST, collect.CONTEST)}
GROWTH = 4
OURS = "ours"


def main() -> None:
    """Measure both ways and print a table each."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--rows", type=int, default=500_000)
    said.add_argument("--rounds", type=int, default=3)
    said.add_argument("--work", type=Path, default=Path("data/bench"))
    said.add_argument("--only", choices=CONTESTS, help="one of the two")
    said.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = said.parse_args()
    if options.worker:
        contest, name = options.worker
        printed(CONTESTS[contest].run(name, options.rows, options.work))
        return
    for name in [options.only] if options.only else CONTESTS:
        _compare(name, options.rows, options.work / name, rounds=options.rounds)


def _compare(name: str, rows: int, work: Path, *, rounds: int) -> None:
    out, contest = Console(highlight=False), CONTESTS[name]
    contest.prepare(rows, work)
    found = {one: contest.measured(one, rows, work, rounds=rounds) for one in contest.contestants}
    out.print(_table(contest.title, found))
    contest.prepare(GROWTH * rows, work)
    larger = contest.measured(OURS, GROWTH * rows, work, rounds=1)
    grown = larger.peak_mb / found[OURS].peak_mb - 1
    out.print(
        f"ours at {larger.rows:,} rows: {larger.seconds:.2f} s, "
        f"{larger.peak_mb} MB peak ({grown:+.0%})\n"
    )


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
