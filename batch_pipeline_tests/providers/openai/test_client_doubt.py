"""What OpenAI says by code and not by status: a certain no, and no doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_pipeline.errors import OutOfCredit, ProviderError, Throttled
from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import (
    LONG_AGO,
    NO_LINES,
    NOTHING,
    make_shard,
    write_lines,
)


@pytest.fixture
def file_id(client: OpenAIClient, tmp_path: Path) -> str:
    return client.upload(write_lines(tmp_path), name="s-1.jsonl")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "billing_hard_limit_reached", OutOfCredit),
        (429, "insufficient_quota", OutOfCredit),
        (400, "token_limit_exceeded", Throttled),
    ],
)
def test_a_certain_no_is_no_doubt(
    sim: Simulator,
    client: OpenAIClient,
    file_id: str,
    status: int,
    code: str,
    kind: type[ProviderError],
) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "create", "status": status, "code": code}]})
    with pytest.raises(kind):
        client.create(make_shard(), NO_LINES, file_id=file_id)
    sim.faults(None)
    assert client.find(make_shard(), since=LONG_AGO, known=NOTHING) is None
