"""Shards, request files and impatient clients for the tests of the Anthropic client."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batch_pipeline.model import Cell, Form, Hole, Observation, Shard, Tree
from batch_pipeline.providers.anthropic.client import AnthropicClient
from batch_pipeline_tests.providers.factories import make_patience

KEY = "sk-ant-test-0123456789abcdefghijklmnopqrstuvwxyz"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""The smallest PNG there is."""
SAMPLES = {
    Form.LINK: "https://example.org/a",
    Form.BASE64: PIXEL,
    Form.MEDIA_TYPE: "image/png",
    Form.SYSTEM: "Be brief.",
}


def make_anthropic(
    url: str,
    *,
    waits: list[float] | None = None,
    tries: int = 6,
    answer: float = 60.0,
    key: str = KEY,
) -> AnthropicClient:
    env = {"ANTHROPIC_API_KEY": key, "ANTHROPIC_BASE_URL": url}
    patience = make_patience(waits=waits, tries=tries, answer=answer)
    return AnthropicClient.from_env(env, patience=patience)


def make_claude_shard(
    *, shard_id: str = "s-1", requests: int = 2, options: dict[str, str] | None = None
) -> Shard:
    return Shard(
        shard_id=shard_id,
        job="reviews",
        attempt=1,
        provider="anthropic",
        model="claude-haiku-4-5",
        endpoint="/v1/messages",
        requests=requests,
        bytes=100,
        digest="0" * 64,
        options=options or {},
        intent="intent-1",
    )


def claude_line(custom_id: str, **params: object) -> bytes:
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Say hello.\n\u2028Twice."}],
        **params,
    }
    return json.dumps({"custom_id": custom_id, "params": body}, ensure_ascii=False).encode() + b"\n"


def write_claude_lines(
    folder: Path, rows: int = 2, *, prefix: str = "row", **params: object
) -> Path:
    lines = folder / f"{prefix}.jsonl"
    lines.write_bytes(b"".join(claude_line(f"{prefix}-{n}", **params) for n in range(rows)))
    return lines


def send_claude(
    client: AnthropicClient,
    folder: Path,
    *,
    rows: int = 2,
    prefix: str = "row",
    options: dict[str, str] | None = None,
    **params: object,
) -> Observation:
    lines = write_claude_lines(folder, rows, prefix=prefix, **params)
    return client.create(make_claude_shard(requests=rows, options=options), lines, file_id=None)


def filled(tree: Tree) -> Any:  # noqa: ANN401 - any JSON
    """The tree with an example of what a row would put into each of its leaves."""
    if isinstance(tree, Hole):
        return f"<{tree.template}>"
    if isinstance(tree, Cell):
        return SAMPLES[tree.form]
    if isinstance(tree, Mapping):
        return {key: filled(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [one for value in tree for one in spliced(value)]
    return tree


def spliced(tree: Tree) -> list[Any]:
    if isinstance(tree, Cell) and tree.form is Form.TURNS:
        return [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    return [filled(tree)]
