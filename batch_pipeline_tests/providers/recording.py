"""A loopback server that gives each call its own canned answers and keeps what was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Call:
    """One call: method and path with its query, headers by lowercase name, and the body."""

    what: str
    headers: Mapping[str, str]
    body: bytes


@contextmanager
def recording(answers: Mapping[str, Sequence[bytes]]) -> Iterator[tuple[str, list[Call]]]:
    """A URL and the calls to it. *answers* are by method and path; the last one is repeated."""
    calls: list[Call] = []
    left = {what: list(each) for what, each in answers.items()}

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            calls.append(Call(f"{self.command} {self.path}", headers, body))
            known = left.get(f"{self.command} {self.path.partition('?')[0]}", [])
            said = known.pop(0) if len(known) > 1 else (known or [b"{}"])[0]
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", calls
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
