from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from batch_pipeline.prices.find import PACKAGE, Prices
from batch_pipeline.stages.bill.report import Carried, CostReport, billed, money
from batch_pipeline_tests.stages.result_lines import (
    CON,
    ON,
    SCHEMA,
    Returned,
    answer,
    ids,
    line,
    make_observation,
    message,
    not_run,
)

GOOD = '{"label": "ham", "count": 1}'
COST = Decimal("0.000005600")


def report_of(back: Returned, *, simulated: bool = False) -> CostReport:
    bill = billed(
        CON,
        job="job",
        results={"all": back.results},
        carried=[Carried(path, ["all"], simulated) for path in back.outcomes],
        priced=Prices(ON),
    )
    return bill.report(["all"])


@pytest.fixture
def back(tmp_path: Path) -> Returned:
    """Two rows answered well, one of them after an invalid answer, and one that was never sent."""
    back = Returned(tmp_path, schema=SCHEMA)
    back.ask(ids(3), rejected={"row-2": "too long"})
    back.decode(ids(2), [answer("row-0", GOOD), answer("row-1", "oops")])
    back.decode(["row-1"], [answer("row-1", GOOD)], attempt=2)
    back.land()
    return back


def test_a_paid_answer_that_was_no_good_is_in_the_bill(back: Returned) -> None:
    sent, unsent = reversed(report_of(back).lines)
    assert (sent.attempts, sent.cost, sent.results_cost) == (3, 3 * COST, 2 * COST)
    assert (sent.live_cost, sent.saved) == (6 * COST, 3 * COST)
    assert (sent.input_tokens, sent.cached_input_tokens) == (300, 120)
    assert (sent.output_tokens, sent.reasoning_tokens) == (60, 24)
    assert (sent.requests, sent.succeeded, sent.failed) == (2, 2, 0)
    assert (unsent.model, unsent.requests, unsent.cost) == (None, 1, Decimal(0))
    assert unsent.by_kind == {"rejected": 1}


def test_the_total_adds_all_lines(back: Returned) -> None:
    total = report_of(back).total
    assert (total.requests, total.attempts, total.cost) == (3, 3, 3 * COST)
    assert total.by_kind == {"rejected": 1}


def test_unknown_costs_are_counted_and_in_no_sum(back: Returned) -> None:
    back.decode(["row-0"], [answer("row-0", GOOD, usage=None)], attempt=3)
    total = report_of(back).total
    assert (total.cost, total.unknown_cost, total.unknown_usage) == (3 * COST, 1, 1)
    page = report_of(back).to_markdown()
    assert "**1 rows have an unknown cost**" in page
    assert "+ 1 unknown" in page


def test_a_bill_of_which_nothing_is_known_is_unknown_and_not_zero(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", usage=None)])
    back.land()
    total = report_of(back).total
    assert (total.cost, total.input_tokens) == (None, None)
    assert "**unknown** for 1 rows sent" in report_of(back).to_markdown()


def test_rows_that_were_not_run_cost_nothing(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    back.ask(ids(1))
    back.decode(ids(1), [], [not_run("row-0", "batch_expired")])
    back.land()
    total = report_of(back).total
    assert (total.cost, total.unknown_cost, total.by_kind) == (Decimal(0), 0, {"expired": 1})
    assert "1 failed (1 expired)" in report_of(back).to_markdown()


def test_rows_of_other_partitions_are_not_in_the_bill(back: Returned) -> None:
    back.decode(["row-9"], [answer("row-9", GOOD)], partition="2026-01-01")
    assert report_of(back).total.attempts == 3


def test_a_report_over_nothing_is_empty(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    back.ask([])
    back.land()
    report = report_of(back)
    assert report.lines == ()
    assert (report.total.cost, report.total.requests) == (Decimal(0), 0)


def test_the_page_says_what_prices_it_used(back: Returned) -> None:
    page = report_of(back).to_markdown()
    assert page.startswith("# Cost of job\n")
    assert f"Prices: {PACKAGE}, as of 2026-11-21." in page
    assert "- batch_price: " in page
    assert "assumed_half" not in page
    assert "Simulated" not in page
    assert "| all | (not sent) | 1 | 0 | 1 |" in page


def test_the_report_counts_unknown_costs_by_reason_and_prices_older_than_their_rows(
    tmp_path: Path,
) -> None:
    back = Returned(tmp_path)
    back.ask(ids(3))
    seen = message()
    searched = {**message(), "model": "gpt-4o-search-preview"}
    lines = [line("row-0", {**seen, "service_tier": "scale"}), line("row-1", searched)]
    served = line("row-2", {**seen, "service_tier": "default"})
    back.decode(ids(3), [*lines, served], observation=make_observation())
    back.land()
    report = report_of(back)
    because = {"chat web search: no dated price": 1, "served as scale: no dated price": 1}
    assert (report.total.unknown_cost, report.total.unknown_because) == (2, because)
    assert json.loads(report.to_json())["total"]["unknown_because"] == because
    page = report.to_markdown()
    assert "chat web search: no dated price (1)" in page
    assert "- standard_price: the answer says that it was served as default" in page
    assert report.total.older_price == 1
    assert f"the oldest of {report.total.price_as_of}" in page
    unknown = [row["cost_unknown"] for row in back.landed()]
    assert unknown == ["served as scale: no dated price", "chat web search: no dated price", None]


def test_a_simulated_report_says_so_first(back: Returned) -> None:
    lines = report_of(back, simulated=True).to_markdown().splitlines()
    assert lines[2].startswith("> **Simulated answers.**")


def test_the_report_is_written_as_a_page_and_as_exact_json(back: Returned) -> None:
    report = report_of(back)
    report.write(back.path / "reports")
    assert (back.path / "reports/report.md").read_text() == report.to_markdown()
    found = json.loads((back.path / "reports/report.json").read_text())
    assert found["total"]["cost"] == str(3 * COST)
    assert found["prices_from"] == PACKAGE
    assert [row["model"] for row in found["lines"]] == [row["model"] for row in report.rows()]
    assert sorted(p.name for p in (back.path / "reports").iterdir()) == ["report.json", "report.md"]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (Decimal(0), "$0.00"),
        (Decimal("1234.567"), "$1,234.57"),
        (Decimal("0.5"), "$0.5000"),
        (Decimal("0.0000056"), "$0.0000056"),
    ],
)
def test_money_is_rounded_only_when_shown(amount: Decimal | None, shown: str) -> None:
    assert money(amount) == shown


def test_what_was_odd_in_result_files_is_in_the_report_and_else_nothing(back: Returned) -> None:
    assert "Result files held" not in report_of(back).to_markdown()
    assert "oddities" not in json.loads(report_of(back).to_json())
    back.decode(["row-1"], [answer("row-1", GOOD), answer("row-1", GOOD)], attempt=3)
    assert "Result files held: 1 duplicate lines." in report_of(back).to_markdown()
    assert json.loads(report_of(back).to_json())["oddities"] == {
        "duplicate_lines": 1,
        "unknown_lines": 0,
        "unreadable_lines": 0,
        "rows_without_usage": 0,
    }
