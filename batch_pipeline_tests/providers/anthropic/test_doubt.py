"""Finding a batch that carries no name: by time, by count, and by its first result."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_pipeline.errors import Unavailable, Undecided
from batch_pipeline.providers.anthropic.client import AnthropicClient
from batch_pipeline.providers.protocol import Known
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.anthropic.factories import (
    make_anthropic,
    make_claude_shard,
    send_claude,
)
from batch_pipeline_tests.providers.factories import LONG_AGO

SHARD = make_claude_shard(requests=2)
OURS = Known(is_ours=lambda custom_id: custom_id in {"row-0", "row-1"})


@pytest.fixture
def claude(sim: Simulator, waits: list[float]) -> AnthropicClient:
    return make_anthropic(sim.urls["anthropic"], waits=waits)


def test_without_a_batch_there_is_none(claude: AnthropicClient, tmp_path: Path) -> None:
    assert claude.find(SHARD, since=LONG_AGO, known=OURS) is None
    send_claude(claude, tmp_path, rows=3)
    assert claude.find(SHARD, since=LONG_AGO, known=OURS) is None


def test_a_batch_that_is_some_other_shard_s_is_none_of_ours(
    claude: AnthropicClient, tmp_path: Path
) -> None:
    made = send_claude(claude, tmp_path)
    known = Known(batch_ids={made.batch_id}, is_ours=OURS.is_ours)
    assert claude.find(SHARD, since=LONG_AGO, known=known) is None


def test_an_ended_batch_with_other_requests_is_a_strangers(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    send_claude(claude, tmp_path, prefix="theirs")
    sim.advance(60)
    assert claude.find(SHARD, since=LONG_AGO, known=OURS) is None


def test_a_running_stranger_does_not_hide_our_ended_batch(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    ours = send_claude(claude, tmp_path)
    sim.advance(60)
    send_claude(claude, tmp_path, prefix="theirs")
    found = claude.find(SHARD, since=LONG_AGO, known=OURS)
    assert found is not None
    assert found.batch_id == ours.batch_id


def test_a_batch_from_before_is_not_looked_at(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    send_claude(claude, tmp_path)
    sim.advance(3600)
    later = send_claude(claude, tmp_path, prefix="later", rows=1)
    assert claude.find(SHARD, since=later.created_at, known=OURS) is None
    assert sim.log("content") == []


def test_an_ended_batch_whose_results_are_not_there_stays_undecided(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    send_claude(claude, tmp_path)
    sim.advance(30 * 24 * 3600)
    with pytest.raises(Undecided):
        claude.find(SHARD, since=LONG_AGO, known=OURS)


@pytest.mark.parametrize("operation", ["list", "content"])
def test_a_look_that_fails_is_no_answer(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path, operation: str
) -> None:
    send_claude(claude, tmp_path)
    sim.advance(60)
    sim.faults({"calls": [{"do": "fail", "operation": operation, "status": 500}]})
    with pytest.raises(Unavailable):
        claude.find(SHARD, since=LONG_AGO, known=OURS)


def test_a_first_line_that_came_whole_is_enough(
    sim: Simulator, claude: AnthropicClient, waits: list[float], tmp_path: Path
) -> None:
    ours = send_claude(claude, tmp_path)
    sim.advance(60)
    sim.faults({"calls": [{"do": "cut", "operation": "content", "bytes": 700}]})
    found = claude.find(SHARD, since=LONG_AGO, known=OURS)
    assert found is not None
    assert (found.batch_id, waits) == (ours.batch_id, [])
