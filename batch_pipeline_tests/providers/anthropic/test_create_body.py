"""The body of a create: exact, in pieces, and never in memory as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.providers.anthropic.bodies import Framed
from batch_pipeline_tests.providers.anthropic.factories import KEY, claude_line

_MEGABYTES = 100
_PIECE = b"x" * (1 << 20)
_BATCH = (
    b'{"id":"msgbatch_1","processing_status":"in_progress","request_counts":{"processing":1},'
    b'"created_at":"2026-11-20T10:00:00+00:00"}'
)
_PROGRAM = """
import json, os, resource, sys
from pathlib import Path
from batch_pipeline.providers.anthropic.client import AnthropicClient
from batch_pipeline_tests.providers.anthropic.factories import make_claude_shard
client = AnthropicClient.from_env(os.environ)
folder = Path(sys.argv[1])
small = folder / "small.jsonl"
small.write_bytes(b"{}")
client.create(make_claude_shard(), small, file_id=None)  # connections and imports are there now
def peak():
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # getrusage begins at the parent's size, which may hide all of our growth
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
start = peak()
client.create(make_claude_shard(), folder / "large.jsonl", file_id=None)
after_create = peak()
size = client.download("msgbatch_1", folder / "result.jsonl")
print(json.dumps({"size": size, "create": after_create - start, "download": peak() - start}))
"""


@given(
    texts=st.lists(st.text(max_size=20), max_size=5),
    piece=st.integers(min_value=1, max_value=80),
    ended=st.booleans(),
)
def test_lines_become_one_list_of_exactly_the_announced_bytes(
    texts: list[str], piece: int, *, ended: bool
) -> None:
    lines = [claude_line(f"row-{n}", system=text) for n, text in enumerate(texts)]
    content = b"".join(lines)
    with tempfile.TemporaryFile() as file:
        file.write(content if ended else content.removesuffix(b"\n"))
        file.flush()
        body = Framed(file, piece=piece)
        once, again = b"".join(body), b"".join(body)
    assert once == again
    assert len(once) == body.size
    assert json.loads(once) == {"requests": [json.loads(line) for line in lines]}


class _Bulk(BaseHTTPRequestHandler):
    """Takes any batch and offers large results; itself never holds more than a piece."""

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, len(_PIECE))))
        self._head("application/json", len(_BATCH))
        self.wfile.write(_BATCH)

    def do_GET(self) -> None:
        self._head("application/x-jsonl", _MEGABYTES * len(_PIECE))
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


def test_a_hundred_megabytes_go_out_and_come_back_in_a_few(tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("wb") as large:
        for _ in range(_MEGABYTES):
            large.write(_PIECE[:-1] + b"\n")
    with _bulk() as url:
        environment = {**os.environ, "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url}
        run = subprocess.run(  # noqa: S603 - our own interpreter on our own text
            [sys.executable, "-c", _PROGRAM, str(tmp_path)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    grown = json.loads(run.stdout)
    assert grown["size"] == _MEGABYTES * len(_PIECE)
    assert grown["create"] < 20  # MB of resident memory, for 100 MB of requests
    assert grown["download"] < 20
