"""A code location over a simulator in a process of its own, so that its time is not counted.

The clock is ours: it stands still unless it is pushed, for the simulator and for the job alike.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from batch_pipeline.orchestration.build import build_defs
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob

MODELS = {
    "openai": "gpt-4.1-nano",
    "anthropic": "claude-haiku-4-5",
    "mistral": "mistral-small-latest",
}
_FIRST = date(2016, 1, 1)
_PATHS = {"openai": "openai/v1", "anthropic": "anthropic", "mistral": "mistral"}
_SECONDS = 20_000
"""How long a batch takes, by the clock that we push."""
_UNTIL_LISTENING = 60.0
_BEGINNING = datetime.fromtimestamp(0, UTC)
_SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}


@dataclass
class Simulated:
    """The providers, seen from outside: their address, their log, and the clock that we share."""

    url: str
    at: datetime = _BEGINNING

    def now(self) -> datetime:
        """What time it is, for us and for them."""
        return self.at

    def wait(self, seconds: float) -> None:
        """Push both clocks; all that falls due at the provider has happened then."""
        said = self._asked("POST", "clock/advance", {"seconds": seconds})
        self.at = datetime.fromtimestamp(said["now"], UTC)

    def finish(self) -> None:
        """Let every batch end."""
        self.wait(_SECONDS + 60)

    def calls(self) -> int:
        """How many calls were made since the log was forgotten."""
        return len(self._asked("GET", "log"))

    def forget(self) -> None:
        """Forget the log of calls."""
        self._asked("DELETE", "log")

    @property
    def env(self) -> dict[str, str]:
        """The environment in which it stands in for every provider."""
        urls = {f"{name.upper()}_BASE_URL": f"{self.url}/{path}" for name, path in _PATHS.items()}
        return urls | {f"{name.upper()}_API_KEY": "sk-simulated" for name in _PATHS}

    def _asked(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
        data = None if body is None else json.dumps(body).encode()
        asked = Request(f"{self.url}/_sim/{path}", data=data, method=method)  # noqa: S310 - loopback
        with urlopen(asked) as answer:  # noqa: S310 - the same
            return json.loads(answer.read() or b"null")


@contextmanager
def simulated(folder: Path) -> Iterator[Simulated]:
    """A simulator over the state in *folder*, in another process, whose time stands still.

    It is found at one port again: the account that batches were sent with has the address in it.
    """
    port = _port(folder)
    options = {"port": port, "state": folder, "speed": 0, "seconds": _SECONDS}
    said = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-P", "-m", "batch_pipeline.cli.main", "simulate", *said],
        stdout=subprocess.DEVNULL,
    )
    try:
        one = Simulated(f"http://127.0.0.1:{port}")
        _listening(one, process)
        yield one
    finally:
        process.terminate()
        process.wait()


def _port(folder: Path) -> int:
    known = folder / "port"
    if not known.exists():
        folder.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            known.write_text(str(free.getsockname()[1]), encoding="utf-8")
    return int(known.read_text(encoding="utf-8"))


def _listening(one: Simulated, process: subprocess.Popen[bytes]) -> None:
    last = time.monotonic() + _UNTIL_LISTENING
    while process.poll() is None and time.monotonic() < last:
        try:
            one.wait(0)
        except URLError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("The simulator did not start: no measurement.")


def job(folder: Path, *, provider: str, days: int, **changes: object) -> BatchJob:
    """A job of daily partitions over the rows in *folder*."""
    last = _FIRST + timedelta(days=days - 1)
    said: Mapping[str, object] = {
        "name": "bench",
        "dataset": {"path": str(folder / "rows"), "key": "id"},
        "partitions": {"kind": "daily", "column": "day", "start": f"{_FIRST}", "end": f"{last}"},
        "request": {"prompt": "How is it? {{ body }}", "output_schema": _SCHEMA},
        "targets": [{"provider": provider, "model": MODELS[provider]}],
        **changes,
    }
    return BatchJob.model_validate(said).resolved(folder)


def write_rows(folder: Path, *, days: int, rows: int) -> None:
    """So many rows on each day, as hive partitions."""
    for number in range(days):
        day = _FIRST + timedelta(days=number)
        into = folder / "rows" / f"day={day}"
        into.mkdir(parents=True)
        names = [f"{day}/{n:03}" for n in range(rows)]
        bodies = [f"Row {n} of {day} is good" for n in range(rows)]
        pq.write_table(pa.table({"id": names, "body": bodies}), into / "part-0.parquet")


def opened(folder: Path, sim: Simulated, job: BatchJob, *, hurried: bool = False) -> Pipeline:
    """The job's shell over the store in *folder*, by the simulator's clock."""
    return Pipeline.open(
        job,
        env={**os.environ, **sim.env},
        settings=Settings(store=str(folder / "store"), poll_seconds=10.0),
        now=sim.now,
        sleep=sim.wait,
        hurried=hurried,
    )


@contextmanager
def dagster(
    folder: Path, sim: Simulated, job: BatchJob
) -> Iterator[tuple[dg.Definitions, dg.DagsterInstance]]:
    """The job's code location, and an instance with SQLite storage in *folder*."""

    class Here(PipelineResource):
        def open(self, job: BatchJob, *, hurried: bool = False) -> Pipeline:
            return opened(folder, sim, job, hurried=hurried)

    defs = dg.Definitions.merge(
        build_defs(job, pipeline=Here()), dg.Definitions(executor=dg.in_process_executor)
    )
    home = folder / "dagster"
    home.mkdir(exist_ok=True)
    quiet = {"python_logs": {"python_log_level": "WARNING"}, "telemetry": {"enabled": False}}
    (home / "dagster.yaml").write_text(json.dumps(quiet), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield defs, instance
