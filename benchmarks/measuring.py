"""What is measured and how: every round in a process of its own, our tree and another in turn.

A file of this package that ends in `CONTEST = Contest(...)` or `CONTEST = Figures(...)`, named as
its contest is and listed in `__main__`, is measured: see `Figures` for how little it takes.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import duckdb

ROOT = Path(__file__).resolve().parents[1]
OURS, BEFORE = "ours", "before"
Contestant: TypeAlias = Callable[[Path, Path, int], int]
"""(source, work folder, rows) -> bytes written."""
_WARM = 1000


@dataclass(frozen=True, slots=True)
class Tree:
    """Code to measure: ours, or another commit's, checked out."""

    name: str
    path: Path
    shown: str


HERE = Tree(OURS, ROOT, OURS)


@dataclass(frozen=True, slots=True)
class Measured:
    """One round, or the median of several by each time; the largest resident size of any."""

    seconds: float
    cpu: float  # of the process and of its children that it waited for, all threads
    peak_mb: int
    bytes: int = 0
    counted: Mapping[str, float] = field(default_factory=dict)  # what else there is to tell


Take: TypeAlias = "Callable[[Path], Measured | Mapping[str, Measured]]"
"""(an empty work folder, whose parent stays) -> a figure, or several by name: see `Stopwatch`."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Contestants that do the same work from the same *source*, written once by *generate*.

    They may use the insides of their tree: another commit is measured by its own file of this name.
    """

    name: str
    title: str
    contestants: Mapping[str, Contestant]
    generate: Callable[[int, Path], None]
    source: str  # the source's name, with {rows}

    def prepare(self, rows: int, work: Path) -> None:
        """Write the source, and a small one to warm up on."""
        for number in (_WARM, rows):
            self.generate(number, work / self.source.format(rows=number))

    def round(self, name: str, rows: int, work: Path) -> Measured:
        """One round, here: first a small one, for imports and first touches are not compared."""
        return contested(self.contestants[name], self.source, rows, work)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of ours, by the names of their takes, beside the same of the commit before.

    The functions are this tree's and `batch_pipeline` may be another commit's: they use what both
    have, the command line and `Pipeline`.
    """

    name: str
    title: str
    takes: Mapping[str, Take]
    by: Literal["seconds", "cpu"] = "cpu"  # what is compared
    before: Mapping[str, Take | None] = field(default_factory=dict)
    """Figures that are taken in another way at the commit before; None: not at all."""
    rounds: Mapping[str, int] = field(default_factory=dict)
    """Figures of which fewer rounds are enough, for one takes minutes."""

    def take(self, name: str, tree: str) -> Take | None:
        """How a figure is taken from a tree."""
        return self.takes[name] if tree == OURS else self.before.get(name, self.takes[name])


class Stopwatch:
    """Time from its making on; make it when all is set up, read it before anything is taken down.

    A process that runs beside (a simulator) counts nothing until it is waited for.
    """

    def __init__(self) -> None:
        self._cpu, self._seconds = _cpu(), time.perf_counter()

    def read(self, *, each: float = 1, **counted: float) -> Measured:
        """What went by, for *each* one of as many."""
        seconds, cpu = time.perf_counter() - self._seconds, _cpu() - self._cpu
        return Measured(seconds / each, cpu / each, peak_mb(), counted=counted)


def contested(contestant: Contestant, source: str, rows: int, work: Path) -> Measured:
    """A round of a contestant, of whichever tree it is."""
    (work / "warm").mkdir()
    contestant(work.parent / source.format(rows=_WARM), work / "warm", _WARM)
    watch = Stopwatch()
    size = contestant(work.parent / source.format(rows=rows), work, rows)
    read = watch.read()
    return Measured(read.seconds, read.cpu, read.peak_mb, size)


def round_of(
    contest: Contest | Figures, name: str, tree: Tree, *, rows: int, work: Path
) -> dict[str, Measured]:
    """One round in a process of its own, whose `batch_pipeline` is the tree's.

    A take of several figures gives each by its own name; all else is under "".
    """
    into = work / "round"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    asked = [contest.name, name, tree.name, str(tree.path), str(rows), str(into)]
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-P", str(ROOT / "benchmarks" / "worker.py"), *asked],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tree.path)},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: Measured(**one) for name, one in found.items()}


def child(
    words: Sequence[str],
    work: Path,
    env: Mapping[str, str],
    *,
    until: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> Measured:
    """A program's own time and memory, until it ends well, or is ended when *until* returns."""
    said = work / "said"
    began = time.perf_counter()
    with said.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - the benchmark's own words
            words,
            cwd=work,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    if until is not None:
        until(process)
        seconds = time.perf_counter() - began
        process.kill()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if until is None:
        seconds = time.perf_counter() - began
        if status != 0:
            raise SystemExit(f"{said.read_text()}\n{words} failed: no measurement.")
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return Measured(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss // unit)


def middle(rounds: Iterable[Measured]) -> Measured:
    """Several rounds as one."""
    every = list(rounds)
    return Measured(
        median(each.seconds for each in every),
        median(each.cpu for each in every),
        max(each.peak_mb for each in every),
        every[0].bytes,
        {name: median(each.counted[name] for each in every) for name in every[0].counted},
    )


def _cpu() -> float:
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_mb() -> int:
    """The largest resident size since this program began, or of a child that it waited for.

    getrusage would also count what the parent held when it forked; Linux tells them apart.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return max(int(fields["VmHWM"].split()[0]), children) // 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, children) // 1024**2  # bytes on macOS


def printed(found: Measured | Mapping[str, Measured]) -> None:
    """What a worker tells its parent."""
    several = {"": found} if isinstance(found, Measured) else found
    print(json.dumps({name: asdict(one) for name, one in several.items()}))


def connected(work: Path, *, memory: str, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection that spills into the work folder."""
    import duckdb  # noqa: PLC0415 - a contestant's process loads what it needs, no more

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "threads": threads,
        "temp_directory": str(work / "scratch"),
    }
    con = duckdb.connect(config=config)
    con.execute("SET enable_progress_bar = false")  # it would print beside our JSON
    return con


def check(written: int, rows: int) -> None:
    """No measurement of a contestant that lost rows."""
    if written != rows:
        raise SystemExit(f"{written:,} rows came out of {rows:,}: no measurement.")
