"""Answers that no simulator gives, at every provider: strange, broken, or none at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from batch_pipeline.errors import (
    Ambiguous,
    ProviderError,
    Refused,
    StoreError,
    Unavailable,
)
from batch_pipeline.providers.protocol import Client, Known
from batch_pipeline_tests.contract.client_runner import ClientRunner
from batch_pipeline_tests.contract.test_calls import told
from batch_pipeline_tests.providers.fixed_answers import answering, closed, silent

SOME = "00000000-0000-4000-8000-000000000000"
FILE = {"Content-Type": "application/octet-stream"}


def create(runner: ClientRunner, client: Client) -> object:
    """A create, at whoever answers."""
    return client.create(runner.shard(), runner.lines(), file_id=SOME)


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>welcome</html>", b"", b"nope", b"{}", b"[]", b"null", b"\xff"),
        *(b'{"id": 5}', b'{"id": "batch_1', b'{"id": "batch_1"}'),
    ],
)
def test_an_answer_that_is_no_batch_leaves_a_create_in_doubt_and_a_look_unavailable(
    runner: ClientRunner, body: bytes
) -> None:
    strange = "OpenAI's|not Anthropic's|not Mistral's"
    with answering(body) as url:
        client = runner.at(url)
        with pytest.raises(Ambiguous, match=f"({strange}).*look for it before anything is sent"):
            create(runner, client)
        with pytest.raises(Unavailable, match=strange):
            client.retrieve(SOME)
        with pytest.raises(Unavailable):
            client.find(runner.shard(), since=runner.since, known=Known())


def test_an_answer_cut_on_its_way_leaves_a_create_in_doubt_and_a_look_unavailable(
    runner: ClientRunner,
) -> None:
    seen = runner.client.retrieve(runner.send().batch_id)
    with answering(told(runner), headers={"Content-Length": "9999"}) as url:
        client = runner.at(url)
        with pytest.raises(Ambiguous, match="no whole answer"):
            create(runner, client)
        with pytest.raises(Unavailable, match="no whole answer"):
            client.retrieve(seen.batch_id)


def test_silence_leaves_a_create_in_doubt_and_a_look_unavailable(runner: ClientRunner) -> None:
    with silent() as url:
        client = runner.at(url, answer=0.05)
        with pytest.raises(Unavailable, match=r"no whole answer.*Timeout"):
            client.retrieve(SOME)
        if runner.case.uploads:  # a create that brings its lines waits longer
            with pytest.raises(Ambiguous, match=r"no whole answer.*Timeout"):
                create(runner, client)


def test_a_refused_connection_is_tried_again_where_that_is_free(runner: ClientRunner) -> None:
    client = runner.at(closed(), tries=3)
    with pytest.raises(Ambiguous, match="no whole answer from http://127"):
        create(runner, client)
    assert runner.waits == []
    with pytest.raises(Unavailable, match="no whole answer from http://127"):
        client.retrieve(SOME)
    assert runner.waits == [0.5, 1]


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>busy</html>", b"", b"[]", b"\xff", b'{"error": "busy"}', b'{"error": {}}'),
        *(b'{"message": "busy"}', b'{"error": {"error": {}}}'),
    ],
)
def test_errors_of_any_shape_are_errors_of_ours_with_their_status(
    runner: ClientRunner, body: bytes
) -> None:
    with answering(body, status=400) as url, pytest.raises(Refused, match="HTTP 400: "):
        runner.at(url).retrieve(SOME)
    with answering(body, status=503) as url, pytest.raises(Ambiguous, match="HTTP 503: "):
        create(runner, runner.at(url))


def test_a_gateway_s_page_is_quoted_only_in_part(runner: ClientRunner) -> None:
    with answering(b"<html>" + b"x" * 9_000, status=502) as url:
        with pytest.raises(Unavailable, match="HTTP 502: <html>x") as caught:
            runner.at(url).retrieve(SOME)
        assert len(str(caught.value)) < 700


def test_an_error_s_exception_of_the_sdk_is_no_context_of_ours(runner: ClientRunner) -> None:
    with answering(b"{}", status=500) as url:
        client = runner.at(url)
        calls: list[Callable[[], object]] = [
            *(lambda: client.retrieve(SOME), lambda: create(runner, client)),
            lambda: client.download(SOME, runner.folder / "out"),
        ]
        for call in calls:
            with pytest.raises(ProviderError) as caught:
                call()
            assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("full", [0, 1])
def test_a_list_that_does_not_go_on_is_an_error_and_no_false_none(
    runner: ClientRunner, full: int
) -> None:
    runner.client.retrieve(runner.send().batch_id)
    batches = [json.loads(told(runner))] if full else []
    if runner.case.counts_pages:  # and tells how many there are
        batches *= 100
    page = {"data": batches, "has_more": True, "total": 250, "last_id": None}
    with answering(json.dumps(page).encode()) as url:
        client = runner.at(url)
        with pytest.raises(Unavailable, match=r"goes on after|nothing new.*make it again"):
            client.find(runner.shard(intent="nobody-s"), since=runner.since, known=Known())


# --- files ----------------------------------------------------------------------------------------


def test_a_download_cut_on_its_way_is_tried_again_and_leaves_nothing(runner: ClientRunner) -> None:
    target = runner.folder / "raw" / "out.jsonl"
    with answering(b"half", headers={**FILE, "Content-Length": "8"}) as url:
        client = runner.at(url, tries=3)
        with pytest.raises(Unavailable, match=f"download of .*{SOME} failed"):
            client.download(SOME, target)
    assert runner.waits == [0.5, 1]
    assert list(target.parent.iterdir()) == []


def test_a_compressed_download_is_unpacked_and_counts_as_whole(runner: ClientRunner) -> None:
    packed = gzip.compress(b"line\n" * 100)
    target = runner.folder / "out.jsonl"
    with answering(packed, headers={**FILE, "Content-Encoding": "gzip"}) as url:
        assert runner.at(url).download(SOME, target) == 500
    assert target.read_bytes() == b"line\n" * 100


def test_lines_that_are_not_there_are_a_store_error_before_anything_is_sent(
    runner: ClientRunner,
) -> None:
    none, client = runner.folder / "none.jsonl", runner.client
    with pytest.raises(StoreError, match=r"none\.jsonl: No such file.*run the step again"):
        _ = client.upload(none, name="none") or client.create(runner.shard(), none, file_id=None)
    assert runner.calls() == []
