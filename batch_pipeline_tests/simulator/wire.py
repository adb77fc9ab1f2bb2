"""Holds JSON against the types of an SDK, which builds its objects without looking."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

Json = Any  # decoded JSON of any shape


_RECORDED = (  # seen in bodies, and in no SDK
    "billing: unknown to Response",
    "store: unknown to Response",
    "error.details: unknown to ",
    "usage: unknown to ModerationResponse",
    "cached_tokens: unknown to UsageInfo",
    "prompt_tokens_details: unknown to UsageInfo",
    "prompt_token_details: unknown to UsageInfo",
    "request_count: unknown to UsageInfo",
)


def unexpected(kind: Any, value: Json) -> list[str]:  # noqa: ANN401 - any type of an SDK
    """The flaws but for the fields that recorded bodies have and SDKs do not know."""
    return [flaw for flaw in flaws(kind, value) if not any(each in flaw for each in _RECORDED)]


def flaws(kind: Any, value: Json) -> list[str]:  # noqa: ANN401 - a class or a union of them
    """What is wrong with *value* as the SDK's type *kind*; fields it does not know are named."""
    try:
        made = TypeAdapter[Any](kind).validate_python(value)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return sorted(_unknown(made, value, ""))


def _unknown(made: object, value: Json, where: str) -> Iterator[str]:
    if isinstance(value, Mapping) and isinstance(made, BaseModel):
        fields = type(made).model_fields
        names = {field.alias or name: name for name, field in fields.items()}
        for key, inner in value.items():
            if key not in names:
                yield f"{where}{key}: unknown to {type(made).__name__}"
            else:
                yield from _unknown(getattr(made, names[key]), inner, f"{where}{key}.")
    elif isinstance(value, Mapping) and isinstance(made, Mapping):
        for key, inner in value.items():
            yield from _unknown(made.get(key), inner, f"{where}{key}.")
    elif isinstance(value, list) and isinstance(made, list):
        for place, (one, inner) in enumerate(zip(made, value, strict=True)):
            yield from _unknown(one, inner, f"{where}{place}.")
