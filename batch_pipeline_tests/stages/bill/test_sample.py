from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from batch_pipeline.prices.find import Prices
from batch_pipeline.stages.bill.sample import Sample, sample
from batch_pipeline_tests.stages.bill.test_report import report_of
from batch_pipeline_tests.stages.result_lines import CON, ON, Returned, answer, ids, not_run


def sampled(back: Returned) -> Sample:
    return sample(CON, back.outcomes, Prices(ON))


def test_a_row_is_estimated_to_cost_what_the_bill_says_of_the_sample(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    back.ask(ids(3))
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    live = json.loads(answer("row-2"))
    live["response"]["body"]["service_tier"] = "default"
    lines = [answer("row-0"), answer("row-1", usage=usage), json.dumps(live).encode()]
    back.decode(ids(3), lines)
    back.land()
    seen = sampled(back)
    assert seen.cost_per_row == (report_of(back).total.cost or 0) / Decimal(3)
    assert (seen.requests, seen.mean_input_tokens) == (3, 400.0)


def test_a_sample_with_a_row_of_unknown_cost_estimates_none(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    nameless = answer("row-1").replace(b"gpt-5-nano-2025-08-07", b"model-of-tomorrow")
    back.decode(ids(3), [answer("row-0"), nameless], [not_run("row-2", "batch_expired")])
    seen = sampled(back)
    assert (seen.cost_per_row, seen.mean_output_tokens) == (None, 20.0)
    assert (seen.requests, seen.by_failure) == (3, {"expired": 1})


def test_nothing_is_estimated_from_nothing() -> None:
    assert sample(CON, [], Prices(ON)) == Sample(0)
