"""A submit run whose worker is killed: the watch asks for the rest, and all arrives once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from batch_pipeline.orchestration.build import build_defs
from batch_pipeline.orchestration.local import LocalDagster
from batch_pipeline.pipeline.asking import Wish
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.crashing import Place
from batch_pipeline_tests.orchestration.location import Location, location, resource_of
from batch_pipeline_tests.world import DAYS, LiveWorld, live, made, rows

ONE, TWO, THREE = DAYS
CLIENT = "batch_pipeline.providers.openai.client:OpenAIClient"
KILLED: dict[str, Place] = {
    "while it builds": ("batch_pipeline.pipeline.building:_swap", "before", 2),
    "while it sends": (f"{CLIENT}.create", "after", 2),
}
QUIET = {"python_logs": {"python_log_level": "WARNING"}, "telemetry": {"enabled": False}}


@contextmanager
def lasting(folder: Path, world: LiveWorld) -> Iterator[Location]:
    """The world's code location over an instance that other processes can write to."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(json.dumps(QUIET), encoding="utf-8")
    job = world.job(shard={"max_requests": 4})
    defs = dg.Definitions.merge(
        build_defs(job, pipeline=resource_of(world)),
        dg.Definitions(executor=dg.in_process_executor),
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        dagster = LocalDagster(defs, instance, sleep=world.wait, tick_seconds=0.2)
        yield Location(world, job, defs, instance, dagster)


def killed(place: Location, where: Place) -> None:
    """A worker is gone; run monitoring finds out that its run is over."""
    said = {"job": place.job.model_dump(mode="json"), "place": where, "partitions": DAYS}
    home = str(place.world.folder / "dagster")
    words = [sys.executable, "-m", "batch_pipeline_tests.orchestration.dying", home]
    env = {**os.environ, **place.world.whole_env}
    done = subprocess.run(  # noqa: S603 - our own program
        [*words, json.dumps(said)], env=env, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == -signal.SIGKILL
    [run] = place.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.STARTED
    assert not place.tick(launch=False).run_requests  # it may live, for all that is known
    place.instance.report_run_failed(run)


@pytest.mark.parametrize("where", KILLED.values(), ids=KILLED.keys())
def test_the_rest_is_asked_for_and_everything_arrives_once(where: Place, tmp_path: Path) -> None:
    with live(tmp_path) as world, lasting(tmp_path, world) as place:
        world.write_rows({day: rows(5, prefix=day[-2:]) for day in DAYS})
        killed(place, where)
        place.finish()
        assert place.steps() == dict.fromkeys(DAYS, Step.DONE)
        assert (len(world.sim.submissions()), world.sendings) == (15, {1})
        # of `batches` it may lack a day that was sent, and answered before another run saw it
        for step in ("requests", "results"):
            assert place.landed(step) == set(DAYS)
        for day in DAYS:
            assert len(world.results(day)) == 5


def test_the_watch_builds_what_was_asked_for_and_nothing_between(place: Location) -> None:
    place.submit(TWO)
    place.finish()
    place.world.write_rows({TWO: rows(9)})  # it has changed, and nobody asked for that
    with place.world.open(place.job) as shell:
        shell.ask([ONE, THREE], Wish(), run_id="killed")
    [request] = place.tick().run_requests or []
    assert request.tags["dagster/asset_partition_range_end"] == THREE
    place.finish()
    assert place.steps() == dict.fromkeys(DAYS, Step.DONE)
    assert len(place.world.results(TWO)) == 5


def test_what_was_sent_by_another_meanwhile_leaves_the_run_nothing_to_do(place: Location) -> None:
    with place.world.open(place.job) as shell:
        shell.ask(DAYS, Wish(), run_id="killed")
        [request] = place.tick(launch=False).run_requests or []
        shell.run(DAYS, wait=False)
    assert place.dagster.launch(request).success
    assert place.creates() == 1


def test_of_a_backfill_some_days_have_no_files_some_are_broken_and_some_are_done(
    place: Location,
) -> None:
    place.submit(ONE)
    place.finish()
    place.world.write_rows({TWO: [*rows(3), *rows(1)]})
    folder = place.world.folder / "rows" / f"day={THREE}"
    (folder / "part-0.parquet").unlink()
    folder.rmdir()
    with place.world.open(place.job) as shell:
        shell.ask(DAYS, Wish(), run_id="killed")
    assert len(place.tick().run_requests or []) == 1  # it fails, and says so
    assert place.steps() == {ONE: Step.DONE, TWO: Step.UNSENT}
    assert not place.tick().run_requests  # it was told once
    assert place.creates() == 1


def test_after_days_with_the_sensor_off_what_was_asked_for_is_sent(place: Location) -> None:
    with place.world.open(place.job) as shell:
        shell.ask(DAYS, Wish(), run_id="terminated")
    place.world.wait(3 * 86_400)
    place.finish()
    assert place.steps() == dict.fromkeys(DAYS, Step.DONE)
    assert (place.creates(), place.world.sendings) == (1, {1})


def test_building_alone_asks_for_nothing(place: Location) -> None:
    requests = [dg.AssetKey(["moods", "requests"])]
    place.dagster.execute("moods_submit", tags={"dagster/partition": ONE}, asset_selection=requests)
    assert place.steps() == {ONE: Step.UNSENT}


@pytest.mark.parametrize("kind", ["none", "static"])
def test_what_was_asked_of_other_kinds_of_partitions_is_sent(kind: str, tmp_path: Path) -> None:
    with made(tmp_path, days=[ONE]) as world:
        parts: dict[str, object] = {"kind": kind}
        if kind == "static":
            parts |= {"column": "day", "values": [ONE]}
        with location(world, partitions=parts) as place:
            with world.open(place.job) as shell:
                shell.ask(shell.partitions(), Wish(), run_id="killed")
            place.finish()
            assert set(place.steps().values()) == {Step.DONE}
            assert world.sendings == {1}
