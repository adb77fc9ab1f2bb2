"""A tick of the watch sensor: 3,650 partitions in the ledger, 0, 100 and 2,000 batches in flight.

The batches are made through the SDKs at the simulator, one row each; that is not measured, and kept
for the rounds that follow. Three ticks of each: the first, to which all of them are news; the next;
and the one that finds that all have ended. A tick is its evaluation and the recording of its
events, as the daemon does it; the runs it asks for are only counted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from batch_pipeline.spec import BatchJob
from benchmarks.location import Simulated, dagster, job, opened, simulated, write_rows
from benchmarks.measuring import Figures, Measured, Stopwatch, Take

_PARTITIONS = 3_650
_AT_ONCE = 900  # below every provider's limit of a minute
_AN_HOUR = 3_660
_LATER = 61
_WATCH = "bench_watch"


def _ticks(batches: int, *, provider: str = "openai") -> Take:
    def take(work: Path) -> Mapping[str, Measured]:
        scene = work.parent / f"{provider}-{_PARTITIONS}-{batches}"
        if not (scene / "job.json").exists():
            _prepare(scene, provider, batches)
        shutil.copytree(scene, work, dirs_exist_ok=True)
        asked = BatchJob.model_validate_json((work / "job.json").read_text(encoding="utf-8"))
        with simulated(work / "simulator") as sim, dagster(work, sim, asked) as (defs, instance):
            watch = _Watch(sim, defs, instance)
            watch.evaluated()  # a code server has everything imported
            found = {}
            for name in ("first", "next", "all ended"):
                if name == "all ended":
                    sim.finish()
                sim.wait(_LATER)
                found[name] = watch.tick()
        return found

    return take


def _prepare(scene: Path, provider: str, batches: int) -> None:
    """Build every partition and send the first ones, a batch each."""
    shutil.rmtree(scene, ignore_errors=True)
    scene.mkdir(parents=True)
    write_rows(scene, days=_PARTITIONS, rows=1)
    asked = job(scene, provider=provider, days=_PARTITIONS, shard={"max_requests": 1})
    with simulated(scene / "simulator") as sim, opened(scene, sim, asked) as shell:
        names = shell.partitions()
        shell.build(names)
        for start in range(0, batches, _AT_ONCE):
            some = names[start : min(start + _AT_ONCE, batches)]
            if len(shell.submit(some).sent) != len(some):
                raise SystemExit(f"Not all of {batches:,} batches were made: no measurement.")
            sim.wait(_AN_HOUR)
    (scene / "job.json").write_text(asked.model_dump_json(), encoding="utf-8")


class _Watch:
    """The sensor and its cursor."""

    def __init__(self, sim: Simulated, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._sim, self._instance = sim, instance
        self._repository = defs.get_repository_def()
        self._sensor = defs.resolve_sensor_def(_WATCH)
        self._resources = dict(defs.resources or {})
        self._cursor: str | None = None

    def evaluated(self) -> dg.SensorResult:
        """An evaluation of which nothing is kept, as a preview is one."""
        context = dg.build_sensor_context(
            self._instance,
            cursor=self._cursor,
            repository_def=self._repository,
            sensor_name=_WATCH,
            resources=self._resources,
        )
        data = self._sensor.evaluate_tick(context)
        return dg.SensorResult(
            run_requests=data.run_requests, asset_events=data.asset_events, cursor=data.cursor
        )

    def tick(self) -> Measured:
        """One tick as the daemon does it, but for its runs."""
        self._sim.forget()
        watch = Stopwatch()
        done = self.evaluated()
        for event in done.asset_events or []:
            self._instance.report_runless_asset_event(event)
        counted = {"events": len(done.asset_events or []), "runs": len(done.run_requests or [])}
        read = watch.read(**counted)
        self._cursor = done.cursor
        counted = {"calls": self._sim.calls(), **counted}
        return Measured(read.seconds, read.cpu, read.peak_mb, counted=counted)


CONTEST = Figures(
    "tick",
    f"A tick of the watch, {_PARTITIONS:,} partitions, by batches in flight",
    {f"{batches:,} batches": _ticks(batches) for batches in (0, 100, 2_000)},
)
