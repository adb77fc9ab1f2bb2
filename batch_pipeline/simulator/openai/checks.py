"""What OpenAI refuses in a single request: the rows that end in the error file as HTTP errors."""

import re
from collections.abc import Mapping

import orjson

from batch_pipeline.simulator.strict import schema_flaw

Body = Mapping[str, object]

_KNOWN_MODEL = re.compile(
    r"^(ft:)?(gpt-(3\.5-turbo|4o|4|5|6)([.-][\w.:-]+)?|o[134]([.-][\w.:-]+)?"
    r"|text-embedding-(3-small|3-large|ada-002)|omni-moderation-[\w-]+)(:[\w.:-]+)?$"
)
_REASONING = re.compile(r"^(ft:)?(o[134]|gpt-[56])(?!.*chat)")
_BIG_CONTEXT = 400_000
_CONTEXT = {"gpt-3.5": 16_385, "gpt-4.1": 1_047_576, "gpt-4": 128_000, "text-embedding": 8_192}
_COMMON = (
    "metadata model moderation parallel_tool_calls prompt_cache_key prompt_cache_options "
    "prompt_cache_retention safety_identifier service_tier store stream stream_options temperature "
    "tool_choice tools top_logprobs top_p user"
)
_PARAMETERS = {
    "/v1/chat/completions": frozenset(
        (
            f"{_COMMON} audio frequency_penalty function_call functions logit_bias logprobs "
            "max_completion_tokens max_tokens messages modalities n prediction presence_penalty "
            "reasoning_effort response_format seed stop verbosity web_search_options"
        ).split()
    ),
    "/v1/responses": frozenset(
        (
            f"{_COMMON} access_programs background background_options context_management "
            "conversation image include input instructions max_output_tokens max_tool_calls "
            "previous_response_id prompt reasoning text truncation"
        ).split()
    ),
    "/v1/embeddings": frozenset(["dimensions", "encoding_format", "input", "model", "user"]),
    "/v1/moderations": frozenset(["input", "model"]),
}
_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_ROLES = frozenset(["system", "developer", "user", "assistant", "tool", "function"])
_EFFORTS = frozenset(["none", "minimal", "low", "medium", "high", "xhigh", "max"])


class RefusedRequestError(Exception):
    """One request is refused; the batch goes on."""

    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status


def known_model(model: str, extra: tuple[str, ...]) -> bool:
    """True when the provider would know the model's name."""
    return model in extra or _KNOWN_MODEL.match(model) is not None


def is_reasoning(model: str) -> bool:
    """True for models that think before they answer."""
    return _REASONING.match(model) is not None


def effort_of(body: Body) -> str | None:
    """The reasoning effort asked for, on either wire."""
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    effort = body.get("reasoning_effort", effort)
    return effort if isinstance(effort, str) else None


def check_request(endpoint: str, body: Body) -> None:
    """Raise for everything that the provider refuses before it runs the model."""
    model = str(body["model"])
    _check_parameters(endpoint, body)
    _check_model_fits(endpoint, model)
    if endpoint == "/v1/embeddings":
        _check_embeddings(body, model)
        return
    if endpoint == "/v1/moderations":
        _check_moderation(body)
        return
    _check_ranges(body)
    _check_reasoning(body, model)
    if endpoint == "/v1/chat/completions":
        _check_chat(body, model)
    else:
        _check_responses(body)


def check_context(model: str, prompt_tokens: int, param: str) -> None:
    """Raise when the prompt is longer than the model can read."""
    most = next((size for name, size in _CONTEXT.items() if model.startswith(name)), _BIG_CONTEXT)
    if prompt_tokens > most:
        raise RefusedRequestError(
            f"This model's maximum context length is {most} tokens. However, your {param} resulted "
            f"in {prompt_tokens} tokens. Please reduce the length of the {param}.",
            param,
            "context_length_exceeded",
        )


