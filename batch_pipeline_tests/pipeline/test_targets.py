"""Several targets in one job: who gets which row, and what the rules saved."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from batch_pipeline.errors import DatasetError, UsageError
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.world import DAYS, World

DAY = DAYS[0]
DEAR = {"provider": "openai", "model": "gpt-5-mini"}
CHEAP = {"provider": "openai", "model": "gpt-5-nano"}


def routed(world: World, *targets: dict[str, Any]) -> Any:  # noqa: ANN401 - a job
    return world.job(targets=list(targets))


def test_each_row_goes_to_the_first_target_whose_rule_is_true_and_all_land_together(
    world: World,
) -> None:
    job = routed(world, {**DEAR, "when": "id IN ('r/001', 'r/003')"}, CHEAP)
    assert world.run(job)[DAY][0] is Step.DONE
    went = {row["id"]: row["model"].removesuffix("-2025-08-07") for row in world.results()}
    assert went == {f"r/{n:03d}": "gpt-5-mini" if n in {1, 3} else "gpt-5-nano" for n in range(5)}
    assert len(world.batches) == 2
    assert world.sendings == {1}


def test_the_report_says_what_the_rules_saved_against_the_dearest_target(world: World) -> None:
    job = routed(world, {**DEAR, "when": "id IN ('r/001', 'r/003')"}, CHEAP)
    world.run(job)
    with world.open(job) as shell:
        report = shell.report([DAY])
    found = report.routed
    assert found is not None
    assert (found.rows, found.dearest) == (5, "openai/gpt-5-mini")
    assert found.cost == report.total.cost
    prices = {name: (Decimal(a), Decimal(b)) for name, a, b in (("dear", "0.125", "1"),)}
    read, written = prices["dear"]
    tokens = [(row["input_tokens"], row["output_tokens"]) for row in world.results()]
    dearest = sum((read * i + written * o for i, o in tokens), Decimal(0)) / 10**6
    assert found.dearest_cost == dearest
    assert found.saved == dearest - found.cost > 0
    assert "at the dearest target, openai/gpt-5-mini" in report.to_markdown()


def test_a_job_of_one_target_has_nothing_to_compare(world: World) -> None:
    world.run(routed(world, CHEAP))
    with world.open(routed(world, CHEAP)) as shell:
        assert shell.report([DAY]).routed is None


def test_a_row_that_no_rule_takes_stops_the_build_and_nothing_is_sent(world: World) -> None:
    job = routed(world, {**DEAR, "when": "id = 'r/001'"}, {**CHEAP, "when": "id = 'r/002'"})
    with pytest.raises(DatasetError, match="without `when`"):
        world.run(job)
    assert world.batches == []


@pytest.mark.parametrize("rule", ["idd = 'x'", "random() < 0.5", "id = ", "count(*) > 1"])
def test_a_rule_that_cannot_be_is_named_before_anything_is_sent(world: World, rule: str) -> None:
    with pytest.raises(UsageError, match="gpt-5-mini"):
        world.run(routed(world, {**DEAR, "when": rule}, CHEAP))
    assert world.batches == []


def test_a_changed_rule_sends_a_row_anew_only_where_its_request_is_another(world: World) -> None:
    world.run(routed(world, {**DEAR, "when": "id = 'r/001'"}, CHEAP))
    world.run(routed(world, {**DEAR, "when": "id IN ('r/001', 'r/002')"}, CHEAP))
    sent = {name[:5]: times for name, times in world.sim.submissions().items()}
    assert sent == {"r-000": 1, "r-001": 1, "r-002": 2, "r-003": 1, "r-004": 1}
