"""Large files pass through in pieces: no client's memory grows with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from batch_pipeline_tests.contract.cases import CASES, Case, named
from batch_pipeline_tests.world import KEY

_MEGABYTES = 60
_PIECE = b"x" * (1 << 20)
_FILE = (
    b'{"id":"file-1","object":"file","bytes":1,"created_at":1,"filename":"f","purpose":"batch",'
    b'"sample_type":"batch_request","source":"upload"}'
)
_PROGRAM = """
import json, os, resource, sys
from pathlib import Path
from batch_pipeline.providers.registry import Registry
client = Registry().client(sys.argv[2], os.environ)
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


@pytest.mark.parametrize("case", [case for case in CASES if case.uploads], ids=named)
def test_sixty_megabytes_go_up_and_down_in_a_few(case: Case, tmp_path: Path) -> None:
    with (tmp_path / "large.jsonl").open("wb") as large:
        for _ in range(_MEGABYTES):
            large.write(_PIECE)
    with _bulk() as url:
        run = subprocess.run(  # noqa: S603 - our own interpreter on our own text
            [sys.executable, "-c", _PROGRAM, str(tmp_path), case.provider],
            env={**os.environ, case.key_variable: KEY, case.url_variable: case.address(url)},
            capture_output=True,
            text=True,
            check=True,
        )
    grown = json.loads(run.stdout)
    assert grown["size"] == _MEGABYTES * len(_PIECE)
    assert grown["upload"] < 15  # MB of resident memory, for 60 MB of file
    assert grown["download"] < 15