def _check_parameters(endpoint: str, body: Body) -> None:
    for name in body:
        if name not in _PARAMETERS[endpoint]:
            raise RefusedRequestError(f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def _check_model_fits(endpoint: str, model: str) -> None:
    if model.startswith("omni-moderation") != (endpoint == "/v1/moderations"):
        raise RefusedRequestError(
            f"The model '{model}' is not supported in the {endpoint} endpoint.", "model"
        )
    if model.startswith("text-embedding") and endpoint != "/v1/embeddings":
        raise RefusedRequestError(
            f"This is not a chat model and thus not supported in the {endpoint} endpoint.",
            "model",
            status=404,
        )
    if endpoint == "/v1/embeddings" and not model.startswith("text-embedding"):
        raise RefusedRequestError(
            "You are not allowed to generate embeddings from this model", "model", status=403
        )


def _check_ranges(body: Body) -> None:
    for name, (low, high) in _RANGES.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(name, "a decimal", value)
        if value > high:
            raise _out_of_range(name, value, "above maximum", f"<= {high}")
        if value < low:
            raise _out_of_range(name, value, "below minimum", f">= {low}")
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n"):
        _check_positive(name, body.get(name), 16 if name == "max_output_tokens" else 1)


def _out_of_range(name: str, value: float, side: str, bound: str) -> RefusedRequestError:
    return RefusedRequestError(
        f"Invalid '{name}': decimal {side} value. Expected a value {bound}, but got {value} "
        "instead.",
        name,
        f"decimal_{side.replace(' ', '_').removesuffix('imum')}_value",
    )


def _check_positive(name: str, value: object, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, "an integer", value)
    if value < least:
        raise RefusedRequestError(
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got "
            f"{value} instead.",
            name,
            "integer_below_min_value",
        )


def _check_reasoning(body: Body, model: str) -> None:
    effort = effort_of(body)
    if effort is not None and effort not in _EFFORTS:
        raise RefusedRequestError(
            f"Invalid value: '{effort}'. Supported values are: 'none', 'minimal', 'low', 'medium', "
            "'high', and 'xhigh'.",
            "reasoning_effort",
            "invalid_value",
        )
    if not is_reasoning(model):
        if effort is not None:
            raise _unsupported("reasoning_effort", "")
        return
    if body.get("max_tokens") is not None:
        raise _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    if effort == "none":
        return
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if value is not None and (model.startswith("gpt-6") or value != 1):
            raise _unsupported(name, "")


def _check_chat(body: Body, model: str) -> None:
    messages = body.get("messages")
    if messages is None:
        raise _missing("messages")
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise RefusedRequestError(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            "messages",
            "empty_array",
        )
    for number, message in enumerate(messages):
        _check_message(message, f"messages[{number}]")
    _check_format(body.get("response_format"), "response_format", model)


def _check_message(message: object, where: str) -> None:
    if not isinstance(message, dict):
        raise _wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        raise _missing(f"{where}.role")
    if role not in _ROLES:
        raise RefusedRequestError(
            f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', "
            "'function', 'tool', and 'developer'.",
            f"{where}.role",
            "invalid_value",
        )
    content = message.get("content")
    if content is None:
        if role != "assistant":
            raise RefusedRequestError(
                f"Invalid value for 'content': expected a string, got null. ({where})",
                f"{where}.content",
            )
    elif not isinstance(content, str | list):
        raise _wrong_type(f"{where}.content", "one of a string or array of objects", content)


def _check_responses(body: Body) -> None:
    given = body.get("input")
    if given is None and body.get("prompt") is None:
        raise _missing("input")
    if given is not None and not isinstance(given, str | list):
        raise _wrong_type("input", "one of a string or array of input items", given)
    text = body.get("text")
    if text is not None and not isinstance(text, dict):
        raise _wrong_type("text", "an object", text)
    if text is not None:
        _check_format(text.get("format"), "text.format", None)


def _check_format(given: object, param: str, chat_model: str | None) -> None:
    """Check response_format (chat) or text.format (responses, where the schema lies flat)."""
    if given is None:
        return
    if not isinstance(given, dict) or given.get("type") not in {
        "text",
        "json_object",
        "json_schema",
    }:
        raise RefusedRequestError(
            f"Invalid value for '{param}.type'.", f"{param}.type", "invalid_value"
        )
    if given["type"] != "json_schema":
        return
    where = param if chat_model is None else f"{param}.json_schema"
    named = given if chat_model is None else given.get("json_schema")
    if not isinstance(named, dict):
        raise _missing(where)
    for key in ("name", "schema"):
        if key not in named:
            raise _missing(f"{where}.{key}")
    name = named["name"]
    if not isinstance(name, str) or re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) is None:
        raise RefusedRequestError(
            f"Invalid '{where}.name': string does not match pattern. Expected a string that "
            "matches the pattern '^[a-zA-Z0-9_-]+$'.",
            f"{where}.name",
            "invalid_value",
        )
    flaw = schema_flaw(orjson.dumps(named["schema"]), strict=named.get("strict") is True)
    if flaw is not None:
        raise RefusedRequestError(
            f"Invalid schema for response_format '{name}': {flaw}", param, "invalid_json_schema"
        )


def _check_embeddings(body: Body, model: str) -> None:
    given = body.get("input")
    if given is None:
        raise _missing("input")
    if given in ("", []) or not isinstance(given, str | list):
        raise RefusedRequestError("'$.input' is invalid. Please check the API reference.", "input")
    if body.get("encoding_format", "float") not in {"float", "base64"}:
        raise RefusedRequestError(
            "Invalid value for 'encoding_format'.", "encoding_format", "invalid_value"
        )
    dimensions = body.get("dimensions")
    _check_positive("dimensions", dimensions, 1)
    if dimensions is not None and model.endswith("ada-002"):
        raise RefusedRequestError(
            "This model does not support specifying dimensions.", "dimensions"
        )
    most = 3072 if model.endswith("large") else 1536
    if isinstance(dimensions, int) and dimensions > most:
        raise RefusedRequestError(
            f"Invalid value for 'dimensions' = {dimensions}. Must be less than or equal to {most}.",
            "dimensions",
        )


def _check_moderation(body: Body) -> None:
    given = body.get("input")
    if given is None:
        raise _missing("input")
    parts = given if isinstance(given, list) else [given]
    pictures = [part for part in parts if isinstance(part, Mapping)]
    if not parts or not all(isinstance(part, str | Mapping) for part in parts):
        raise RefusedRequestError("'$.input' is invalid. Please check the API reference.", "input")
    if any(part.get("type") not in {"text", "image_url"} for part in pictures):
        raise RefusedRequestError("Invalid value for 'input.type'.", "input", "invalid_value")


def _missing(name: str) -> RefusedRequestError:
    return RefusedRequestError(
        f"Missing required parameter: '{name}'.", name, "missing_required_parameter"
    )


def _unsupported(name: str, instead: str) -> RefusedRequestError:
    return RefusedRequestError(
        f"Unsupported parameter: '{name}' is not supported with this model.{instead}",
        name,
        "unsupported_parameter",
    )


def _wrong_type(name: str, expected: str, value: object) -> RefusedRequestError:
    kinds = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string"}
    kinds |= {list: "an array", dict: "an object", type(None): "null"}
    got = kinds.get(type(value), "something else")
    return RefusedRequestError(
        f"Invalid type for '{name}': expected {expected}, but got {got} instead.",
        name,
        "invalid_type",
    )
