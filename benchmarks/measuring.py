"""How a contestant is measured: each round in a process of its own, the median of them by time."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import duckdb

Contestant: TypeAlias = Callable[[Path, Path, int], int]
"""(source, work folder, rows) -> bytes written."""
_WARM = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """One contestant's rounds: median seconds, the largest resident size of any process."""

    name: str
    seconds: float
    rows: int
    bytes: int
    peak_mb: int


@dataclass(frozen=True, slots=True)
class Contest:
    """Contestants that do the same work from the same *source*, written once by *generate*."""

    name: str
    title: str
    contestants: Mapping[str, Contestant]
    generate: Callable[[int, Path], None]
    source: str  # the source's name, with {rows}

    def prepare(self, rows: int, work: Path) -> None:
        """Write the source, and a small one to warm up on."""
        for number in (_WARM, rows):
            self.generate(number, work / self.source.format(rows=number))

    def measured(self, name: str, rows: int, work: Path, *, rounds: int) -> Measured:
        """The contestant's rounds as one."""
        found = [self._round(name, rows, work) for _ in range(rounds)]
        middle = median(each.seconds for each in found)
        peak = max(each.peak_mb for each in found)
        return Measured(name, round(middle, 3), rows, found[0].bytes, peak)

    def run(self, name: str, rows: int, work: Path) -> Measured:
        """One round, here: first a small one, for imports and first touches are not compared."""
        contestant = self.contestants[name]
        with_warmth = work / "warm"
        with_warmth.mkdir(exist_ok=True)
        contestant(work / self.source.format(rows=_WARM), with_warmth, _WARM)
        started = time.perf_counter()
        size = contestant(work / self.source.format(rows=rows), work / "round", rows)
        seconds = time.perf_counter() - started
        return Measured(name, round(seconds, 3), rows, size, _peak_mb())

    def _round(self, name: str, rows: int, work: Path) -> Measured:
        for left in ("round", "warm"):
            shutil.rmtree(work / left, ignore_errors=True)
        (work / "round").mkdir()
        worker = ["--worker", self.name, name, "--rows", str(rows), "--work", str(work)]
        done = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-m", "benchmarks", *worker],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _peak_mb() -> int:
    """The largest resident size since this program began.

    getrusage would also count what the parent held when it forked; Linux tells them apart.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024**2  # bytes on macOS


def printed(one: Measured) -> None:
    """What a worker tells its parent."""
    print(json.dumps(asdict(one)))


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
