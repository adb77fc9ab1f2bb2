"""Jobs for Claude, and their bodies as the SDK's own types take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from anthropic.types.messages.batch_create_params import Request
from pydantic import TypeAdapter

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Tree
from batch_pipeline.providers.anthropic.codec import AnthropicCodec
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.providers.anthropic.factories import filled

SDK: TypeAdapter[Any] = TypeAdapter(Request)
SAMPLING = {"temperature", "top_p", "top_k"}  # gone from the newest types, and so from the SDK's
LABEL: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
}
LOOK_UP = {
    "name": "look_up",
    "description": "Look a word up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
}


def make(
    request: Mapping[str, object] | None = None,
    *,
    model: str = "claude-sonnet-4-6",
    target: Mapping[str, object] | None = None,
    **parameters: Any,  # noqa: ANN401 - what the tests set
) -> BatchJob:
    return BatchJob.model_validate(
        {
            "name": "label_mail",
            "dataset": {"path": "x", "key": "id"},
            "request": {**(request or {"prompt": "{{ text }}"}), "parameters": parameters},
            "targets": [{"provider": "anthropic", "model": model, **(target or {})}],
        }
    )


def turns(*said: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def body(job: BatchJob) -> dict[str, Tree]:
    return AnthropicCodec().body(job, job.targets[0])


def read_through(value: object) -> object:
    """Iterables are checked by the SDK's types only while they are read."""
    if isinstance(value, Mapping):
        return {key: read_through(one) for key, one in value.items()}
    if isinstance(value, Iterator | list):
        return [read_through(one) for one in value]
    return value


def known_to_sdk(job: BatchJob) -> Any:  # noqa: ANN401 - any JSON
    """The body with its leaves filled, after the SDK's own types have taken it, all of it."""
    found = filled(body(job))
    sent = {key: value for key, value in found.items() if key not in SAMPLING}
    taken = read_through(SDK.validate_python({"custom_id": "a", "params": sent}))
    assert taken == {"custom_id": "a", "params": sent}
    return found


def refusal(job: BatchJob) -> str:
    with pytest.raises(SpecError) as caught:
        body(job)
    return str(caught.value)
