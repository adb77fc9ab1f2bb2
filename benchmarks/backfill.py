"""A year of small days backfilled as one run of the submit job, beside thirty days of a run each.

Days of fifty rows, one model; a real instance with SQLite storage. Counted are the runs from their
launch to their end in this process, with all of their events, and all that the watch asks for until
every day is done. A launcher starts a process for each run besides: that is measured once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg

from batch_pipeline.orchestration.local import LocalDagster
from batch_pipeline.policy.lifecycle import Step
from benchmarks.location import Simulated, dagster, job, opened, simulated, write_rows
from benchmarks.measuring import ROOT, Figures, Measured, Stopwatch, child

_ROWS = 50
_LATER = 61
_DAYS, _DAYS_ALONE = 365, 30
_MOST_RUNS = 10
_TIMES_LESS = 15


def _compared(work: Path) -> Mapping[str, Measured]:
    with simulated(work / "simulator") as sim:
        _backfilled(work / "warm", sim, days=2, runs=1)  # imports and first touches
        together = _backfilled(work / "together", sim, days=_DAYS, runs=1)
        alone = _backfilled(work / "alone", sim, days=_DAYS_ALONE, runs=_DAYS_ALONE)
        started = _started(work)
    if together["all"].counted["runs"] > _MOST_RUNS:
        raise SystemExit(f"{together['all'].counted['runs']:g} runs of one backfill: too many.")
    one, many = together["submit"].seconds, alone["submit"].seconds
    times = (many + started.seconds) / (one + started.seconds / _DAYS)
    if times < _TIMES_LESS:
        raise SystemExit(f"One run is only {times:.1f} times less work a partition than many.")
    named = {f"{_DAYS} days, one run": together, f"{_DAYS_ALONE} days, a run each": alone}
    rows = {f"{name}: {what}": one for name, found in named.items() for what, one in found.items()}
    start = replace(started, counted={"times less a day": times})
    return {**rows, "a run's process starts": start}


def _started(work: Path) -> Measured:
    """A process that has loaded what a run of Dagster has before it begins."""
    load = "import dagster, benchmarks.location, batch_pipeline.orchestration.local"
    return child([sys.executable, "-c", load], work, {"PYTHONPATH": str(ROOT)})


def _backfilled(folder: Path, sim: Simulated, *, days: int, runs: int) -> Mapping[str, Measured]:
    """All days sent by so many runs, and what the watch does then; per partition."""
    folder.mkdir()
    asked = job(folder, provider="openai", days=days, name=folder.name)
    write_rows(folder, days=days, rows=_ROWS)
    with opened(folder, sim, asked) as shell:
        names = shell.partitions()
    sim.forget()
    with dagster(folder, sim, asked) as (defs, instance):
        local = LocalDagster(defs, instance, sleep=sim.wait)
        watch = Stopwatch()
        _sent(local, asked.name, names, runs=runs)
        sent = watch.read(each=days, runs=runs)
        sim.finish()
        _landed(local, sim, asked.name)
        done = watch.read(each=days, runs=instance.get_runs_count(), calls=sim.calls())
    with opened(folder, sim, asked) as shell:
        steps, batches = shell.steps(), len(shell.shards())
    if [step for step, _ in steps.values()] != [Step.DONE] * days:
        raise SystemExit(f"Not all of {days} days are done: no measurement.")
    counted = {**done.counted, "batches": batches}
    return {"submit": sent, "all": Measured(done.seconds, done.cpu, done.peak_mb, counted=counted)}


def _sent(local: LocalDagster, name: str, days: Sequence[str], *, runs: int) -> None:
    size = len(days) // runs
    for start in range(0, len(days), size):
        some = days[start : start + size]
        _succeeded(local.submit(name, [some[0], some[-1]]))


def _landed(local: LocalDagster, sim: Simulated, name: str) -> None:
    """Ticks until one asks for nothing."""
    while True:
        sim.wait(_LATER)
        requests = local.tick(f"{name}_watch", launch=False).run_requests or []
        if not requests:
            return
        for request in requests:
            _succeeded(local.launch(request))


def _succeeded(run: dg.ExecuteInProcessResult) -> None:
    if not run.success:
        raise SystemExit("A run failed: no measurement.")


CONTEST = Figures(
    "backfill",
    f"A backfill of days of {_ROWS} rows, per partition",
    {"": _compared},
    before={"": None},  # it would be the same: how many runs there are is what is compared
)
