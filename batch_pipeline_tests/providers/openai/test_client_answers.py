"""Answers that the simulator never gives: strange, broken or none at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from batch_pipeline.errors import (
    Ambiguous,
    OutOfCredit,
    ProviderError,
    Throttled,
    TooLarge,
)
from batch_pipeline.model import Fault, Observation, Problem, RemoteStatus
from batch_pipeline.providers.failed_calls import cut_short
from batch_pipeline.providers.openai.answers import Batch, observation
from batch_pipeline_tests.providers.factories import (
    NO_LINES,
    make_client,
    make_shard,
)
from batch_pipeline_tests.providers.fixed_answers import answering

_FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures" / "openai"
_MINIMAL = {
    "id": "batch_1",
    "object": "batch",
    "status": "in_progress",
    "created_at": 1_711_471_533,
}


def _observe(**fields: object) -> Observation:
    return observation(msgspec.json.decode(json.dumps({**_MINIMAL, **fields}), type=Batch))


def _error(status: int, code: str | None = None, message: str = "Something.") -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return json.dumps({"error": error, "status": status}).encode()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("validating", RemoteStatus.VALIDATING),
        ("in_progress", RemoteStatus.RUNNING),
        ("finalizing", RemoteStatus.ENDING),
        ("cancelling", RemoteStatus.ENDING),
        ("completed", RemoteStatus.COMPLETED),
        ("failed", RemoteStatus.FAILED),
        ("expired", RemoteStatus.EXPIRED),
        ("cancelled", RemoteStatus.CANCELLED),
        ("paused_for_review", RemoteStatus.UNKNOWN),
    ],
)
def test_every_status_has_our_word_and_keeps_the_provider_s(said: str, meant: RemoteStatus) -> None:
    seen = _observe(status=said)
    assert (seen.status, seen.raw_status) == (meant, said)


@pytest.mark.parametrize("absent", [None, ""])
def test_a_null_and_an_empty_file_id_are_both_no_file(absent: str | None) -> None:
    seen = _observe(output_file_id=absent, error_file_id=absent, input_file_id=absent)
    assert (seen.output_file_id, seen.error_file_id, seen.input_file_id) == (None, None, None)


def test_a_bare_batch_has_no_counts_no_problems_and_no_end() -> None:
    seen = _observe(errors=None, request_counts=None, metadata=None)
    assert (seen.total, seen.completed, seen.failed) == (0, 0, 0)
    assert (seen.problems, seen.metadata, seen.ended_at) == ((), {}, None)
    assert seen.created_at == datetime(2024, 3, 26, 16, 45, 33, tzinfo=UTC)


@pytest.mark.parametrize("field", ["completed_at", "failed_at", "expired_at", "cancelled_at"])
def test_the_end_is_whichever_ending_happened(field: str) -> None:
    assert _observe(**{field: 1_711_493_163}).ended_at == datetime(
        2024, 3, 26, 22, 46, 3, tzinfo=UTC
    )


def test_problems_keep_their_line_and_survive_missing_parts() -> None:
    listed = [
        {"code": "invalid_url", "message": "No.", "param": "url", "line": 3},
        {"code": None, "message": None, "param": None, "line": None},
    ]
    assert _observe(errors={"object": "list", "data": listed}).problems == (
        Problem("invalid_url", "No.", 3, "url", Fault.REQUEST, every_line=True),
        Problem(code=None, message="(no message)"),
    )
    assert _observe(errors={"object": "list", "data": None}).problems == ()


@pytest.mark.skipif(not _FIXTURES.is_dir(), reason="the shared fixtures are not here")
def test_documented_batch_objects_are_understood() -> None:
    text = (_FIXTURES / "doc_batch_object_completed_usage.json").read_bytes()
    done = observation(msgspec.json.decode(text, type=Batch))
    assert (done.status, done.completed, done.failed) == (RemoteStatus.COMPLETED, 95, 5)
    assert (done.output_file_id, done.error_file_id) == ("file-cvaTdG", "file-HOWS94")
    text = (_FIXTURES / "doc_batch_cancelling.json").read_bytes()
    cancelling = observation(msgspec.json.decode(text, type=Batch))
    assert (cancelling.status, cancelling.ended_at) == (RemoteStatus.ENDING, None)
    assert cancelling.metadata["batch_description"] == "Nightly eval job"


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, "billing_hard_limit_reached", "Billing hard limit.", OutOfCredit),
        (400, "token_limit_exceeded", "Enqueued token limit reached.", Throttled),
        (400, None, "File is too large.", TooLarge),
        (429, "rate_limit_exceeded", "Slow down.", Throttled),
        (429, "insufficient_quota", "You exceeded your quota.", OutOfCredit),
        (304, None, "", Ambiguous),
    ],
)
def test_a_create_is_certain_or_in_doubt_by_the_code_and_the_words_too(
    status: int, code: str | None, message: str, kind: type[ProviderError]
) -> None:
    body = b"" if status == 304 else _error(status, code, message)
    with answering(body, status=status) as url, pytest.raises(ProviderError) as caught:
        make_client(url).create(make_shard(), NO_LINES, file_id="file-1")
    assert type(caught.value) is kind
    assert "create of a batch for shard s-1 from file file-1" in str(caught.value)
    assert f"HTTP {status}" in str(caught.value)


@pytest.mark.parametrize(
    ("received", "headers", "said"),
    [
        (10, {"content-length": "10"}, None),
        (9, {"content-length": "10"}, "9 of 10 bytes came"),
        (9, {}, None),
        (9, {"content-length": "unknown"}, None),
    ],
)
def test_an_answer_is_cut_short_when_it_broke_its_promise(
    received: int, headers: dict[str, str], said: str | None
) -> None:
    heard = cut_short(received, headers)
    assert (heard.message if heard else None) == said
