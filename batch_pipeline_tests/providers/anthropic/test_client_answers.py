"""Answers of Anthropic's that its simulator never gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch_pipeline.model import RemoteStatus
from batch_pipeline_tests.providers.anthropic.factories import make_anthropic
from batch_pipeline_tests.providers.fixed_answers import answering

BATCH: dict[str, Any] = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-20T10:00:00.123456+00:00",
    "expires_at": "2026-11-21T10:00:00.123456+00:00",
    "ended_at": None,
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}


@pytest.mark.parametrize(
    ("said", "counts", "status"),
    [
        ({"processing_status": "in_progress"}, {"processing": 4}, RemoteStatus.RUNNING),
        ({"processing_status": "canceling"}, {"processing": 4}, RemoteStatus.ENDING),
        ({"processing_status": "paused"}, {"processing": 4}, RemoteStatus.UNKNOWN),
        ({}, {"succeeded": 4}, RemoteStatus.COMPLETED),
        ({}, {"errored": 4}, RemoteStatus.COMPLETED),
        ({}, {"succeeded": 3, "expired": 1}, RemoteStatus.EXPIRED),
        ({"cancel_initiated_at": BATCH["created_at"]}, {"succeeded": 4}, RemoteStatus.COMPLETED),
        (
            {"cancel_initiated_at": BATCH["created_at"]},
            {"succeeded": 3, "canceled": 1},
            RemoteStatus.CANCELLED,
        ),
    ],
)
def test_how_a_batch_ended_is_read_from_its_counts(
    said: dict[str, object], counts: dict[str, int], status: RemoteStatus
) -> None:
    ended = {**BATCH, "processing_status": "ended", "request_counts": counts, **said}
    with answering(json.dumps(ended).encode()) as url:
        seen = make_anthropic(url).retrieve("msgbatch_1")
    assert (seen.status, seen.total, seen.metadata) == (status, 4, {})
    assert seen.created_at.isoformat() == "2026-11-20T10:00:00.123456+00:00"
    assert (seen.output_file_id == "msgbatch_1") == (ended["processing_status"] == "ended")


def test_an_id_cannot_lead_to_another_path() -> None:
    with answering(json.dumps(BATCH).encode()) as url:
        assert make_anthropic(url).retrieve("../../files/x?y=1").batch_id == "msgbatch_1"
