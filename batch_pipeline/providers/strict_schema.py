"""A JSON Schema as OpenAI's strict structured outputs take it, or a SpecError that says where not.

What a model writes under the strict schema is valid under the user's own: objects are closed,
and a property that may be left out is written only when null or a default can stand for that.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from batch_pipeline.errors import SpecError

_REFUSED = frozenset(
    {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
    | {"propertyNames", "unevaluatedProperties", "unevaluatedItems", "minProperties"}
    | {"maxProperties", "prefixItems", "contains", "minContains", "maxContains", "uniqueItems"}
)
_SAYS_WHAT = frozenset({"type", "enum", "const", "anyOf", "$ref"})
_Schema = dict[str, JsonValue]


class _NotStrictError(Exception):
    """What strict mode refuses, and where."""

    def __init__(self, path: str, what: str, instead: str) -> None:
        super().__init__(what)
        self.path, self.what, self.instead = path, what, instead


def strict_schema(
    schema: Mapping[str, JsonValue], *, of: str = "request.output_schema", by: str = "OpenAI"
) -> _Schema:
    """The strict form of *schema*; SpecError with the path of what strict mode refuses.

    *of* is the schema's name in the job file, *by* whose strict mode it is.
    """
    try:
        return _strict(_object(schema), schema, "")
    except _NotStrictError as no:
        raise SpecError(
            f"{of} at #{no.path or '/'}: {by}'s strict mode refuses {no.what}. "
            f"Change the schema: {no.instead}."
        ) from None


def _object(schema: Mapping[str, JsonValue]) -> _Schema:
    root = _inlined(dict(schema), schema, "")
    if root.get("type") != "object":
        what = "the top is not an object"
        raise _NotStrictError("", what, "wrap it in an object with one property")
    return root


def _strict(node: JsonValue, root: Mapping[str, JsonValue], path: str) -> _Schema:
    if not isinstance(node, dict):
        raise _NotStrictError(path, f"the schema {node!r} allows anything", "say which type it is")
    schema = _plain(node, root, path)
    written = schema.get("properties", {})
    for name in ("properties", "$defs", "definitions"):
        inner = schema.get(name)
        if isinstance(inner, dict):
            schema[name] = {
                key: _strict(value, root, f"{path}/{name}/{key}") for key, value in inner.items()
            }
    choices = schema.get("anyOf")
    if isinstance(choices, list):
        schema["anyOf"] = [
            _strict(value, root, f"{path}/anyOf/{n}") for n, value in enumerate(choices)
        ]
    if "items" in schema:
        schema["items"] = _strict(schema["items"], root, f"{path}/items")
    elif _has_type(schema, "array"):
        raise _NotStrictError(path, "an array without `items`", "say what its items are")
    if "properties" in schema or _has_type(schema, "object"):
        _close(schema, written, path)
    return schema


def _plain(node: _Schema, root: Mapping[str, JsonValue], path: str) -> _Schema:
    """The node without annotations and spellings that strict mode does not know."""
    schema = _inlined(dict(node), root, path)
    schema.pop("default", None)
    schema.pop("$schema", None)
    if "oneOf" in schema and "discriminator" in schema:  # its tag makes the choices exclusive
        schema["anyOf"] = schema.pop("oneOf")
        del schema["discriminator"]
    parts = schema.get("allOf")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
        del schema["allOf"]
        return _plain({**parts[0], **schema}, root, path)
    for name in ("allOf", "oneOf", *sorted(_REFUSED)):
        if name in schema:
            raise _NotStrictError(
                path, f"the keyword {name!r}", "write it with type, properties, anyOf"
            )
    if not _SAYS_WHAT & schema.keys():
        raise _NotStrictError(path, "a schema without a type", "say which type it is")
    return schema


def _inlined(schema: _Schema, root: Mapping[str, JsonValue], path: str) -> _Schema:
    """A $ref may have nothing beside it: what it names is written out then, one level deep."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or (len(schema) == 1 and path):
        return schema
    found: JsonValue = dict(root)
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    if not reference.startswith("#/") or not isinstance(found, dict):
        raise _NotStrictError(
            path, f"the reference {reference!r}", "point it at this schema's $defs"
        )
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return _inlined({**found, **rest}, root, path)


def _close(schema: _Schema, written: JsonValue, path: str) -> None:
    """Close the object *schema* and require all its properties; *written* is how they were."""
    if schema.get("additionalProperties", False) is not False:
        raise _NotStrictError(
            path, "an object with properties of any name", "use a list of name/value objects"
        )
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if (
        not isinstance(properties, dict)
        or not isinstance(written, dict)
        or not isinstance(required, list)
    ):
        raise _NotStrictError(path, "malformed properties or required", "mend the schema")
    for name, value in properties.items():
        before = written[name]
        has_default = isinstance(before, dict) and "default" in before
        if name not in required and not has_default and not _nullable(value):
            raise _NotStrictError(
                f"{path}/properties/{name}",
                "a property that may be left out",
                "put it into `required`, or let it be null",
            )
    schema["properties"] = properties
    schema["required"] = list(properties)
    schema["additionalProperties"] = False


def _nullable(value: JsonValue) -> bool:
    if not isinstance(value, dict):
        return False
    choices = value.get("anyOf")
    among = isinstance(choices, list) and any(_nullable(choice) for choice in choices)
    listed = value.get("enum")
    return among or _has_type(value, "null") or (isinstance(listed, list) and None in listed)


def _has_type(schema: Mapping[str, JsonValue], name: str) -> bool:
    kind = schema.get("type")
    return kind == name or (isinstance(kind, list) and name in kind)
