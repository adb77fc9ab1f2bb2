"""Whose key it is, where it goes, and that it never shows, at every provider."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from batch_pipeline.errors import ProviderError, Unauthorized, Unavailable, UsageError
from batch_pipeline.providers.protocol import Client, Known
from batch_pipeline.providers.registry import Registry
from batch_pipeline_tests.contract.cases import Case
from batch_pipeline_tests.contract.client_runner import ClientRunner
from batch_pipeline_tests.providers.fixed_answers import answering, closed

TESTS = Path(__file__).parents[1]
SECRET = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"  # noqa: S105 - nobody's
SOME = "00000000-0000-4000-8000-000000000000"
NOWHERE = "http://127.0.0.1:1"
CHATTY = ("openai", "anthropic", "mistralai.client", "httpx2", "httpcore2")
HEARD = {
    f"Incorrect API key provided: {SECRET}. Find it.": "Incorrect API key provided: <key>",
    "Incorrect API key provided: 0123abcd****wxyz. Look at sk-te**yz again.": "provided: <key>",
    f"No such key as {SECRET}.": "No such key as <key>",
}
"""What providers say of a key, and what we repeat of it."""


def calls(runner: ClientRunner, client: Client) -> list[Callable[[], object]]:
    """Every call that the client can make."""
    lines, shard = runner.lines(), runner.shard()
    every: list[Callable[[], object]] = [
        lambda: client.create(shard, lines, file_id=SOME),
        lambda: client.find(shard, since=runner.since, known=Known()),
        lambda: list(client.observe(since=runner.since)),
        lambda: client.retrieve(SOME),
        lambda: client.cancel(SOME),
        lambda: client.download(SOME, runner.folder / "out.jsonl"),
        lambda: client.delete_file(SOME),
    ]
    if runner.case.uploads:
        every.append(lambda: client.upload(lines, name="s-1"))
    if runner.case.deletes_batches:
        every.append(lambda: client.delete_batch(SOME))
    return every


def everything_about(error: BaseException | None) -> str:
    """All text that an exception and what hangs on it can show; none of it may be the SDK's."""
    shown: list[str] = []
    while error is not None:
        assert isinstance(error, ProviderError)
        shown += [repr(error), str(error), repr(error.args), repr(vars(error))]
        shown += traceback.format_exception(error)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if TESTS not in Path(frame.f_code.co_filename).parents:  # a test knows its own key
                shown.append(repr(frame.f_locals))
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("said", HEARD)
def test_a_key_that_the_provider_repeats_is_repeated_nowhere(
    runner: ClientRunner,
    said: str,
    status: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MISTRAL_DEBUG", "1")  # the SDK's own log of headers and bodies
    for chatty in (None, *CHATTY):
        caplog.set_level(logging.DEBUG, logger=chatty)
    error = {"message": said, "type": "authentication_error", "param": None, "code": None}
    with answering(json.dumps({"error": error, "message": said}).encode(), status=status) as url:
        client = runner.at(url, tries=2, key=SECRET)
        for call in calls(runner, client):
            with pytest.raises(ProviderError, match=HEARD[said]) as caught:
                call()
            assert isinstance(caught.value, Unauthorized) is (status == 401)
            shown = everything_about(caught.value)
            assert not any(secret in shown for secret in (SECRET, "0123abcd", "sk-te"))
    assert "HTTP Request" in caplog.text  # the transport's own records were listened to
    assert ("made again in" in caplog.text) is (status == 500)
    everything = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    assert not any(secret in everything for secret in (SECRET, "0123abcd", "sk-te"))


def test_an_unreachable_host_does_not_show_the_key_either(runner: ClientRunner) -> None:
    client = runner.at(closed(), key=SECRET)
    for call in calls(runner, client):
        with pytest.raises(ProviderError) as caught:
            call()
        assert SECRET not in everything_about(caught.value)


def test_a_client_that_logs_everything_keeps_its_key_and_its_prompts(
    runner: ClientRunner, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client = runner.client_of({runner.case.key_variable: SECRET})
        made = runner.send(client=client)
    runner.sim.advance(60)
    assert runner.sim.custom_ids(made.batch_id) == runner.ids(2)
    assert "batch created" in caplog.messages
    assert SECRET not in caplog.text
    assert "Say hello" not in caplog.text


def test_a_client_itself_shows_account_and_host_and_is_never_serialised(
    runner: ClientRunner,
) -> None:
    client = runner.at("http://user:secret@127.0.0.1:1", key=SECRET)
    name = type(client).__name__
    assert repr(client) == f"{name}(account={client.account!r}, host='127.0.0.1')"
    assert SECRET not in repr(vars(client))
    article = "an" if name[0] in "AO" else "a"
    for serialise in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=f"^{article} {name} holds a key.* from the environ"):
            serialise(client)


@pytest.mark.parametrize("key", ["", "  ", "\n"])
def test_an_empty_key_is_told_by_the_name_of_its_variable(case: Case, key: str) -> None:
    told = f"^{case.provider}: {case.key_variable} is not set or empty"
    with pytest.raises(Unauthorized, match=told):
        Registry().client(case.provider, {case.key_variable: key})


@pytest.mark.parametrize("key", ["sk-one two", "sk-one\ntwo", "“sk-quoted”", "sk-schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(case: Case, key: str) -> None:
    told = f"^{case.provider}: {case.key_variable} holds characters"
    with pytest.raises(Unauthorized, match=told) as caught:
        Registry().client(case.provider, {case.key_variable: key})
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "https://"])
def test_a_base_url_that_is_none_is_a_usage_error(case: Case, url: str) -> None:
    title = case.codec.capabilities.title.split()[0]
    told = f"^{case.url_variable} is not an http.s. URL. Leave it unset for {title} itself"
    with pytest.raises(UsageError, match=told):
        Registry().client(case.provider, {case.key_variable: SECRET, case.url_variable: url})


def test_an_account_is_a_key_at_a_place_and_whose_it_is(runner: ClientRunner) -> None:
    case = runner.case
    base = {case.key_variable: SECRET, case.url_variable: NOWHERE}
    others: list[dict[str, str]] = [
        {case.key_variable: f"{SECRET}2"},
        {case.url_variable: "http://127.0.0.1:2"},
        *({variable: "whose-1"} for variable in case.account),
    ]
    accounts = {runner.client_of({**base, **other}).account for other in [{}, *others]}
    assert len(accounts) == 1 + len(others)
    assert {len(account) for account in accounts} == {16}
    plain = runner.client_of(base).account
    same = {
        case.key_variable: f"{SECRET}\n",
        case.url_variable: f" {NOWHERE}\n",
        **dict.fromkeys(case.account, ""),
    }
    assert runner.client_of(same).account == plain
    assert plain in accounts


def test_without_a_url_or_with_an_empty_one_the_provider_itself_is_asked(case: Case) -> None:
    hosts = set()
    for env in ({}, {case.url_variable: " "}):
        client = Registry().client(case.provider, {case.key_variable: SECRET, **env})
        hosts.add(repr(client))
        assert (client.dashboard_url(SOME) is None) is (not case.has_dashboard)
        client.close()
    assert len(hosts) == 1
    assert f"host='api.{case.provider}." in hosts.pop()


def test_a_wrong_key_is_told_once_with_the_variable_that_holds_it(runner: ClientRunner) -> None:
    client = runner.client_of({runner.case.key_variable: "sk-invalid-0123456789"})
    with pytest.raises(Unauthorized, match=rf"HTTP 401: .*Check {runner.case.key_variable}"):
        client.retrieve(SOME)
    assert len(runner.calls()) == 1
    assert runner.waits == []


def test_a_short_placeholder_key_does_not_tear_up_messages(runner: ClientRunner) -> None:
    said = {"message": "The server had an error", "type": "server_error"}
    body = json.dumps({"error": said, "message": said["message"]}).encode()
    with answering(body, status=500) as url, pytest.raises(Unavailable, match="The server had an"):
        runner.at(url, key="e").retrieve(SOME)
