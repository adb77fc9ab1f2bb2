"""Failed rows on Dagster's pages: said, escaped, and sent again by the link that stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
import yaml
from markdown_it import MarkdownIt

from batch_pipeline.orchestration import failed_rows
from batch_pipeline.orchestration.launchpad import Webserver
from batch_pipeline.orchestration.metadata import Found
from batch_pipeline.pipeline.failed_rows import Failures
from batch_pipeline.stages.again import OnRetry
from batch_pipeline.stages.results.failed_rows import FailedRow, FailedRows
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import DAYS, World

ONE, TWO, THREE = DAYS
LINKED = {"failed_rows"}  # its link names the code location, which a run in process has not
SERVER = Webserver(location="here", repository="__repository__")
HOSTILE = (
    "| a | ![x](http://e.x/p.png) [l](javascript:alert(1)) <script>x</script> **b** `c` "
    "\x1b[31mred\x1b[0m \x00 \u202egnp.exe \n# head\n| --- |\nhttp://e.x www.e.x a@e.x"
)


@pytest.fixture
def faulty(world: World) -> Iterator[Location]:
    """One row a day is always refused, one truncated once."""
    faults = [
        {"becomes": "refused", "regex": "r-000-"},
        {"becomes": "truncated", "regex": "r-001-", "first_times": 1},
    ]
    world.sim.faults({"rows": faults})
    with location(world) as place:
        yield place


def launched(place: Location, found: Found) -> dg.ExecuteInProcessResult:
    """What a click on the link and on Launch runs."""
    (link,) = re.findall(r"\]\((/(?:locations|guess)/\S+)\)", str(found["failed_rows"].value))
    said = parse_qs(urlsplit(link).query)
    tags = {said["tags[0][key]"][0]: said["tags[0][value]"][0]} if "tags[0][key]" in said else {}
    *_, job, _, _ = urlsplit(link).path.split("/")  # …/<job>/playground/setup
    return place.dagster.execute(job, tags=tags, run_config=yaml.safe_load(said["config"][0]))


def of_days(place: Location, *days: str) -> dict[str, Found]:
    with place.world.open(place.job) as shell:
        return failed_rows.of_partitions(place.job, shell, days, SERVER)


def test_a_partition_shows_its_failed_rows_and_the_link_sends_exactly_these(
    faulty: Location,
) -> None:
    faulty.submit(*DAYS)
    faulty.finish()
    found = of_days(faulty, *DAYS)[TWO]
    shown = faulty.metadata("results", TWO)
    assert {name: shown[name] for name in found if name not in LINKED} == {
        name: value.value for name, value in found.items() if name not in LINKED
    }
    assert "**2 failed**" in shown["failed_rows"]
    said = str(found["failed_rows"].value)
    assert "**2 failed**: 1 refused, 1 truncated." in said
    assert "Retry 2 of them" in said
    assert "expected to cost $" in said
    assert said.count("not: its kind is not retried") == 2
    assert len(said) < 1000  # shown in place
    assert "partition=2026-01-02/failures.parquet" in str(found["failed_file"].value)
    assert "failure_kinds:" in str(found["retry_config"].value)
    faulty.world.sim.faults(None)
    assert launched(faulty, found).success
    assert faulty.metadata("batches", TWO)["sent_now"] == 2
    faulty.finish()
    assert of_days(faulty, TWO)[TWO] == {"failed_rows": dg.MetadataValue.md("none")}
    assert of_days(faulty, ONE)[ONE] != {"failed_rows": dg.MetadataValue.md("none")}


def test_a_stretch_has_one_link_for_the_partitions_with_failed_rows(faulty: Location) -> None:
    faulty.submit(*DAYS)
    faulty.finish()
    faulty.world.sim.faults(None)
    with faulty.world.open(faulty.job) as shell:
        found = failed_rows.of_stretch(faulty.job, shell, [ONE, TWO], SERVER)
    assert f'partitions: ["{ONE}...{TWO}"]' in str(found["retry_config"].value)
    before = faulty.creates()
    assert launched(faulty, found).success
    assert faulty.creates() == before + 1
    assert faulty.metadata("batches", ONE)["sent_now"] == 2
    assert faulty.metadata("batches", THREE)["sent_now"] == 5  # as it was first sent


def test_a_job_without_partitions_is_retried_by_its_link_too(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "r-000-"}]})
    data = {"path": str(world.folder / "rows" / f"day={ONE}"), "key": "id"}
    with location(world, partitions={"kind": "none"}, dataset=data) as place:
        place.dagster.submit("moods")
        place.finish()
        world.sim.faults(None)
        assert launched(place, of_days(place, "all")["all"]).success
        assert place.metadata("batches", None)["sent_now"] == 1


def events(place: Location, run_id: str) -> list[dg.DagsterEvent]:
    kind = dg.DagsterEventType.ENGINE_EVENT
    logs = place.instance.all_logs(run_id, of_type=kind)
    found = (log.get_dagster_event() for log in logs)
    return [one for one in found if "failed_rows" in one.engine_event_data.metadata]


def test_runs_that_collected_and_sent_show_what_failed_and_its_retry(faulty: Location) -> None:
    faulty.submit(ONE)
    faulty.finish()
    runs = list(faulty.instance.get_runs())
    sender = next(run for run in runs if run.job_name == "moods_submit")
    collector = next(run for run in runs if run.job_name == "moods_collect")
    (told,) = events(faulty, sender.run_id)
    assert told.message == "2 of 5 rows that this run sent failed."
    (mine,) = events(faulty, collector.run_id)
    assert mine.message == "2 of 5 rows that this run collected failed."
    assert faulty.instance.get_run_by_id(sender.run_id).is_success  # type: ignore[union-attr]  # it is there
    faulty.world.sim.faults(None)
    assert launched(faulty, dict(mine.engine_event_data.metadata)).success
    assert faulty.metadata("batches", ONE)["sent_now"] == 2
    before = faulty.creates()
    assert launched(faulty, dict(told.engine_event_data.metadata)).success
    assert faulty.creates() == before  # all of it is on its way already


def test_a_retry_that_fails_has_the_link_to_the_same_launch(faulty: Location) -> None:
    faulty.submit(ONE)
    faulty.finish()
    faulty.world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 401}]})
    done = faulty.run("retry_failed", ONE, failure_kinds=["refused"])
    failed = done.failure_data_for_node("moods__batches")
    assert failed is not None
    assert failed.user_failure_data is not None
    link = str(failed.user_failure_data.metadata["retry"].value)
    said = parse_qs(urlsplit(link.partition("](")[2].rstrip(")")).query)
    config = yaml.safe_load(said["config"][0])["ops"]["moods__batches"]["config"]
    assert config == {"failure_kinds": ["refused"]}
    assert said["tags[0][value]"] == [ONE]


def row(**said: Any) -> FailedRow:  # noqa: ANN401 - fields of a row
    known = {
        "partition": ONE,
        "key": "k",
        "custom_id": "k-0123456789abcdef",
        "failure": "errored",
        "error_code": "server_error",
        "error_message": "it broke",
        "attempt": 1,
        "attempts": 1,
        "on_retry": OnRetry.KIND,
        "run_id": "0123456789abcdef",
        "batch_id": "batch_1",
    }
    return FailedRow(**{**known, **said})


def shown(place: Location, *rows: FailedRow, total: int | None = None) -> Found:
    whole = FailedRows(
        by_kind={"errored": total or len(rows)},
        by_next={OnRetry.KIND: total or len(rows)},
        first=rows,
        retry_cost=Decimal("0.5"),
        kinds_to_send=("errored",),
    )
    return failed_rows.of_run(place.job, Failures(whole=whole, sent=99), "1f-2e", SERVER)


@pytest.mark.parametrize("field", ["key", "error_code", "error_message", "run_id"])
def test_whatever_a_model_or_a_row_says_is_shown_and_does_nothing(
    place: Location, field: str
) -> None:
    for text in (HOSTILE, HOSTILE * 2000, "x" * 200_000, "\n" * 9, "`" * 300, "\\" * 300):
        found = shown(place, row(**{field: text}))
        said = str(found.get("failed_table", found["failed_rows"]).value)
        page = MarkdownIt("gfm-like", {"linkify": False}).render(said)
        assert not re.findall(r"<(script|img|code|strong>b|h1|em)", page)
        assert set(re.findall(r'href="([^"]{0,11})', page)) <= {"/locations/"}
        assert page.count("<tr>") == 2
        assert len(re.findall(r"</?td", page)) == 14
        assert not set(said) & set("\x00\x1b\u202e")
        assert max(len(cell) for cell in re.findall(r"<td>(.*?)</td>", page)) < 600
        assert len(said) < 3000


def test_rows_of_hostile_keys_are_listed_and_sent_again(world: World) -> None:
    world.write_rows({ONE: [{"id": HOSTILE.replace("\x00", ""), "body": HOSTILE}]})
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "."}]})
    with location(world) as place:
        place.submit(ONE)
        place.finish()
        found = of_days(place, ONE)[ONE]
        page = MarkdownIt("gfm-like", {"linkify": False}).render(str(found["failed_rows"].value))
        assert page.count("<tr>") == 2
        world.sim.faults(None)
        assert launched(place, found).success
        assert place.metadata("batches", ONE)["sent_now"] == 1


def test_a_long_table_is_in_a_dialog_and_says_how_many_there_are(place: Location) -> None:
    found = shown(place, *(row(key=f"k{n}") for n in range(50)), total=1200)
    said = str(found["failed_rows"].value)
    assert "**1,200 failed**" in said
    assert "|" not in said
    assert len(said) < 1000
    assert str(found["failed_table"].value).endswith("The first 50 of 1,200; all are in the file.")


def test_what_a_retry_costs_is_said_as_far_as_it_is_known() -> None:
    assert failed_rows.expected(FailedRows(retry_cost=Decimal(2))) == "expected to cost $2.00"
    some = failed_rows.expected(FailedRows(retry_cost=Decimal(2), unpriced=3))
    assert some == "expected to cost $2.00, and for 3 of them nobody knows"
    assert failed_rows.expected(FailedRows(unpriced=3)) == "what it will cost is not known"


@pytest.mark.parametrize("word", OnRetry)
def test_every_word_of_what_becomes_of_a_row_reads_as_one(word: OnRetry) -> None:
    assert 4 <= len(row(on_retry=word, attempts=2).becomes) <= 40
