"""`make bench ROWS=500000`: how fast and how large, beside the commit before and baselines.

Every round is a process of its own, and ours, the commit before and the baselines take turns; a
table shows medians of the rounds, the largest peak memory, and ours as a share of each other. Ours
also builds and collects four times the rows once: its memory should not grow with them.
"""

from __future__ import annotations

import argparse
import compileall
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import backfill, before, build, collect, commands, dagster_collect, partitions, tick
from benchmarks.measuring import (
    BEFORE,
    HERE,
    OURS,
    ROOT,
    Contest,
    Figures,
    Measured,
    Tree,
    middle,
    round_of,
)

CONTESTS: dict[str, Contest | Figures] = {
    contest.name: contest
    for contest in (
        build.CONTEST,
        collect.CONTEST,
        commands.CONTEST,
        partitions.CONTEST,
        dagster_collect.CONTEST,
        tick.CONTEST,
        backfill.CONTEST,
    )
}
GROWTH = 4
_WIDTH = 110  # also where it is no terminal


def main() -> None:
    """Measure what is asked for and print a table each."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--rows", type=int, default=500_000, help="to build and to collect")
    said.add_argument("--rounds", type=int, default=3)
    said.add_argument("--work", type=Path, default=ROOT / "data" / "bench")
    said.add_argument("--only", choices=CONTESTS, nargs="+", help="some of the contests")
    said.add_argument("--before", default=before.COMMIT, help="a commit, or none")
    options = said.parse_args()
    work, out = options.work.resolve(), Console(highlight=False, width=_WIDTH)
    other = None if options.before == before.NONE else before.checked_out(options.before, work)
    if other is None and options.before != before.NONE:
        out.print(f"No column of the commit before: git or its {options.before} is not here.\n")
    compileall.compile_dir(ROOT / "batch_pipeline", quiet=2)
    for name in options.only or CONTESTS:
        contest = CONTESTS[name]
        if isinstance(contest, Contest):
            _compete(out, contest, options.rows, work / name, rounds=options.rounds, other=other)
        else:
            _compare(out, contest, work / name, rounds=options.rounds, other=other)


def _compete(
    out: Console, contest: Contest, rows: int, work: Path, *, rounds: int, other: Tree | None
) -> None:
    contest.prepare(rows, work)
    entries = [(name, name, HERE) for name in contest.contestants]
    if other is not None:
        entries.insert(1, (other.shown, OURS, other))
    found: dict[str, list[Measured]] = {label: [] for label, _, _ in entries}
    for _ in range(rounds):
        for label, name, tree in entries:
            found[label].append(round_of(contest, name, tree, rows=rows, work=work)[""])
    medians = {label: middle(taken) for label, taken in found.items()}
    out.print(_contested(f"{contest.title}, {rows:,} rows", rows, medians))
    contest.prepare(GROWTH * rows, work)
    larger = round_of(contest, OURS, HERE, rows=GROWTH * rows, work=work)[""]
    grown = larger.peak_mb / medians[OURS].peak_mb - 1
    out.print(
        f"ours at {GROWTH * rows:,} rows: {larger.seconds:.2f} s, "
        f"{larger.peak_mb} MB peak ({grown:+.0%})\n"
    )


def _contested(title: str, rows: int, found: dict[str, Measured]) -> Table:
    ours, table = found[OURS], _table(title)
    for heading in ("seconds", "CPU s", "rows/s", "MB/s", "peak MB", "ours / this", "in CPU"):
        table.add_column(heading, justify="right")
    for name, one in found.items():
        table.add_row(
            name,
            f"{one.seconds:.2f}",
            f"{one.cpu:.2f}",
            f"{rows / one.seconds:,.0f}",
            f"{one.bytes / one.seconds / 1e6:,.0f}",
            f"{one.peak_mb}",
            f"{ours.seconds / one.seconds:.2f}",
            f"{ours.cpu / one.cpu:.2f}",
        )
    return table


def _compare(
    out: Console, contest: Figures, work: Path, *, rounds: int, other: Tree | None
) -> None:
    table = _table(contest.title)
    for heading in ("seconds", "CPU s", "peak MB", f"{BEFORE}: s", "CPU s", "MB", "ours / before"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for name in contest.takes:
        trees = [HERE, *([other] if other and contest.take(name, other.name) else [])]
        taken: dict[str, list[dict[str, Measured]]] = {tree.name: [] for tree in trees}
        for _ in range(min(rounds, contest.rounds.get(name, rounds))):
            for tree in trees:
                own = work / tree.name  # what one tree keeps is not for the other
                taken[tree.name].append(round_of(contest, name, tree, rows=0, work=own))
        for part in taken[OURS][0]:
            found = {tree: middle(one[part] for one in of) for tree, of in taken.items()}
            label = f"{name}: {part}" if name and part else name or part
            table.add_row(label, *_figures(found, by=contest.by))
    out.print(table, "")


def _figures(found: dict[str, Measured], *, by: str) -> list[str]:
    ours, other = found[OURS], found.get(BEFORE)
    theirs, share = ["", "", ""], ""
    if other is not None:
        theirs = _times(other)
        share = f"{getattr(ours, by) / getattr(other, by):.2f}"
    told = ", ".join(f"{number:,g} {what}" for what, number in ours.counted.items())
    return [*_times(ours), *theirs, share, told]


def _times(one: Measured) -> list[str]:
    return [f"{one.seconds:.3f}", f"{one.cpu:.3f}", f"{one.peak_mb}"]


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    return table


if __name__ == "__main__":
    main()
