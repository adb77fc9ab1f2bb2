"""Shards, lines and impatient clients for the tests of the Mistral client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from batch_pipeline.model import Observation, Shard
from batch_pipeline.providers.mistral.client import MistralClient
from batch_pipeline_tests.providers import factories
from batch_pipeline_tests.providers.factories import make_patience

KEY = "test0123456789abcdefghijklmnopqrstuvwxyz"
FILE_ID = "0b7a2f6e-3c1d-4e5f-8a9b-0c1d2e3f4a5b"
JOB_ID = "1c8b3a7f-4d2e-4f6a-9b0c-1d2e3f4a5b6c"


def make_shard(
    *,
    intent: str | None = "intent-1",
    requests: int = 1,
    model: str = "mistral-small-latest",
    endpoint: str = "/v1/chat/completions",
    options: Mapping[str, str] | None = None,
) -> Shard:
    shard = factories.make_shard(intent=intent, requests=requests)
    given = dict(options or {})
    return replace(shard, provider="mistral", model=model, endpoint=endpoint, options=given)


def make_client(
    url: str,
    *,
    waits: list[float] | None = None,
    tries: int = 6,
    answer: float = 60.0,
    key: str = KEY,
) -> MistralClient:
    """A client at *url*, which may be a canned server's and end in /v1: the SDK adds that."""
    env = {"MISTRAL_API_KEY": key, "MISTRAL_BASE_URL": url.removesuffix("/v1")}
    patience = make_patience(waits=waits, tries=tries, answer=answer)
    return MistralClient.from_env(env, patience=patience)


def request_line(custom_id: str, **body: object) -> bytes:
    asked = {"messages": [{"role": "user", "content": "Say hello."}], **body}
    return json.dumps({"custom_id": custom_id, "body": asked}).encode() + b"\n"


def write_lines(folder: Path, count: int = 1) -> Path:
    lines = folder / "lines.jsonl"
    lines.write_bytes(b"".join(request_line(f"row-{number}") for number in range(count)))
    return lines


def send(
    client: MistralClient, folder: Path, *, rows: int = 2, shard: Shard | None = None
) -> Observation:
    lines = write_lines(folder, rows)
    file_id = client.upload(lines, name="s-1")
    return client.create(shard or make_shard(requests=rows), lines, file_id=file_id)
