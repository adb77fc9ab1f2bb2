"""Whose client it is, and what it does with answers that the simulator never gives."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from batch_pipeline.errors import Ambiguous, Refused, Unauthorized, Unavailable, UsageError
from batch_pipeline.model import RemoteStatus
from batch_pipeline.providers.anthropic.client import AnthropicClient
from batch_pipeline_tests.providers.anthropic.factories import KEY, make_anthropic, send_claude
from batch_pipeline_tests.providers.factories import LONG_AGO
from batch_pipeline_tests.providers.fixed_answers import answering, closed, silent

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


def environment(**more: str) -> dict[str, str]:
    return {"ANTHROPIC_API_KEY": KEY, **more}


def account(env: Mapping[str, str]) -> str:
    client = AnthropicClient.from_env(env)
    client.close()
    return client.account


def test_an_account_is_a_hash_of_key_url_and_workspace() -> None:
    plain = account(environment())
    assert plain == account(environment(ANTHROPIC_BASE_URL=" ", ANTHROPIC_WORKSPACE_ID=""))
    others = [
        account(environment(ANTHROPIC_API_KEY="sk-ant-another")),
        account(environment(ANTHROPIC_BASE_URL="http://127.0.0.1:1")),
        account(environment(ANTHROPIC_WORKSPACE_ID="wrkspc_1")),
    ]
    assert len({plain, *others}) == 4
    assert len(plain) == 16


@pytest.mark.parametrize("key", ["", " \n", "two words", "schlüssel", "a\nb"])
def test_a_key_that_cannot_be_one_is_said_before_any_call(key: str) -> None:
    with pytest.raises(Unauthorized, match="ANTHROPIC_API_KEY") as caught:
        AnthropicClient.from_env({"ANTHROPIC_API_KEY": key})
    assert not key.strip() or key not in str(caught.value)


def test_a_base_url_that_is_none_is_said_before_any_call() -> None:
    with pytest.raises(UsageError, match="ANTHROPIC_BASE_URL"):
        AnthropicClient.from_env(environment(ANTHROPIC_BASE_URL="api.anthropic.com"))


def test_a_client_shows_no_key_and_is_never_serialised() -> None:
    client = make_anthropic("http://127.0.0.1:1")
    assert KEY not in repr(client)
    assert client.account in repr(client)
    with pytest.raises(TypeError, match="holds a key"):
        pickle.dumps(client)
    assert client.dashboard_url("msgbatch_1") is None


def test_a_message_that_quotes_the_key_is_repeated_without_it() -> None:
    body = {"type": "error", "error": {"type": "authentication_error", "message": f"bad {KEY}"}}
    with (
        answering(json.dumps(body).encode(), status=401) as url,
        pytest.raises(Unauthorized, match="bad <key>") as caught,
    ):
        make_anthropic(url).retrieve("msgbatch_1")
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize(
    "body", [b"<html>busy</html>", b'{"error": "busy"}', b'{"message": "busy"}', b"[]", b"\xff"]
)
def test_errors_of_any_shape_are_errors_of_ours(body: bytes, tmp_path: Path) -> None:
    with answering(body, status=400) as url, pytest.raises(Refused):
        make_anthropic(url).retrieve("msgbatch_1")
    with answering(body, status=503) as url, pytest.raises(Ambiguous):
        send_claude(make_anthropic(url), tmp_path)


@pytest.mark.parametrize("body", [b"", b"nope", b"{}", b'{"id": 5}', b"\xff", b"[]"])
def test_an_answer_that_is_not_anthropics_leaves_a_create_in_doubt(
    body: bytes, tmp_path: Path
) -> None:
    with answering(body) as url:
        client = make_anthropic(url, tries=1)
        with pytest.raises(Ambiguous, match="not Anthropic's"):
            send_claude(client, tmp_path)
        with pytest.raises(Unavailable):
            client.retrieve("msgbatch_1")


def test_no_redirect_takes_the_key_to_another_host(tmp_path: Path) -> None:
    calls: tuple[Callable[[AnthropicClient], object], ...] = (
        lambda client: client.retrieve("b"),
        lambda client: client.cancel("b"),
        lambda client: client.delete_batch("b"),
        lambda client: client.download("b", tmp_path / "out"),
        lambda client: list(client.observe(since=LONG_AGO)),
        lambda client: send_claude(client, tmp_path),
    )
    with answering(json.dumps(BATCH).encode()) as stranger:
        moved = {"Location": f"{stranger}/v1/messages/batches/b"}
        for status in (302, 307):
            with answering(b"", status=status, headers=moved) as url:
                for call in calls:
                    with pytest.raises(Refused, match=f"HTTP {status}"):
                        call(make_anthropic(url))


def test_nobody_there_or_nobody_answering_leaves_a_create_in_doubt(tmp_path: Path) -> None:
    client = make_anthropic(closed(), tries=1)
    with pytest.raises(Unavailable, match="no whole answer"):
        client.retrieve("msgbatch_1")
    with pytest.raises(Ambiguous):
        send_claude(client, tmp_path)
    with silent() as url, pytest.raises(Unavailable):
        make_anthropic(url, tries=1, answer=0.05).retrieve("msgbatch_1")


@pytest.mark.parametrize("page", [[BATCH], []])
def test_a_list_that_does_not_go_on_is_no_answer(page: list[object]) -> None:
    body = json.dumps({"data": page, "has_more": True, "first_id": None, "last_id": None})
    with answering(body.encode()) as url, pytest.raises(Unavailable, match="goes on"):
        list(make_anthropic(url).observe(since=LONG_AGO))


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
