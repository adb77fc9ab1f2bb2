"""Whose Mistral key it is, where it goes, and that it never shows; and what it costs in memory."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from batch_pipeline.errors import ProviderError, Unauthorized, UsageError
from batch_pipeline.providers.mistral.client import MistralClient
from batch_pipeline.providers.protocol import Client
from batch_pipeline.providers.registry import Registry
from batch_pipeline_tests.providers.factories import LONG_AGO, NO_LINES, NOTHING
from batch_pipeline_tests.providers.fixed_answers import answering, closed
from batch_pipeline_tests.providers.mistral.factories import (
    FILE_ID,
    JOB_ID,
    KEY,
    make_client,
    make_shard,
    write_lines,
)

_TESTS = Path(__file__).parents[2]
_ECHO = json.dumps({"object": "error", "message": f"No such key as {KEY}.", "code": 1}).encode()


def _calls(client: MistralClient, folder: Path) -> list[Callable[[], object]]:
    """Every call that a client can make."""
    lines = write_lines(folder)
    return [
        lambda: client.upload(lines, name="s-1"),
        lambda: client.create(make_shard(), NO_LINES, file_id=FILE_ID),
        lambda: client.find(make_shard(), since=LONG_AGO, known=NOTHING),
        lambda: list(client.observe(since=LONG_AGO)),
        lambda: client.retrieve(JOB_ID),
        lambda: client.cancel(JOB_ID),
        lambda: client.download(FILE_ID, folder / "out.jsonl"),
        lambda: client.delete_file(FILE_ID),
        lambda: client.delete_batch(JOB_ID),
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
def test_a_key_that_mistral_repeats_is_repeated_nowhere(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_DEBUG", "1")  # the SDK's own log of headers and bodies
    caplog.set_level(logging.DEBUG)
    for chatty in ("mistralai.client", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=chatty)
    with answering(_ECHO, status=status) as url:
        client = make_client(url, tries=2)
        for call in _calls(client, tmp_path):
            with pytest.raises(ProviderError, match="No such key as <key>") as caught:
                call()
            assert isinstance(caught.value, Unauthorized) is (status == 401)
            assert KEY not in _everything_about(caught.value)
    assert "HTTP Request" in caplog.text  # the transport's own records were listened to
    assert ("made again in" in caplog.text) is (status == 500)
    everything = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    assert KEY not in everything


def test_an_unreachable_host_does_not_show_the_key_either(tmp_path: Path) -> None:
    client = make_client(closed(), tries=1)
    for call in _calls(client, tmp_path):
        with pytest.raises(ProviderError) as caught:
            call()
        assert KEY not in _everything_about(caught.value)


def test_the_client_itself_shows_account_and_host_and_is_never_serialised() -> None:
    client = make_client("http://user:secret@127.0.0.1:1")
    assert repr(client) == f"MistralClient(account={client.account!r}, host='127.0.0.1')"
    assert KEY not in repr(vars(client))
    for serialise in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="build it from the environment"):
            serialise(client)


@pytest.mark.parametrize("key", ["", "  ", "\n"])
def test_an_empty_key_is_told_by_the_name_of_its_variable(key: str) -> None:
    with pytest.raises(Unauthorized, match="MISTRAL_API_KEY is not set or empty"):
        MistralClient.from_env({"MISTRAL_API_KEY": key})


@pytest.mark.parametrize("key", ["one two", "one\ntwo", "“quoted”"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(Unauthorized, match="MISTRAL_API_KEY holds characters") as caught:
        MistralClient.from_env({"MISTRAL_API_KEY": key})
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "https://"])
def test_a_base_url_that_is_none_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="MISTRAL_BASE_URL"):
        MistralClient.from_env({"MISTRAL_API_KEY": KEY, "MISTRAL_BASE_URL": url})


def test_an_account_is_a_key_at_a_place() -> None:
    here = make_client("http://127.0.0.1:1")
    assert make_client("http://127.0.0.1:1/", key=f"{KEY}\n").account == here.account
    others = [make_client("http://127.0.0.1:2"), make_client("http://127.0.0.1:1", key=f"{KEY}2")]
    assert len({client.account for client in [here, *others]}) == 3
    official: Client = Registry().client("mistral", {"MISTRAL_API_KEY": KEY})
    assert "api.mistral.ai" in repr(official)
    assert official.dashboard_url(JOB_ID) is None


def test_a_closed_client_has_given_back_its_connections() -> None:
    client = make_client(closed())
    client.close()
    assert client._http.is_closed


def test_a_host_that_is_not_there_is_not_waited_for_as_long_as_an_answer() -> None:
    waits: list[object] = []
    with answering(b"{}", status=401) as url:
        client = make_client(url)
        client._http.event_hooks["request"].append(
            lambda request: waits.append(dict(request.extensions["timeout"]))
        )
        with pytest.raises(Unauthorized):
            client.retrieve(JOB_ID)
    assert waits == [{"connect": 5.0, "read": 60.0, "write": 60.0, "pool": 60.0}]


# --- memory --------------------------------------------------------------------------------------

_MEGABYTES = 60
_PIECE = b"x" * (1 << 20)
_FILE = (
    b'{"id":"file-1","object":"file","bytes":1,"created_at":1,"filename":"f","purpose":"batch",'
    b'"sample_type":"batch_request","source":"upload"}'
)
_PROGRAM = """
import json, os, resource, sys
from pathlib import Path
from batch_pipeline.providers.mistral.client import MistralClient
client = MistralClient.from_env(os.environ)
folder = Path(sys.argv[1])
small = folder / "small.jsonl"
small.write_bytes(b"x")
client.upload(small, name="small")  # connections, buffers and imports are there now
def peak():
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # getrusage begins at the parent's size, which may hide all of our growth
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
start = peak()
client.upload(folder / "large.jsonl", name="large")
after_upload = peak()
size = client.download("file-1", folder / "result.jsonl")
print(json.dumps({"size": size, "upload": after_upload - start, "download": peak() - start}))
"""


class _Bulk(BaseHTTPRequestHandler):
    """Takes any upload and offers a large result; itself never holds more than a piece."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, len(_PIECE))))
        self._head("application/json", len(_FILE))
        self.wfile.write(_FILE)

    def do_GET(self) -> None:
        self._head("application/octet-stream", _MEGABYTES * len(_PIECE))
        for _ in range(_MEGABYTES):
            self.wfile.write(_PIECE)

    def _head(self, kind: str, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
        """Keep quiet."""


@contextmanager
def _bulk() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bulk)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_sixty_megabytes_go_up_and_down_in_a_few(tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("wb") as large:
        for _ in range(_MEGABYTES):
            large.write(_PIECE)
    with _bulk() as url:
        run = subprocess.run(  # noqa: S603 - our own interpreter on our own text
            [sys.executable, "-c", _PROGRAM, str(tmp_path)],
            env={**os.environ, "MISTRAL_API_KEY": KEY, "MISTRAL_BASE_URL": url},
            capture_output=True,
            text=True,
            check=True,
        )
    grown = json.loads(run.stdout)
    assert grown["size"] == _MEGABYTES * len(_PIECE)
    assert grown["upload"] < 15  # MB of resident memory, for 60 MB of file
    assert grown["download"] < 15
