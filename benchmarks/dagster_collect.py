"""Dagster's runs over a year, and ten, of small days: submit and collect, per partition.

Days of twenty rows, one model, one batch where it fits; a real instance with SQLite storage. What
is counted is a run from its launch to its end in this process, with all of its events.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from batch_pipeline.orchestration.local import LocalDagster
from benchmarks.location import Simulated, dagster, job, opened, simulated, write_rows
from benchmarks.measuring import Figures, Measured, Stopwatch, Take

_ROWS = 20
_LATER = 61


def _runs(days: int) -> Take:
    def take(work: Path) -> Mapping[str, Measured]:
        with simulated(work / "simulator") as sim:
            _both(work / "warm", sim, days=2)  # imports and first touches are not compared
            return _both(work / "days", sim, days=days)

    return take


def _both(folder: Path, sim: Simulated, *, days: int) -> Mapping[str, Measured]:
    """`<job>_submit` over all days, and the one `<job>_collect` that the watch asks for then."""
    folder.mkdir()
    asked = job(folder, provider="openai", days=days, name=folder.name)
    write_rows(folder, days=days, rows=_ROWS)
    with opened(folder, sim, asked) as shell:
        names = shell.partitions()
    with dagster(folder, sim, asked) as (defs, instance):
        local = LocalDagster(defs, instance, sleep=sim.wait)
        watch = Stopwatch()
        _succeeded(local.submit(asked.name, names))
        sent = watch.read(each=days)
        sim.finish()
        sim.wait(_LATER)
        [request] = local.tick(f"{asked.name}_watch", launch=False).run_requests or []
        watch = Stopwatch()
        _succeeded(local.launch(request))
        landed = watch.read(each=days, events=_events(instance, str(request.job_name)) / days)
    return {"submit": sent, "collect": landed}


def _succeeded(run: dg.ExecuteInProcessResult) -> None:
    if not run.success:
        raise SystemExit("A run failed: no measurement.")


def _events(instance: dg.DagsterInstance, asset_job: str) -> int:
    runs = instance.get_runs(dg.RunsFilter(job_name=asset_job))
    return sum(len(instance.all_logs(run.run_id)) for run in runs)


_YEAR, _TEN_YEARS = "365 days", "3,650 days"
CONTEST = Figures(
    "dagster_collect",
    f"Dagster's runs over small partitions, {_ROWS} rows each, per partition",
    {_YEAR: _runs(365), _TEN_YEARS: _runs(3_650)},
    before={_TEN_YEARS: None},  # it took the commit before half an hour
    rounds={_TEN_YEARS: 1},
)
