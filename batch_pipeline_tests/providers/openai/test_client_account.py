"""Whose key it is, where it goes, and that it never shows."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from batch_pipeline.errors import ProviderError, Unauthorized, Unavailable, UsageError
from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline_tests.providers.factories import (
    KEY,
    LONG_AGO,
    NO_LINES,
    NOTHING,
    make_client,
    make_shard,
    write_lines,
)
from batch_pipeline_tests.providers.fixed_answers import answering, closed

_TESTS = Path(__file__).parents[2]
_ECHO = (
    f'{{"error":{{"message":"Incorrect API key provided: {KEY}. Find it in your account.",'
    '"type":"invalid_request_error","param":null,"code":"invalid_api_key"}}'
).encode()
_MASKED = (
    b'{"error":{"message":"Incorrect API key provided: 0123abcd****wxyz. Look at sk-te**yz again.",'
    b'"type":"invalid_request_error","param":null,"code":"invalid_api_key"}}'
)


def _calls(client: OpenAIClient, folder: Path) -> list[Callable[[], object]]:
    """Every call that a client can make."""
    lines = write_lines(folder)
    return [
        lambda: client.upload(lines, name="s-1.jsonl"),
        lambda: client.create(make_shard(), NO_LINES, file_id="file-1"),
        lambda: client.find(make_shard(), since=LONG_AGO, known=NOTHING),
        lambda: list(client.observe(since=LONG_AGO)),
        lambda: client.retrieve("batch_1"),
        lambda: client.cancel("batch_1"),
        lambda: client.download("file-1", folder / "out.jsonl"),
        lambda: client.delete_file("file-1"),
    ]


def _everything_about(error: BaseException | None) -> str:
    """All text that an exception and what hangs on it can show; none of it may be the SDK's."""
    shown: list[str] = []
    while error is not None:
        assert isinstance(error, ProviderError)
        shown += [repr(error), str(error), repr(error.args), repr(vars(error))]
        shown += traceback.format_exception(error)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if _TESTS not in Path(frame.f_code.co_filename).parents:  # a test knows its own key
                shown.append(repr(frame.f_locals))
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("echo", [_ECHO, _MASKED])
def test_a_key_that_the_provider_repeats_is_repeated_nowhere(
    echo: bytes, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for chatty in ("openai", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=chatty)
    with answering(echo, status=status) as url:
        client = make_client(url, tries=2)
        for call in _calls(client, tmp_path):
            with pytest.raises(ProviderError, match="Incorrect API key provided: <key>") as caught:
                call()
            assert isinstance(caught.value, Unauthorized) is (status == 401)
            shown = _everything_about(caught.value)
            assert not any(secret in shown for secret in (KEY, "0123abcd", "sk-te"))
    assert "HTTP Request" in caplog.text  # the transport's own records were listened to
    assert ("made again in" in caplog.text) is (status == 500)
    everything = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    assert not any(secret in everything for secret in (KEY, "0123abcd", "sk-te"))


def test_an_unreachable_host_does_not_show_the_key_either(tmp_path: Path) -> None:
    client = make_client(closed(), tries=1)
    for call in _calls(client, tmp_path):
        with pytest.raises(ProviderError) as caught:
            call()
        assert KEY not in _everything_about(caught.value)


def test_the_client_itself_shows_account_and_host_and_is_never_serialised() -> None:
    client = make_client("http://user:secret@127.0.0.1:1/v1")
    assert repr(client) == f"OpenAIClient(account={client.account!r}, host='127.0.0.1')"
    assert KEY not in repr(vars(client))
    for serialise in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="build it from the environment"):
            serialise(client)


@pytest.mark.parametrize("key", ["", "  ", "\n"])
def test_an_empty_key_is_told_by_the_name_of_its_variable(key: str) -> None:
    with pytest.raises(Unauthorized, match="OPENAI_API_KEY is not set or empty"):
        OpenAIClient.from_env({"OPENAI_API_KEY": key})


@pytest.mark.parametrize("key", ["sk-one two", "sk-one\ntwo", "“sk-quoted”"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(Unauthorized, match="OPENAI_API_KEY holds characters") as caught:
        OpenAIClient.from_env({"OPENAI_API_KEY": key})
    assert "sk-" not in str(caught.value)


def test_a_line_break_after_the_key_is_no_part_of_it() -> None:
    url = "http://127.0.0.1:1/v1"
    assert make_client(url, key=f"{KEY}\n").account == make_client(url).account


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "https://"])
def test_a_base_url_that_is_none_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="OPENAI_BASE_URL"):
        OpenAIClient.from_env({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url})


def test_an_account_is_a_key_at_a_place_for_an_organization_and_a_project() -> None:
    base = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    others = [
        {"OPENAI_API_KEY": f"{KEY}2"},
        {"OPENAI_BASE_URL": "http://127.0.0.1:2/v1"},
        {"OPENAI_ORG_ID": "org-1"},
        {"OPENAI_PROJECT_ID": "org-1"},
    ]
    accounts = {OpenAIClient.from_env({**base, **other}).account for other in [{}, *others]}
    assert len(accounts) == 5
    assert OpenAIClient.from_env(base).account in accounts


def test_an_empty_organization_is_none_and_not_an_empty_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "")
    client = OpenAIClient.from_env({**os.environ, "OPENAI_API_KEY": KEY})
    assert "" not in client._sdk.default_headers.values()


def test_only_openai_s_own_batches_have_a_page() -> None:
    official = OpenAIClient.from_env({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": ""})
    europe = make_client("https://eu.api.openai.com/v1")
    page = "https://platform.openai.com/batches/batch_1"
    assert official.dashboard_url("batch_1") == europe.dashboard_url("batch_1") == page
    assert make_client("https://notapi.openai.com.evil/v1").dashboard_url("batch_1") is None
    assert make_client("http://127.0.0.1:1/v1").dashboard_url("batch_1") is None


def test_a_short_placeholder_key_does_not_tear_up_messages() -> None:
    body = b'{"error":{"message":"The server had an error","type":"server_error","code":null}}'
    with answering(body, status=500) as url, pytest.raises(Unavailable, match="The server had an"):
        make_client(url, key="e", tries=1).retrieve("batch_1")
