"""Links that open the launchpad filled in: read as the page reads them."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from batch_pipeline.orchestration import history
from batch_pipeline.orchestration.launchpad import Webserver, op_config
from batch_pipeline.orchestration.run_partitions import as_listed, asked_for
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.orchestration.location import Location
from batch_pipeline_tests.world import DAYS, World

ODD = [
    "a b",
    "&tags[0]=1",
    "ü/é",
    '"quoted": #',
    "50 %",
    "a...b",
    "](x) <i>",
    "1e3",
    "null",
    "2:30",
]


def static(world: World, *values: str) -> BatchJob:
    return world.job(partitions={"kind": "static", "column": "day", "values": list(values)})


@pytest.mark.parametrize("name", ODD)
def test_a_partition_of_any_name_is_the_same_at_the_other_end(name: str) -> None:
    config = op_config("moods__batches", {"partitions": [name], "lost": True})
    link = Webserver(location="here").launchpad("j", config, {"dagster/partition": name})
    said = parse_qs(urlsplit(link).query)
    assert yaml.safe_load(said["config"][0]) == {
        "ops": {"moods__batches": {"config": {"partitions": [name], "lost": True}}}
    }
    assert said["tags[0][key]"] == ["dagster/partition"]
    assert said["tags[0][value]"] == [name]
    assert not set(link) & set(" ()[]<>|\"'`*")  # nothing that ends or opens anything in Markdown


def test_every_text_is_in_quotes_for_another_yaml_reads_numbers_otherwise() -> None:
    config = op_config("op", {"partitions": ["1e3", "2:30"], "failed_in_run": "12345678"})
    assert 'partitions: ["1e3", "2:30"]' in config
    assert 'failed_in_run: "12345678"' in config


def test_the_link_names_the_code_location_and_its_repository() -> None:
    path = urlsplit(Webserver(location="my jobs", repository="__repository__").job("j")).path
    assert unquote(path) == "/locations/my jobs/jobs/j"
    named = Webserver(location="place", repository="repo").job("j")
    assert unquote(named) == "/locations/repo@place/jobs/j"


def test_without_a_code_location_the_page_finds_the_job_itself() -> None:
    assert Webserver().launchpad("j", "x").startswith("/guess/j/playground/setup?config=x")


def test_a_webserver_elsewhere_is_named_in_full() -> None:
    base = "https://dagster.example/prefix"
    assert Webserver(base, "here").run("1f").startswith(f"{base}/runs/1f")


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (["b"], ["b"]),
        (["a...c"], ["a", "b", "c"]),
        (["a...b", "d", "b"], ["a", "b", "d"]),
    ],
)
def test_a_list_of_partitions_may_hold_ranges(
    world: World, listed: list[str], names: list[str]
) -> None:
    job = static(world, "a", "b", "c", "d")
    assert asked_for(job, listed, {}) == names


def test_neighbours_are_listed_as_a_range() -> None:
    known = ["a", "b", "c", "d", "e"]
    assert as_listed(["b", "e", "a", "c"], known) == ["a...c", "e"]


def test_without_a_list_the_runs_own_partitions_count(world: World) -> None:
    job = static(world, "a", "b", "c")
    ends = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    assert asked_for(job, [], {"dagster/partition": "c"}) == ["c"]
    assert asked_for(job, [], ends) == ["a", "b"]
    assert asked_for(job, [], {}) == []
    assert asked_for(world.job(partitions={"kind": "none"}), [], {}) == ["all"]


def test_a_run_that_lists_its_partitions_is_busy_with_these(place: Location) -> None:
    first, second, _ = DAYS
    config = yaml.safe_load(op_config("moods__batches", {"partitions": [f"{first}...{second}"]}))
    job = place.defs.resolve_job_def("moods_retry_failed")
    place.instance.create_run_for_job(job, run_config=config)
    assert history.busy(place.instance, ["moods_retry_failed"], DAYS) == {first, second}
