"""The rules that a schema must keep to be used for structured output."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import jsonschema_rs
import orjson

_FORBIDDEN = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "patternProperties",
)


@lru_cache(maxsize=256)
def schema_flaw(schema: bytes, *, strict: bool) -> str | None:
    """What is wrong with a schema given as JSON text; None when nothing is."""
    parsed = orjson.loads(schema)
    if not isinstance(parsed, dict):
        return f"{parsed!r} is not of type 'object', 'boolean'."
    if not jsonschema_rs.meta.is_valid(parsed):
        return "schema must be a valid JSON Schema."
    if not strict:
        return None
    if parsed.get("type") != "object":
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {_shown(parsed)}'."
    return next(_strict_flaws(parsed, ()), None)


def _shown(schema: Mapping[str, object]) -> str:
    return f'"{schema["type"]}"' if "type" in schema else "None"


def _strict_flaws(schema: object, path: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    where = f"In context={path!r}"
    for keyword in _FORBIDDEN:
        if keyword in schema:
            yield f"{where}, '{keyword}' is not permitted."
    kinds = schema.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
        yield from _object_flaws(schema, where)
    for key in ("properties", "$defs", "definitions"):
        group = schema.get(key)
        for name, part in group.items() if isinstance(group, Mapping) else ():
            yield from _strict_flaws(part, (*path, key, name))
    if isinstance(schema.get("items"), Mapping):
        yield from _strict_flaws(schema["items"], (*path, "items"))
    variants = schema.get("anyOf")
    for number, part in enumerate(variants if isinstance(variants, list) else ()):
        yield from _strict_flaws(part, (*path, "anyOf", str(number)))


def _object_flaws(schema: Mapping[str, object], where: str) -> Iterator[str]:
    if schema.get("additionalProperties") is not False:
        yield f"{where}, 'additionalProperties' is required to be supplied and to be false."
    properties, required = schema.get("properties"), schema.get("required")
    names = set(properties) if isinstance(properties, Mapping) else set()
    missing = names - set(required if isinstance(required, list) else ())
    if missing:
        yield (
            f"{where}, 'required' is required to be supplied and to be an array including every "
            f"key in properties. Missing '{min(missing)}'."
        )
