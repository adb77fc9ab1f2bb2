"""Jobs for Mistral, and their bodies with an example in place of each leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batch_pipeline.model import Cell, Form, Hole, Tree
from batch_pipeline.providers.capabilities import check_taken
from batch_pipeline.providers.mistral.codec import MistralCodec
from batch_pipeline.providers.mistral.facts import CAPABILITIES
from batch_pipeline.spec import BatchJob

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
MODERATIONS, OCR = "/v1/moderations", "/v1/ocr"
LABEL: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
}
WEATHER = {"name": "weather", "description": "Of a town.", "parameters": LABEL}
PROMPT = {"prompt": "{{ text }}"}
TURNS = [{"role": "user", "content": "hi"}]


def make(
    endpoint: str = CHAT,
    *,
    request: Mapping[str, object] | None = None,
    target: Mapping[str, object] | None = None,
    **parameters: Any,  # noqa: ANN401 - what the tests set
) -> BatchJob:
    aim = {"provider": "mistral", "model": "mistral-small-latest", "endpoint": endpoint}
    return BatchJob.model_validate(
        {
            "name": "label_mail",
            "dataset": {"path": "x", "key": "id"},
            "request": {**(PROMPT if request is None else request), "parameters": parameters},
            "targets": [{**aim, **(target or {})}],
        }
    )


def body(job: BatchJob) -> dict[str, Tree]:
    check_taken(job, job.targets[0], CAPABILITIES)
    return MistralCodec().body(job, job.targets[0])


def filled(tree: Tree) -> Any:  # noqa: ANN401 - any JSON
    """The tree with an example in place of each leaf, as a row would fill it."""
    if isinstance(tree, Hole):
        return f"<{tree.template}>"
    if isinstance(tree, Cell):
        return f"https://{tree.column}/file" if tree.form is Form.LINK else "data:x,"
    if isinstance(tree, Mapping):
        return {key: filled(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        spliced = [TURNS if _is_turns(value) else [filled(value)] for value in tree]
        return [value for values in spliced for value in values]
    return tree


def _is_turns(tree: Tree) -> bool:
    return isinstance(tree, Cell) and tree.form is Form.TURNS
