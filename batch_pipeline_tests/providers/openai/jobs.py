"""Jobs for OpenAI, and their bodies for an example row as the SDK's own types take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openai.types import EmbeddingCreateParams, ModerationCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from batch_pipeline.model import Cell, Form, Hole, Tree
from batch_pipeline.providers.capabilities import check_taken
from batch_pipeline.providers.openai.codec import OpenAICodec
from batch_pipeline.providers.openai.facts import CAPABILITIES
from batch_pipeline.spec import BatchJob

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
EMBEDDINGS, MODERATIONS = "/v1/embeddings", "/v1/moderations"
SDK: Mapping[str, TypeAdapter[Any]] = {
    CHAT: TypeAdapter(CompletionCreateParamsNonStreaming),
    RESPONSES: TypeAdapter(ResponseCreateParamsNonStreaming),
    EMBEDDINGS: TypeAdapter(EmbeddingCreateParams),
    MODERATIONS: TypeAdapter(ModerationCreateParams),
}
LABEL: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
}
STRICT_LABEL = {**LABEL, "additionalProperties": False}
PROMPT = {"prompt": "{{ text }}"}
TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Well?"},
]
EXAMPLES = {
    (Form.LINK, "image"): "https://example.org/a.png",
    (Form.LINK, "pdf"): "https://example.org/a.pdf",
    (Form.DATA_URL, "image"): "data:image/png;base64,iVBORw0KGgo=",
    (Form.DATA_URL, "pdf"): "data:application/pdf;base64,JVBERi0=",
}
LOOK_UP = {
    "name": "look_up",
    "description": "Look a word up.",
    "parameters": LABEL,
    "strict": True,
}
NOTE = {"name": "note"}


def make(
    endpoint: str = CHAT,
    *,
    model: str = "gpt-5-nano",
    request: Mapping[str, object] = PROMPT,
    **parameters: Any,  # noqa: ANN401 - what the tests set
) -> BatchJob:
    return BatchJob.model_validate(
        {
            "name": "label_mail",
            "dataset": {"path": "x", "key": "id"},
            "request": {**request, "parameters": parameters},
            "targets": [{"provider": "openai", "model": model, "endpoint": endpoint}],
        }
    )


def body(job: BatchJob) -> dict[str, Tree]:
    """The body as the pipeline asks for it: first what the endpoint takes, then the model."""
    (target,) = job.targets
    check_taken(job, target, CAPABILITIES)
    return OpenAICodec().body(job, target)


def filled(tree: Tree) -> Any:  # noqa: ANN401 - any JSON
    """The body of an example row."""
    if isinstance(tree, Hole):
        return f"<{tree.template}>"
    if isinstance(tree, Cell):
        assert tree.media is not None
        return EXAMPLES[tree.form, tree.media]
    if isinstance(tree, Mapping):
        return {key: filled(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [one for value in tree for one in spread(value)]
    return tree


def spread(value: Tree) -> list[Any]:
    """A list's element, or the turns that stand in its place."""
    return TURNS if isinstance(value, Cell) and value.form is Form.TURNS else [filled(value)]


def read(value: object) -> object:
    """What the SDK's types made of a body; they look into a list only while it is walked."""
    if isinstance(value, Mapping):
        return {key: read(one) for key, one in value.items()}
    if isinstance(value, Iterator | list):
        return [read(one) for one in value]
    return value


def known_to_sdk(job: BatchJob) -> Any:  # noqa: ANN401 - any JSON
    """The body of an example row, after the SDK's own types have taken it and left nothing out."""
    found = filled(body(job))
    assert read(SDK[job.targets[0].endpoint].validate_python(found)) == found
    return found
