"""A tick of the watch sensor: 3,650 partitions in the ledger, 0, 100 and 2,000 batches in flight.

The batches are made through the SDKs at the simulator, one row each; that is not measured. Three
ticks of each: the first, to which all of them are news; one to which nothing is; and the one that
finds that all have ended. A tick is its evaluation and the recording of its events, as the daemon
does it; the runs it asks for are only counted.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from batch_pipeline.spec import BatchJob
from benchmarks.location import MODELS, Simulated, dagster, job, opened, simulated, write_rows

IN_FLIGHT = (0, 100, 2_000)
_AT_ONCE = 900  # below every provider's limit of a minute
_AN_HOUR = 3_660
_LATER = 61
_WATCH = "bench_watch"


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick took, and what it came to."""

    name: str
    seconds: float
    processor: float
    pages: int
    calls: int
    events: int
    runs: int


def main() -> None:
    """Measure the ticks and print them."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--work", type=Path, default=Path("data/bench/tick"))
    said.add_argument("--provider", choices=MODELS, default="openai")
    said.add_argument("--partitions", type=int, default=3_650)
    said.add_argument("--batches", type=int, nargs="*", default=IN_FLIGHT)
    said.add_argument("--profile", action="store_true", help="the top of each tick's profile")
    options = said.parse_args()
    for batches in options.batches:
        scene = options.work.resolve() / f"{options.provider}-{options.partitions}-{batches}"
        prepare(scene, options.provider, options.partitions, batches)
        print(f"{options.provider}: {options.partitions} partitions, {batches} batches in flight")
        for one in ticks(scene, profiled=options.profile):
            print(
                f"  {one.name:8} {one.seconds:6.2f} s, processor {one.processor:6.2f} s, "
                f"{one.pages} pages listed, {one.calls} calls in all, {one.events} events, "
                f"{one.runs} runs asked for"
            )


def prepare(scene: Path, provider: str, partitions: int, batches: int) -> None:
    """Build every partition and send the first ones, a batch each; done once."""
    if (scene / "job.json").exists():
        return
    shutil.rmtree(scene, ignore_errors=True)
    scene.mkdir(parents=True)
    write_rows(scene, days=partitions, rows=1)
    asked = job(scene, provider=provider, days=partitions, shard={"max_requests": 1})
    with simulated(scene / "simulator") as sim, opened(scene, sim, asked) as shell:
        names = shell.partitions()
        shell.build(names)
        for start in range(0, batches, _AT_ONCE):
            some = names[start : min(start + _AT_ONCE, batches)]
            _sent(len(shell.submit(some).sent), len(some))
            sim.wait(_AN_HOUR)
    (scene / "job.json").write_text(asked.model_dump_json(), encoding="utf-8")


def ticks(scene: Path, *, profiled: bool = False) -> Sequence[Tick]:
    """The three ticks, over a copy of what was prepared."""
    copy = scene.with_name("round")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(scene, copy)
    asked = BatchJob.model_validate_json((copy / "job.json").read_text(encoding="utf-8"))
    with simulated(copy / "simulator") as sim, dagster(copy, sim, asked) as (defs, instance):
        watch = _Watch(sim, defs, instance)
        watch.evaluated()  # a code server has everything imported
        found = []
        for name in ("first", "again", "ended"):
            if name == "ended":
                sim.finish()
            sim.wait(_LATER)
            found.append(watch.tick(name, profiled=profiled))
    return found


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

    def tick(self, name: str, *, profiled: bool = False) -> Tick:
        """One tick as the daemon does it, but for its runs."""
        self._sim.forget()
        profile = cProfile.Profile()
        started, processor = time.perf_counter(), time.process_time()
        if profiled:
            profile.enable()
        done = self.evaluated()
        for event in done.asset_events or []:
            self._instance.report_runless_asset_event(event)
        profile.disable()
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        self._cursor = done.cursor
        if profiled:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
        return Tick(
            name,
            seconds,
            processor,
            pages=self._sim.calls("list"),
            calls=self._sim.calls(),
            events=len(done.asset_events or []),
            runs=len(done.run_requests or []),
        )


def _sent(number: int, expected: int) -> None:
    if number != expected:
        raise SystemExit(f"{number} of {expected} batches were made: no measurement.")


if __name__ == "__main__":
    main()
