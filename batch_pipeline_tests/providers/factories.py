"""Shards and impatient clients for the provider tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from batch_pipeline.model import Observation, Shard
from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Known

KEY = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOTHING = Known()
NO_LINES = Path("lines.jsonl")
"""For a create that does not look at the lines."""


def make_shard(
    *, shard_id: str = "s-1", intent: str | None = "intent-1", requests: int = 1
) -> Shard:
    return Shard(
        shard_id=shard_id,
        job="reviews",
        attempt=1,
        provider="openai",
        model="gpt-4o-mini",
        endpoint="/v1/chat/completions",
        requests=requests,
        bytes=100,
        digest="0" * 64,
        intent=intent,
    )


def make_patience(
    *, waits: list[float] | None = None, tries: int = 6, answer: float = 60.0
) -> Patience:
    """Patience that notes its waits instead of sitting them out."""
    note: Callable[[float], None] = (waits if waits is not None else []).append
    return Patience(tries=tries, answer=answer, sleep=note, spread=lambda: 0.0)


def make_client(
    url: str,
    *,
    waits: list[float] | None = None,
    tries: int = 6,
    answer: float = 60.0,
    key: str = KEY,
) -> OpenAIClient:
    env = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": url}
    patience = make_patience(waits=waits, tries=tries, answer=answer)
    return OpenAIClient.from_env(env, patience=patience)


def request_line(custom_id: str, *, pad: int = 0) -> bytes:
    return (
        f'{{"custom_id":"{custom_id}","method":"POST","url":"/v1/chat/completions","body":'
        '{"model":"gpt-4o-mini","messages":[{"role":"user","content":'
        f'"Say hello.{" hello" * (pad // 6)}"}}]}}}}\n'
    ).encode()


def write_lines(folder: Path, count: int = 1) -> Path:
    lines = folder / "lines.jsonl"
    lines.write_bytes(b"".join(request_line(f"row-{number}") for number in range(count)))
    return lines


def send(client: Client, folder: Path, *, intent: str = "intent-1", rows: int = 2) -> Observation:
    lines = write_lines(folder, rows)
    file_id = client.upload(lines, name=f"{intent}.jsonl")
    return client.create(make_shard(intent=intent, requests=rows), lines, file_id=file_id)
