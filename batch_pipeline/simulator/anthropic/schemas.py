"""The part of JSON Schema that Anthropic takes, for output formats and for tools."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import jsonschema_rs
import orjson

_UNSUPPORTED = {
    "string": ("minLength", "maxLength"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("maxItems", "uniqueItems", "contains", "prefixItems"),
    "object": ("patternProperties", "minProperties", "maxProperties", "propertyNames"),
}
_FORMATS = "date-time time date duration email hostname uri ipv4 ipv6 uuid text"
_KNOWN_FORMATS = frozenset(_FORMATS.split())
_NEVER = ("oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas")


def is_json_schema(schema: object) -> bool:
    """True when it is a schema at all: what a tool that is not strict needs."""
    return isinstance(schema, Mapping) and jsonschema_rs.meta.is_valid(dict(schema))


@lru_cache(maxsize=256)
def constrained_flaw(schema: bytes) -> str | None:
    """Why a schema (as JSON text) cannot constrain an answer; None when it can."""
    parsed = orjson.loads(schema)
    if not is_json_schema(parsed):
        return "JSON schema is invalid. It must match JSON Schema draft 2020-12."
    if _recursive(parsed):
        return "Recursive schemas are not supported"
    return next(_flaws(parsed), None)


def _flaws(schema: object) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    for keyword in _NEVER:
        if keyword in schema:
            yield f"Schema keyword '{keyword}' is not supported"
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        yield from _flaws_of(str(kind), schema)
    if not {"type", "enum", "const", "anyOf", "allOf", "$ref"} & set(schema):
        yield "Schema type is required: every part needs a 'type', 'anyOf', 'allOf', 'enum' or $ref"
    for part in _parts(schema):
        yield from _flaws(part)


def _flaws_of(kind: str, schema: Mapping[str, object]) -> Iterator[str]:
    if kind == "object" and schema.get("additionalProperties") is not False:
        if "additionalProperties" in schema:
            given = orjson.dumps(schema["additionalProperties"]).decode()
            yield (
                f"For 'object' type, 'additionalProperties: {given}' is not supported. Please set "
                "'additionalProperties' to false"
            )
        yield "For 'object' type, 'additionalProperties' must be explicitly set to false"
    for keyword in _UNSUPPORTED.get(kind, ()):
        if keyword in schema:
            yield f"For '{kind}' type, property '{keyword}' is not supported"
    if kind == "array" and schema.get("minItems", 0) not in (0, 1):
        yield "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if kind == "string" and schema.get("format", "text") not in _KNOWN_FORMATS:
        yield f"For 'string' type, format '{schema['format']}' is not supported"


def _parts(schema: Mapping[str, object]) -> Iterator[object]:
    for key in ("properties", "$defs", "definitions"):
        group = schema.get(key)
        yield from group.values() if isinstance(group, Mapping) else ()
    for key in ("anyOf", "allOf"):
        group = schema.get(key)
        yield from group if isinstance(group, list) else ()
    if "items" in schema:
        yield schema["items"]


def _recursive(root: Mapping[str, object]) -> bool:
    """True when following references from the root comes by the same one twice."""

    def loops(part: object, above: frozenset[str]) -> bool:
        if not isinstance(part, Mapping):
            return False
        reference = part.get("$ref")
        if isinstance(reference, str):
            return reference in above or loops(_target(root, reference), above | {reference})
        below = {key: value for key, value in part.items() if key not in {"$defs", "definitions"}}
        return any(loops(each, above) for each in _parts(below))

    return loops(root, frozenset({"#"}))


def _target(root: Mapping[str, object], reference: str) -> object:
    target: object = root
    for step in reference.removeprefix("#/").split("/"):
        target = target.get(step) if isinstance(target, Mapping) else None
    return target
