"""Answers that the simulator never gives: strange, broken or none at all."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from batch_pipeline.errors import (
    Ambiguous,
    OutOfCredit,
    ProviderError,
    Refused,
    StoreError,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from batch_pipeline.model import BatchProblem, Fault, Observation, RemoteStatus
from batch_pipeline.providers.failed_calls import cut_short
from batch_pipeline.providers.openai.answers import Batch, observation
from batch_pipeline_tests.providers.factories import (
    LONG_AGO,
    NO_LINES,
    NOTHING,
    make_client,
    make_shard,
)
from batch_pipeline_tests.providers.fixed_answers import answering, closed, silent

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
        BatchProblem("invalid_url", "No.", 3, "url", Fault.REQUEST, every_line=True),
        BatchProblem(code=None, message="(no message)"),
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


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"{}", b'{"id": "batch_1', b""])
def test_an_answer_that_is_no_batch_leaves_a_create_in_doubt_and_a_look_unavailable(
    body: bytes,
) -> None:
    with answering(body) as url:
        client = make_client(url, tries=1)
        with pytest.raises(Ambiguous, match="look for it before anything is sent again"):
            client.create(make_shard(), NO_LINES, file_id="file-1")
        with pytest.raises(Unavailable, match="another shape than OpenAI"):
            client.retrieve("batch_1")
        with pytest.raises(Unavailable):
            client.find(make_shard(), since=LONG_AGO, known=NOTHING)


def test_an_answer_cut_on_its_way_leaves_a_create_in_doubt() -> None:
    body = json.dumps(_MINIMAL).encode()
    with answering(body, headers={"Content-Length": "9999"}) as url:
        client = make_client(url, tries=1)
        with pytest.raises(Ambiguous):
            client.create(make_shard(), NO_LINES, file_id="file-1")
        with pytest.raises(Unavailable):
            client.retrieve("batch_1")


def test_silence_leaves_a_create_in_doubt_and_a_look_unavailable() -> None:
    with silent() as url:
        client = make_client(url, tries=1, answer=0.05)
        with pytest.raises(Ambiguous, match="APITimeoutError"):
            client.create(make_shard(), NO_LINES, file_id="file-1")
        with pytest.raises(Unavailable, match="APITimeoutError"):
            client.retrieve("batch_1")


def test_a_refused_connection_is_tried_again_where_that_is_free() -> None:
    waits: list[float] = []
    client = make_client(closed(), waits=waits, tries=3)
    with pytest.raises(Ambiguous):
        client.create(make_shard(), NO_LINES, file_id="file-1")
    assert waits == []
    with pytest.raises(Unavailable, match="APIConnectionError"):
        client.retrieve("batch_1")
    assert waits == [0.5, 1.0]


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, None, "Invalid value.", Refused),
        (400, "billing_hard_limit_reached", "Billing hard limit.", OutOfCredit),
        (400, "token_limit_exceeded", "Enqueued token limit reached.", Throttled),
        (400, None, "File is too large.", TooLarge),
        (413, None, "Payload Too Large", TooLarge),
        (401, "invalid_api_key", "No.", Unauthorized),
        (402, None, "Pay.", OutOfCredit),
        (403, "unsupported_country", "No.", Unauthorized),
        (422, None, "No.", Refused),
        (429, "rate_limit_exceeded", "Slow down.", Throttled),
        (429, "insufficient_quota", "You exceeded your quota.", OutOfCredit),
        (408, None, "Timeout.", Ambiguous),
        (409, None, "Conflict.", Ambiguous),
        (500, "server_error", "Oops.", Ambiguous),
        (503, None, "Oops.", Ambiguous),
        (304, None, "", Ambiguous),
    ],
)
def test_a_create_is_certain_or_in_doubt_by_what_was_answered(
    status: int, code: str | None, message: str, kind: type[ProviderError]
) -> None:
    body = b"" if status == 304 else _error(status, code, message)
    with answering(body, status=status) as url, pytest.raises(ProviderError) as caught:
        make_client(url).create(make_shard(), NO_LINES, file_id="file-1")
    assert type(caught.value) is kind
    assert "create of a batch for shard s-1 from file file-1" in str(caught.value)
    assert f"HTTP {status}" in str(caught.value)


def test_a_gateway_s_page_is_quoted_only_in_part() -> None:
    with answering(b"<html>" + b"x" * 9_000, status=502) as url:
        with pytest.raises(Unavailable, match="HTTP 502: <html>x") as caught:
            make_client(url, tries=1).retrieve("batch_1")
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize("body", [b"[]", b'{"error": "plain"}', b'{"error": {}}'])
def test_an_error_without_a_message_still_tells_its_status(body: bytes) -> None:
    with answering(body, status=400) as url, pytest.raises(Refused, match="HTTP 400"):
        make_client(url).retrieve("batch_1")


@pytest.mark.parametrize("data", [[], [_MINIMAL]])
def test_a_listing_that_does_not_advance_is_an_error_and_no_false_none(data: list[object]) -> None:
    body = json.dumps({"object": "list", "data": data, "has_more": True}).encode()
    with answering(body) as url, pytest.raises(Unavailable, match="goes on after"):
        make_client(url).find(make_shard(), since=LONG_AGO, known=NOTHING)


def test_a_shard_without_intent_is_neither_sent_nor_looked_for() -> None:
    client = make_client(closed())
    with pytest.raises(ValueError, match="shard s-1 has no intent"):
        client.create(make_shard(intent=None), NO_LINES, file_id="file-1")
    with pytest.raises(ValueError, match="shard s-1 has no intent"):
        client.find(make_shard(intent=None), since=LONG_AGO, known=NOTHING)


def test_a_download_cut_on_its_way_is_tried_again_and_leaves_nothing(tmp_path: Path) -> None:
    waits: list[float] = []
    target = tmp_path / "out.jsonl"
    with answering(b"half", headers={"Content-Length": "8"}) as url:
        client = make_client(url, waits=waits, tries=3)
        with pytest.raises(Unavailable, match="download of file file-1"):
            client.download("file-1", target)
    assert len(waits) == 2
    assert list(tmp_path.iterdir()) == []


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


def test_a_compressed_download_is_unpacked_and_counts_as_whole(tmp_path: Path) -> None:
    packed = gzip.compress(b"line\n" * 100)
    headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
    with answering(packed, headers=headers) as url:
        size = make_client(url).download("file-1", tmp_path / "out.jsonl")
    assert size == 500
    assert (tmp_path / "out.jsonl").read_bytes() == b"line\n" * 100


def test_an_upload_without_its_file_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"lines\.jsonl: No such file"):
        make_client(closed()).upload(tmp_path / "lines.jsonl", name="s-1.jsonl")
