"""A create without a certain answer: made or not, it is found out and never sent again blindly."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_pipeline.errors import Ambiguous, OutOfCredit, ProviderError, Throttled
from batch_pipeline.providers.openai import OpenAIClient
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import (
    LONG_AGO,
    make_shard,
    write_lines,
)


@pytest.fixture
def file_id(client: OpenAIClient, tmp_path: Path) -> str:
    return client.upload(write_lines(tmp_path), name="s-1.jsonl")


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "fail", "status": 500},
        {"do": "fail", "status": 503, "retry_after": 1},
        {"do": "fail", "status": 408},
        {"do": "fail", "status": 409},
        {"do": "drop"},
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_create_in_doubt_is_made_once_and_found_exactly_if_it_happened(  # noqa: PLR0913, PLR0917 - fixtures
    sim: Simulator,
    client: OpenAIClient,
    waits: list[float],
    file_id: str,
    fault: dict[str, object],
    when: str,
) -> None:
    sim.faults({"calls": [{**fault, "operation": "create", "when": when}]})
    with pytest.raises(Ambiguous, match="look for it before anything is sent again"):
        client.create(make_shard(), file_id=file_id)
    creates = sim.log("create")
    assert len(creates) == 1
    assert waits == []
    found = client.find(make_shard(), since=LONG_AGO)
    assert (found.batch_id if found else None) == creates[0].effect
    assert (found is not None) is (when == "after")


def test_a_create_whose_answer_was_cut_is_adopted(
    sim: Simulator, client: OpenAIClient, file_id: str
) -> None:
    sim.faults({"calls": [{"do": "cut", "operation": "create", "bytes": 40}]})
    with pytest.raises(Ambiguous):
        client.create(make_shard(), file_id=file_id)
    found = client.find(make_shard(), since=LONG_AGO)
    assert found is not None
    assert found.metadata["intent"] == "intent-1"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "billing_hard_limit_reached", OutOfCredit),
        (429, "insufficient_quota", OutOfCredit),
        (400, "token_limit_exceeded", Throttled),
    ],
)
def test_a_certain_no_is_no_doubt(  # noqa: PLR0913, PLR0917 - fixtures and columns, by name
    sim: Simulator,
    client: OpenAIClient,
    file_id: str,
    status: int,
    code: str,
    kind: type[ProviderError],
) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "create", "status": status, "code": code}]})
    with pytest.raises(kind):
        client.create(make_shard(), file_id=file_id)
    sim.faults(None)
    assert client.find(make_shard(), since=LONG_AGO) is None
