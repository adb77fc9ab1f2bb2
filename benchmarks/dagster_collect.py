"""Dagster's runs over a year of small days: one submit run, one collect run, events included.

365 daily partitions of 20 rows, one model, one batch; a real instance with SQLite storage. What is
counted is this process's processor time, from the launch of a run to its end; beside it what the
same work takes without Dagster, in a store of its own.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from batch_pipeline.orchestration.local import LocalDagster
from benchmarks.location import Simulated, dagster, job, opened, simulated, write_rows

_ROWS = 20
_LATER = 61


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run took, and how many events it left."""

    name: str
    seconds: float
    processor: float
    partitions: int
    events: int

    def __str__(self) -> str:
        return (
            f"  {self.name:24} {self.seconds:7.2f} s, processor {self.processor:7.2f} s = "
            f"{self.processor / self.partitions:.4f} s a partition, "
            f"{self.events / self.partitions:.1f} events a partition"
        )


def main() -> None:
    """Measure and print."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--work", type=Path, default=Path("data/bench/dagster"))
    said.add_argument("--partitions", type=int, nargs="*", default=[365])
    said.add_argument("--plain", action="store_true", help="also without Dagster")
    said.add_argument("--profile", choices=["submit", "collect"], help="the top of its profile")
    options = said.parse_args()
    for days in options.partitions:
        print(f"{days} partitions of {_ROWS} rows")
        for one in with_dagster(_fresh(options.work), days, profiled=options.profile):
            print(one)
        if options.plain:
            for one in without(_fresh(options.work), days):
                print(one)


def with_dagster(folder: Path, days: int, *, profiled: str | None = None) -> Iterator[Spent]:
    """`<job>_submit` over all days, then `<job>_collect` over all days."""
    asked = job(folder, provider="openai", days=days)
    write_rows(folder, days=days, rows=_ROWS)
    with simulated(folder / "simulator") as sim, dagster(folder, sim, asked) as (defs, instance):
        local = LocalDagster(defs, instance, sleep=sim.wait)
        _warmed(folder / "warm", sim)
        names = _names(folder, sim, days)
        with _spent("submit", days, instance, profiled=profiled) as found:
            _succeeded(local.submit(asked.name, names))
        yield found[0]
        sim.finish()
        sim.wait(_LATER)
        ticked = local.tick(f"{asked.name}_watch", launch=False)
        requests = list(ticked.run_requests or [])
        if len(requests) != 1:
            raise SystemExit(f"{len(requests)} runs were asked for: no measurement.")
        with _spent("collect", days, instance, profiled=profiled) as found:
            _succeeded(local.launch(requests[0]))
        yield found[0]


def without(folder: Path, days: int) -> Iterator[Spent]:
    """The same verbs without Dagster."""
    asked = job(folder, provider="openai", days=days)
    write_rows(folder, days=days, rows=_ROWS)
    with simulated(folder / "simulator") as sim:
        _warmed(folder / "warm", sim)
        with opened(folder, sim, asked) as shell:
            names = shell.partitions()
            with _spent("build and send, no Dagster", days) as found:
                shell.build(names)
                shell.resend(names)
            yield found[0]
            sim.finish()
            sim.wait(_LATER)
            shell.watch()
            with _spent("collect, no Dagster", days) as found:
                shell.collect(names)
                shell.reports(names)
            yield found[0]


def _warmed(folder: Path, sim: Simulated) -> None:
    """The whole loop over two days, by Dagster: imports and first touches are not compared."""
    folder.mkdir()
    asked = job(folder, provider="openai", days=2, name="warm")
    write_rows(folder, days=2, rows=_ROWS)
    with dagster(folder, sim, asked) as (defs, instance):
        local = LocalDagster(defs, instance, sleep=sim.wait)
        _succeeded(local.submit("warm", _names(folder, sim, 2)))
        sim.finish()
        sim.wait(_LATER)
        for request in local.tick("warm_watch", launch=False).run_requests or []:
            _succeeded(local.launch(request))


def _names(folder: Path, sim: Simulated, days: int) -> list[str]:
    with opened(folder, sim, job(folder, provider="openai", days=days)) as shell:
        return shell.partitions()


def _succeeded(run: dg.ExecuteInProcessResult) -> None:
    if not run.success:
        raise SystemExit("A run failed: no measurement.")


@contextmanager
def _spent(
    name: str, days: int, instance: dg.DagsterInstance | None = None, *, profiled: str | None = None
) -> Iterator[list[Spent]]:
    found: list[Spent] = []
    profile = cProfile.Profile()
    before = _events(instance)
    started, processor = time.perf_counter(), time.process_time()
    if profiled == name:
        profile.enable()
    yield found
    profile.disable()
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    found.append(Spent(name, seconds, processor, days, _events(instance) - before))
    if profiled == name:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(70)


def _events(instance: dg.DagsterInstance | None) -> int:
    if instance is None:
        return 0
    return sum(len(instance.all_logs(run.run_id)) for run in instance.get_runs())


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder.resolve()


if __name__ == "__main__":
    main()
