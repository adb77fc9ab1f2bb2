"""The code location as Dagster loads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from batch_pipeline.definitions import defs
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import World


@pytest.fixture(scope="module")
def loaded() -> dg.Definitions:
    """Everything under defs/."""
    return defs()


def test_the_definitions_of_this_project_load(loaded: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(loaded)
    graph = loaded.resolve_asset_graph()
    steps = ("dataset", "requests", "batches", "results", "cost_report")
    keys = {dg.AssetKey(["review_triage", step]) for step in steps}
    assert graph.get_all_asset_keys() == keys
    assert {graph.get(key).group_name for key in keys} == {"review_triage"}
    assert graph.external_asset_keys == {dg.AssetKey(["review_triage", "dataset"])}
    cuts = {graph.get(key).partitions_def for key in keys}
    assert len(cuts) == 1
    (cut,) = cuts
    assert cut is not None
    assert cut.get_partition_keys()[-1] == "2026-01-30"


def test_a_job_has_three_asset_jobs_a_watch_and_its_schedule(loaded: dg.Definitions) -> None:
    jobs = {job.name for job in loaded.resolve_all_job_defs()}
    assert {f"review_triage_{name}" for name in ("submit", "collect", "retry_failed")} <= jobs
    watch = loaded.resolve_sensor_def("review_triage_watch")
    assert watch.default_status is dg.DefaultSensorStatus.RUNNING
    assert loaded.resolve_schedule_def("review_triage_schedule").cron_schedule == "0 6 * * *"


def test_steps_run_in_the_process_of_their_run(loaded: dg.Definitions) -> None:
    assert loaded.executor is dg.in_process_executor


def test_a_template_keeps_its_braces_and_the_page_shows_it(loaded: dg.Definitions) -> None:
    key = dg.AssetKey(["review_triage", "requests"])
    description = loaded.resolve_asset_graph().get(key).description or ""
    assert "{{ body }}" in description


def test_a_job_without_a_schedule_has_none_and_tags_dagster_refuses_stay_on_runs(
    world: World,
) -> None:
    tags = {"team": "care", "window": "12/3"}
    with location(world, tags=tags) as place:
        assert list(place.defs.schedules or []) == []
        assert place.defs.resolve_job_def("moods_submit").run_tags["window"] == "12/3"
        node = place.defs.resolve_asset_graph().get(place.key("requests"))
        assert node.tags["team"] == "care"
        assert "window" not in node.tags


def test_every_step_takes_a_whole_range_in_one_run(place: Location) -> None:
    graph = place.defs.resolve_asset_graph()
    for step in ("requests", "batches", "results", "cost_report"):
        assert graph.get(place.key(step)).backfill_policy == dg.BackfillPolicy.single_run()


def test_the_resource_takes_what_it_is_not_told_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: World
) -> None:
    monkeypatch.setenv("BATCH_PIPELINE_POLL_SECONDS", "7")
    resource = PipelineResource(store=str(tmp_path / "else"))
    assert resource.settings().store == str(tmp_path / "else")
    assert resource.settings().poll_seconds == 7
    with resource.open(world.job(), hurried=True) as shell:
        assert shell.clients.patience.tries == 1
        assert (tmp_path / "else").is_dir()


def test_loading_stays_light() -> None:
    code = (
        "import sys\nfrom batch_pipeline.definitions import defs\ndefs()\n"
        "heavy = {'pandas', 'openai', 'anthropic', 'mistralai', 'starlette'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-W", "error::Warning:batch_pipeline", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
