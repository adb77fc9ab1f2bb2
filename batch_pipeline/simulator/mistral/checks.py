"""The fields of request bodies: what each endpoint takes, and what is wrong with a value.

A file is uploaded before anybody says for which endpoint, so a body is held against the endpoint
that its fields suggest. Messages are worded like pydantic's, as the service's are.
"""

import re
from collections.abc import Mapping

from batch_pipeline.simulator.mistral.messages import check_messages
from batch_pipeline.simulator.mistral.values import (
    Check,
    FlawError,
    any_of,
    boolean,
    check_fields,
    free,
    mapping,
    number,
    one_of,
    text,
    texts,
    wrong_type,
)

Body = Mapping[str, object]
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_CHOICES = ("auto", "none", "any", "required")
_FUNCTION = {"name": text, "description": text, "parameters": mapping, "strict": boolean}
_SCHEMA = {"name": text, "schema": mapping, "description": text, "strict": boolean}
_DOCUMENT = {
    "type": one_of("document_url", "image_url", "file"),
    "document_url": text,
    "document_name": text,
    "image_url": any_of(str, dict),
    "file_id": text,
}


def _tools(value: object, where: str) -> None:
    if not isinstance(value, list):
        raise wrong_type(where, list, value)
    for number_, tool in enumerate(value):
        at = f"{where}.{number_}"
        check_fields(tool, at, {"type": one_of("function"), "function": _function}, ("function",))


def _function(value: object, where: str) -> None:
    check_fields(value, where, _FUNCTION, ("name", "parameters"))


def _tool_choice(value: object, where: str) -> None:
    if isinstance(value, Mapping):
        named = {"type": one_of("function"), "function": _function_name}
        check_fields(value, where, named, ("function",))
        return
    one_of(*_CHOICES)(value, where)


def _function_name(value: object, where: str) -> None:
    check_fields(value, where, {"name": text}, ("name",))


def _response_format(value: object, where: str) -> None:
    fields = {"type": one_of("text", "json_object", "json_schema"), "json_schema": _json_schema}
    by_schema = isinstance(value, Mapping) and value.get("type") == "json_schema"
    check_fields(value, where, fields, ("json_schema",) if by_schema else ())


def _json_schema(value: object, where: str) -> None:
    check_fields(value, where, _SCHEMA, ("name", "schema"))


def _stop(value: object, where: str) -> None:
    if not isinstance(value, str):
        texts(value, where)


def _input(value: object, where: str) -> None:
    """Texts to embed or to moderate, or one or many conversations."""
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value:
        raise wrong_type(where, list, value)
    if isinstance(value[0], str):
        texts(value, where)
        return
    for number_, each in enumerate(value if isinstance(value[0], list) else [value]):
        check_messages(each, f"{where}.{number_}")


def _document(value: object, where: str) -> None:
    check_fields(value, where, _DOCUMENT, ())
    if isinstance(value, Mapping) and not {"document_url", "image_url", "file_id"} & set(value):
        raise FlawError(f"{where}.document_url", "Field required", "missing", value)


def _no_stream(value: object, where: str) -> None:
    boolean(value, where)
    if value:
        raise FlawError(where, "Input should be False", "literal_error", value)


_SAMPLING: dict[str, Check] = {
    "model": text,
    "temperature": number(0, 1.5),
    "top_p": number(0, 1),
    "max_tokens": number(0, None, whole=True),
    "min_tokens": number(0, None, whole=True),
    "stream": _no_stream,
    "stop": _stop,
    "random_seed": number(0, None, whole=True),
    "metadata": mapping,
    "prompt_cache_key": text,
}
_CHAT: dict[str, Check] = _SAMPLING | {
    "messages": check_messages,
    "response_format": _response_format,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "repetition_penalty": number(0, None),
    "top_k": number(0, None, whole=True),
    "logprobs": boolean,
    "top_logprobs": number(0, None, whole=True),
    "prompt_logprobs": boolean,
    "top_prompt_logprobs": number(0, None, whole=True),
    "n": number(1, None, whole=True),
    "prediction": mapping,
    "parallel_tool_calls": boolean,
    "reasoning_effort": one_of(*_EFFORTS),
    "prompt_mode": one_of("reasoning"),
    "guardrails": free,
    "service_tier": one_of("auto", "standard_only"),
    "safe_prompt": boolean,
}
_EMBEDDINGS: dict[str, Check] = {
    "model": text,
    "input": _input,
    "metadata": mapping,
    "output_dimension": number(1, None, whole=True),
    "output_dtype": one_of("float", "int8", "uint8", "binary", "ubinary"),
    "encoding_format": one_of("float", "base64"),
}
_MODERATION: dict[str, Check] = {"model": text, "input": _input, "metadata": mapping}
_OCR: dict[str, Check] = {
    "model": text,
    "id": text,
    "document": _document,
    "pages": any_of(str, list),
    "include_image_base64": boolean,
    "image_limit": number(0, None, whole=True),
    "image_min_size": number(0, None, whole=True),
    "bbox_annotation_format": _response_format,
    "document_annotation_format": _response_format,
    "document_annotation_prompt": text,
    "table_format": one_of("markdown", "html"),
    "extract_header": boolean,
    "extract_footer": boolean,
    "include_blocks": boolean,
    "confidence_scores_granularity": one_of("word", "page", "block"),
}
_FIELDS: dict[str, tuple[str, dict[str, Check], str]] = {
    "/v1/chat/completions": ("ChatCompletionRequest", _CHAT, "messages"),
    "/v1/embeddings": ("EmbeddingRequest", _EMBEDDINGS, "input"),
    "/v1/moderations": ("ClassificationRequest", _MODERATION, "input"),
    "/v1/chat/moderations": ("ChatModerationRequest", _MODERATION, "input"),
    "/v1/ocr": ("OCRRequest", _OCR, "document"),
    "/v1/fim/completions": (
        "FIMCompletionRequest",
        _SAMPLING | {"prompt": text, "suffix": text},
        "prompt",
    ),
}
ENDPOINTS = tuple(_FIELDS)
_NOT_SIMULATED = re.compile("^(inputs|file|file_url|file_id)$")


def flaw_of(request: object) -> str | None:
    """What is wrong with a line of a file, whichever endpoint it may be for."""
    try:
        check_fields(request, "", {"custom_id": text, "body": mapping}, ("body",))
        body = request["body"] if isinstance(request, Mapping) else None
    except FlawError as flaw:
        return flaw.told("BatchRequest")
    return body_flaw(suggested(body), body) if isinstance(body, Mapping) else None


def body_flaw(endpoint: str | None, body: Body) -> str | None:
    """What is wrong with a body at an endpoint; nothing is known of the endpoint None."""
    if endpoint is None:
        return None
    title, fields, needed = _FIELDS[endpoint]
    try:
        check_fields(body, "", fields, (needed,))
    except FlawError as flaw:
        return flaw.told(title)
    return None


def suggested(body: Body) -> str | None:
    """The endpoint that a body seems to be for."""
    for endpoint in ("/v1/chat/completions", "/v1/ocr", "/v1/fim/completions", "/v1/embeddings"):
        if _FIELDS[endpoint][2] in body:
            return endpoint
    if any(map(_NOT_SIMULATED.match, body)):
        return None
    return "/v1/chat/completions"
