"""What the first rows of a new content decide for the others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.model import (
    CanaryRecord,
    CanaryVerdict,
    Hold,
    HoldKind,
    PartitionCounts,
    PartitionSummary,
    ShardState,
)
from batch_pipeline.policy.canary import Gate, gate, judged
from batch_pipeline.policy.lifecycle import Step, next_step

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def decided(verdict: CanaryVerdict) -> CanaryRecord:
    return CanaryRecord("j", "v", verdict, "because", requests=10, failed=5)


def test_the_first_rows_go_when_nothing_is_known_of_a_content() -> None:
    assert gate(None, {}) is Gate.FIRST


def test_a_canary_that_was_taken_back_goes_again() -> None:
    assert gate(None, {ShardState.CANCELLED: 1}) is Gate.FIRST


@pytest.mark.parametrize("state", ["planned", "submitting", "submitted", "ended", "in_doubt"])
def test_nothing_else_goes_while_a_part_of_the_canary_is_on_its_way(state: str) -> None:
    assert gate(None, {ShardState(state): 1, ShardState.COLLECTED: 3}) is Gate.SHUT


def test_a_canary_that_is_back_is_judged() -> None:
    assert gate(None, {ShardState.COLLECTED: 2}) is Gate.JUDGE


def test_a_verdict_stands_whatever_its_shards_do() -> None:
    for verdict, expected in (
        (CanaryVerdict.PASSED, Gate.OPEN),
        (CanaryVerdict.RELEASED, Gate.OPEN),
        (CanaryVerdict.HELD, Gate.HELD),
    ):
        assert gate(decided(verdict), {ShardState.SUBMITTED: 1}) is expected


def test_the_reason_names_how_many_failed_and_how() -> None:
    by_failure = {"refused": 2, "invalid": 5}
    verdict, reason = judged(20, by_failure, max_failed_ratio=0.2, release="hand")
    assert verdict is CanaryVerdict.HELD
    assert reason == "7 of the first 20 requests failed (5 invalid, 2 refused), more than 20%."


def test_the_job_may_say_to_go_on_all_the_same() -> None:
    verdict, reason = judged(2, {"refused": 2}, max_failed_ratio=0, release="always")
    assert verdict is CanaryVerdict.RELEASED
    assert "go on" in reason


@given(st.integers(1, 1000), st.integers(0, 1000), st.floats(0, 1))
def test_it_is_held_exactly_when_more_than_the_set_share_failed(
    requests: int, failed: int, share: float
) -> None:
    verdict, _ = judged(
        requests, {"errored": failed} if failed else {}, max_failed_ratio=share, release="hand"
    )
    assert (verdict is CanaryVerdict.HELD) == (failed > share * requests)


COUNTS = PartitionCounts("j", "p", requests=10, digest="d", deferred=7, collected=1, landed=1)


def test_rows_behind_a_canary_wait_for_it_and_then_are_sent() -> None:
    out = PartitionSummary(COUNTS, canaries={ShardState.SUBMITTED: 1})
    assert next_step(out, now=NOW) is Step.WAIT
    assert next_step(PartitionSummary(COUNTS), now=NOW) is Step.SUBMIT


def test_rows_behind_a_canary_need_a_person_when_it_failed_or_cannot_be_sent() -> None:
    hold = Hold("j", "p", HoldKind.CANARY, "canary: bad", NOW)
    assert next_step(PartitionSummary(COUNTS, holds=(hold,)), now=NOW) is Step.BLOCKED
    stuck = PartitionSummary(COUNTS, canaries={ShardState.FAILED: 1})
    assert next_step(stuck, now=NOW) is Step.BLOCKED
