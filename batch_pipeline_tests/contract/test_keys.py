"""A key goes to its provider and nowhere else, whatever the provider says or does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from batch_pipeline.errors import ProviderError
from batch_pipeline.model import Observation
from batch_pipeline.providers.protocol import Client
from batch_pipeline_tests.contract.cases import CASES
from batch_pipeline_tests.contract.client_runner import ClientRunner
from batch_pipeline_tests.contract.test_accounts import everything_about
from batch_pipeline_tests.contract.test_calls import FREE, every_free_call
from batch_pipeline_tests.providers.fixed_answers import answering, closed
from batch_pipeline_tests.providers.recording import recording
from batch_pipeline_tests.world import KEY

SOME_ID = "0b7a2f6e-3c1d-4e5f-8a9b-0c1d2e3f4a5b"
QUOTING = f"Incorrect API key provided: {KEY}. It is '{KEY}'."


@contextmanager
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hear every log there is, the SDKs' and the transport's too; none may tell the key."""
    for chatty in (None, "batch_pipeline", "httpx2", "httpcore2", *(one.provider for one in CASES)):
        caplog.set_level(logging.DEBUG, logger=chatty)
    yield
    assert "HTTP Request" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in str([vars(record) for record in caplog.records])


@every_free_call
def test_a_key_that_a_provider_repeats_is_repeated_nowhere(
    runner: ClientRunner, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen = runner.ended()
    impatient = runner.client_of(tries=2)
    with listening(caplog):
        ask(runner, operation, impatient, seen)
    impatient.close()


def ask(runner: ClientRunner, operation: str, client: Client, seen: Observation) -> None:
    """Make the call, and hear the key in every kind of refusal."""
    for status in (400, 401, 429, 500):
        fault = {"do": "fail", "operation": operation, "status": status, "message": QUOTING}
        runner.faults({**fault, "code": KEY})
        try:
            FREE[operation](runner, client, seen)
        except ProviderError as error:
            assert KEY not in everything_about(error)  # noqa: PT017 - a late cancel is no error
        else:
            assert operation == "cancel"


def test_a_create_that_goes_wrong_shows_no_key(
    runner: ClientRunner, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(caplog):
        for status in (400, 401, 402, 403, 413, 422, 429, 500):
            fault = {"do": "fail", "operation": "create", "status": status, "message": QUOTING}
            runner.faults({**fault, "code": KEY})
            with pytest.raises(ProviderError) as caught:
                runner.send()
            assert KEY not in everything_about(caught.value)
        runner.sim.faults(None)
        runner.ended()


def test_nobody_there_and_no_sense_in_an_answer_show_no_key(runner: ClientRunner) -> None:
    with answering(QUOTING.encode()) as nonsense:
        for url in (closed(), nonsense):
            client = runner.at(url)
            with pytest.raises(ProviderError) as looked:
                client.retrieve(SOME_ID)
            with pytest.raises(ProviderError) as made:
                client.create(runner.shard(), runner.lines(), file_id=SOME_ID)
            assert KEY not in everything_about(looked.value) + everything_about(made.value)
            client.close()


@contextmanager
def sending_on(url: str) -> Iterator[str]:
    """A server that sends every call on to *url*."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(307)
            self.send_header("Location", url + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815 - the names http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_no_redirect_takes_the_key_to_another_host(runner: ClientRunner) -> None:
    with recording({}) as (stranger, calls), sending_on(stranger) as url:
        client = runner.at(url)
        with pytest.raises(ProviderError):
            client.retrieve(SOME_ID)
        with pytest.raises(ProviderError):
            client.create(runner.shard(), runner.lines(), file_id=SOME_ID)
        with pytest.raises(ProviderError):
            client.download(SOME_ID, runner.folder / "out")
        client.close()
    assert not [one for one in calls if KEY in str(one.headers) or KEY.encode() in one.body]
