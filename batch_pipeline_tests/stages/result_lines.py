"""Result lines, shards and request tables for the tests of the way back from a provider."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_pipeline.model import Observation, Problem, RemoteStatus, Shard
from batch_pipeline.prices.find import Prices
from batch_pipeline.providers.openai.decode import decode_sql
from batch_pipeline.spec import RETRIED_BY_DEFAULT
from batch_pipeline.stages.results.land import Landed, Landing, land
from batch_pipeline.stages.results.outcomes import OutcomesDecoded, decode_shard

CHAT = "/v1/chat/completions"
MODEL = "gpt-5-nano-2025-08-07"
ON = datetime(2026, 11, 21, 12, tzinfo=UTC)
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["spam", "ham"]},
        "count": {"type": "integer"},
        "score": {"type": ["number", "null"]},
    },
    "required": ["label", "count"],
    "additionalProperties": False,
}


def ids(count: int) -> list[str]:
    return [f"row-{number}" for number in range(count)]


def hash_of(custom_id: str, version: int = 1) -> str:
    return hashlib.sha256(f"{custom_id}/{version}".encode()).hexdigest()


def line(custom_id: str, body: object, *, status: int = 200, error: object = None) -> bytes:
    response = {"status_code": status, "request_id": "req_1", "body": body}
    row = {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(row).encode()


def not_run(custom_id: str, code: str) -> bytes:
    error = {"code": code, "message": f"because of {code}"}
    return json.dumps({"custom_id": custom_id, "response": None, "error": error}).encode()


def message(
    content: str | None = "hello", *, finish: str = "stop", usage: object = USAGE, **said: object
) -> dict[str, object]:
    said = {"role": "assistant", "content": content, **said}
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return {"model": MODEL, "choices": [choice], "usage": usage}


def answer(custom_id: str, content: str | None = "hello", **said: Any) -> bytes:  # noqa: ANN401 - JSON
    return line(custom_id, message(content, **said))


def make_shard(name: str = "shard1", *, attempt: int = 1, requests: int = 3) -> Shard:
    return Shard(
        shard_id=name,
        job="job",
        attempt=attempt,
        provider="openai",
        model="gpt-5-nano",
        endpoint=CHAT,
        requests=requests,
        bytes=1,
        digest="d",
        batch_id=f"batch_{name}",
        run_id="run1",
    )


def make_observation(
    status: RemoteStatus = RemoteStatus.COMPLETED, *problems: Problem
) -> Observation:
    return Observation(
        batch_id="batch_1",
        status=status,
        raw_status=status.value,
        total=0,
        completed=0,
        failed=0,
        created_at=ON,
        ended_at=ON,
        problems=problems,
    )


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of its own for each example of a property."""
    with TemporaryDirectory() as name:
        yield Path(name)


CON = duckdb.connect(config={"memory_limit": "256MB", "threads": 2})
"""One connection for all: a stage leaves nothing behind on it."""


@dataclass
class Returned:
    """A folder with shards that came back, and what they decode and land to."""

    path: Path
    schema: dict[str, Any] | None = None
    endpoint: str = CHAT
    codec: Callable[[str], str] = decode_sql
    outcomes: list[Path] = field(default_factory=list)

    def decode(
        self,
        names: Sequence[str],
        output: Sequence[bytes] = (),
        error: Sequence[bytes] = (),
        *,
        observation: Observation | None = None,
        attempt: int = 1,
        version: int = 1,
        partition: str = "all",
    ) -> OutcomesDecoded:
        """Decode one more shard of the requests *names*; its lines are joined by newlines."""
        name = f"shard{len(self.outcomes) + 1}"
        files = []
        for source, lines in (("output", output), ("error", error)):
            if lines:
                path = self.path / f"{name}.{source}.jsonl"
                path.write_bytes(b"\n".join(lines))
                files.append((path, source))
        self._shard_table(name, names, partition, version)
        self.outcomes.append(self.path / f"{name}.parquet")
        return decode_shard(
            CON,
            shard=make_shard(name, attempt=attempt, requests=len(names)),
            requests=self.path / f"{name}.requests.parquet",
            files=files,
            decode_sql=self.codec(self.endpoint),
            schema=self.schema,
            observation=observation,
            into=self.outcomes[-1],
        )

    def rows(self) -> list[dict[str, Any]]:
        """The outcomes of the last shard."""
        rows: list[dict[str, Any]] = pq.read_table(self.outcomes[-1]).to_pylist()
        return rows

    def ask(
        self, names: Sequence[str], *, version: int = 1, rejected: Mapping[str, str] | None = None
    ) -> Path:
        """The request table of a partition whose key column is the number in the name."""
        path = self.path / "requests.parquet"
        why = [(rejected or {}).get(name) for name in names]
        table = pa.table(
            {
                "partition": pa.array(["all"] * len(names), pa.string()),
                "id": pa.array([int(name.rpartition("-")[2]) for name in names], pa.int32()),
                "key": pa.array([name.rpartition("-")[2] for name in names], pa.string()),
                "custom_id": pa.array(names, pa.string()),
                "content_hash": pa.array([hash_of(name, version) for name in names], pa.string()),
                "offset": pa.array([None if w else 0 for w in why], pa.int64()),
                "bytes": pa.array([10] * len(names), pa.int64()),
                "rejected": pa.array(why, pa.string()),
            }
        )
        pq.write_table(table, path)
        return path

    def land(self, **changed: Any) -> Landed:  # noqa: ANN401 - any argument of land
        """Land everything that has been decoded; `asked` has to be there."""
        options: dict[str, Any] = {
            "outcomes": self.outcomes,
            "key_columns": ["id"],
            "schema": self.schema,
            "priced": Prices(ON),
            "retried_kinds": RETRIED_BY_DEFAULT,
            "max_attempts": 3,
        }
        part = Landing(self.path / "requests.parquet", self.outcomes, self.results)
        [landed] = land(CON, [part], **{**options, **changed})
        return landed

    @property
    def results(self) -> Path:
        return self.path / "results.parquet"

    def landed(self) -> list[dict[str, Any]]:
        """The rows of the results."""
        rows: list[dict[str, Any]] = pq.read_table(self.results).to_pylist()
        return rows

    def _shard_table(self, name: str, names: Sequence[str], partition: str, version: int) -> None:
        count = len(names)
        table = pa.table(
            {
                "partition": pa.array([partition] * count, pa.string()),
                "key": pa.array(names, pa.string()),
                "custom_id": pa.array(names, pa.string()),
                "content_hash": pa.array([hash_of(n, version) for n in names], pa.string()),
                "shard": pa.array([name] * count, pa.string()),
                "line": pa.array(range(1, count + 1), pa.int64()),
                "offset": pa.array([0] * count, pa.int64()),
                "bytes": pa.array([10] * count, pa.int64()),
            }
        )
        pq.write_table(table, self.path / f"{name}.requests.parquet")
