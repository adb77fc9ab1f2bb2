"""The fields of request bodies: what each endpoint takes, and what is wrong with a line.

A file is uploaded before anybody says for which endpoint, so a body is held against the endpoint
that its fields suggest. Like the service, pydantic finds what is wrong and says it.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, Required, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from batch_pipeline.simulator.mistral.conversation import (
    DocumentURLChunk,
    FileChunk,
    ImageURLChunk,
    Talk,
    Whole,
)

Body = Mapping[str, object]
_Object: TypeAlias = dict[str, object]
_strict = with_config(ConfigDict(strict=True, extra="forbid"))  # also holds for all that is within


class _Function(TypedDict, total=False):
    name: Required[str]
    parameters: Required[_Object]
    description: str | None
    strict: bool | None


class _Tool(TypedDict, total=False):
    type: Literal["function"] | None
    function: Required[_Function]


class _Named(TypedDict):
    name: str


class ToolChoice(TypedDict, total=False):
    """One tool that must be called."""

    type: Literal["function"] | None
    function: Required[_Named]


class _JsonSchema(TypedDict, total=False):
    name: Required[str]
    schema: Required[_Object]
    description: str | None
    strict: bool | None


class PlainFormat(TypedDict, total=False):
    """Text, or JSON of any shape."""

    type: Literal["text", "json_object"] | None
    json_schema: _JsonSchema | None


class SchemaFormat(TypedDict):
    """JSON of one shape."""

    type: Literal["json_schema"]
    json_schema: _JsonSchema


_Format: TypeAlias = PlainFormat | SchemaFormat


@_strict
class _Request(TypedDict, total=False):
    model: str | None


class _Sampling(_Request, total=False):
    temperature: Annotated[float, Field(ge=0, le=1.5)] | None
    top_p: Annotated[float, Field(ge=0, le=1)] | None
    max_tokens: Whole | None
    min_tokens: Whole | None
    stream: Literal[False] | None
    stop: str | list[str] | None
    random_seed: Whole | None
    metadata: _Object | None
    prompt_cache_key: str | None


@_strict
class ChatCompletionRequest(_Sampling, total=False):
    """`/v1/chat/completions`."""

    messages: Required[Talk]
    response_format: _Format | None
    tools: list[_Tool] | None
    tool_choice: Literal["auto", "none", "any", "required"] | ToolChoice | None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None
    repetition_penalty: Annotated[float, Field(ge=0)] | None
    top_k: Whole | None
    logprobs: bool | None
    top_logprobs: Whole | None
    prompt_logprobs: bool | None
    top_prompt_logprobs: Whole | None
    n: Annotated[int, Field(ge=1)] | None
    prediction: _Object | None
    parallel_tool_calls: bool | None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None
    prompt_mode: Literal["reasoning"] | None
    guardrails: object
    service_tier: Literal["auto", "standard_only"] | None
    safe_prompt: bool | None


@_strict
class FIMCompletionRequest(_Sampling, total=False):
    """`/v1/fim/completions`."""

    prompt: Required[str]
    suffix: str | None


_Texts: TypeAlias = str | Annotated[list[str], Field(min_length=1)]


@_strict
class EmbeddingRequest(_Request, total=False):
    """`/v1/embeddings`."""

    input: Required[_Texts]
    metadata: _Object | None
    output_dimension: Annotated[int, Field(ge=1)] | None
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None
    encoding_format: Literal["float", "base64"] | None


@_strict
class ClassificationRequest(_Request, total=False):
    """`/v1/moderations`."""

    input: Required[_Texts]
    metadata: _Object | None


@_strict
class ChatModerationRequest(_Request, total=False):
    """`/v1/chat/moderations`."""

    input: Required[Talk | Annotated[list[Talk], Field(min_length=1)]]
    metadata: _Object | None


@_strict
class OCRRequest(_Request, total=False):
    """`/v1/ocr`."""

    id: str | None
    document: Required[DocumentURLChunk | ImageURLChunk | FileChunk]
    pages: str | list[object] | None
    include_image_base64: bool | None
    image_limit: Whole | None
    image_min_size: Whole | None
    bbox_annotation_format: _Format | None
    document_annotation_format: _Format | None
    document_annotation_prompt: str | None
    table_format: Literal["markdown", "html"] | None
    extract_header: bool | None
    extract_footer: bool | None
    include_blocks: bool | None
    confidence_scores_granularity: Literal["word", "page", "block"] | None


@_strict
class BatchRequest(TypedDict, total=False):
    """A line of a file."""

    custom_id: str | None
    body: Required[_Object]


_LINE: TypeAdapter[BatchRequest] = TypeAdapter(BatchRequest)
_BODIES: dict[str, type] = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/moderations": ClassificationRequest,
    "/v1/chat/moderations": ChatModerationRequest,
    "/v1/ocr": OCRRequest,
    "/v1/fim/completions": FIMCompletionRequest,
}


@cache
def _read(shape: type) -> TypeAdapter[object]:
    """Made for the first body that needs it: a start would wait for all of them."""
    return TypeAdapter(shape)


_NOT_SIMULATED = re.compile("^(inputs|file|file_url|file_id)$")
_MORE = "    For further information visit "


def flaw_of(request: object) -> str | None:
    """What is wrong with a line of a file, whichever endpoint it may be for."""
    try:
        body = _LINE.validate_python(request)["body"]
    except ValidationError as error:
        return _told(error)
    return body_flaw(suggested(body), body)


def body_flaw(endpoint: str | None, body: Body) -> str | None:
    """What is wrong with a body at an endpoint; nothing is known of the endpoint None."""
    if endpoint is None:
        return None
    try:
        _read(_BODIES[endpoint]).validate_python(body)
    except ValidationError as error:
        return _told(error)
    return None


def suggested(body: Body) -> str | None:
    """The endpoint that a body seems to be for."""
    for field, endpoint in _TELLING.items():
        if field in body:
            return endpoint
    if "input" in body:
        return "/v1/chat/moderations" if _is_talk(body["input"]) else "/v1/embeddings"
    if any(map(_NOT_SIMULATED.match, body)):
        return None
    return "/v1/chat/completions"


_TELLING = {
    "messages": "/v1/chat/completions",
    "document": "/v1/ocr",
    "prompt": "/v1/fim/completions",
}


def _is_talk(given: object) -> bool:
    return isinstance(given, list) and bool(given) and isinstance(given[0], dict | list)


def _told(error: ValidationError) -> str:
    """The complaint on one line, as the service sends it: without pydantic's links."""
    return " ".join(line for line in str(error).split("\n") if not line.startswith(_MORE))
