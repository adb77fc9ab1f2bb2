"""A JSON Schema as Anthropic's structured outputs take it, or a SpecError that says where not.

Objects are closed and bounds go into descriptions, as the SDK's own helper does it; answers are
checked against the user's schema all the same. What only structure can say is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import JsonValue

from batch_pipeline.errors import SpecError

_DEFINITIONS = ("$defs", "definitions")
_DROPPED = frozenset({"$schema", "$id", "$comment", "discriminator", "readOnly", "writeOnly"})
_REFUSED = frozenset(
    {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
    | {"propertyNames", "unevaluatedProperties", "unevaluatedItems", "prefixItems", "contains"}
    | {"$dynamicRef", "$anchor"}
)
_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_ABOUT = frozenset({"title", "description", "default", "examples", "deprecated"})
_STRUCTURE = frozenset(
    {"type", "enum", "const", "anyOf", "$ref", "title", "properties", "required", "items"}
    | {"additionalProperties", *_DEFINITIONS}
)
_Schema = dict[str, JsonValue]


def closed_schema(schema: Mapping[str, JsonValue], *, where: str) -> _Schema:
    """*schema* as Anthropic takes it; errors name the path below *where*."""
    closed = _Closing(schema, where).node(dict(schema), "")
    _refuse_recursion(closed, where)
    return closed


class _Closing:
    def __init__(self, root: Mapping[str, JsonValue], where: str) -> None:
        self._root, self._where = root, where

    def node(self, value: JsonValue, path: str) -> _Schema:
        if not isinstance(value, dict):
            raise self._refused(path, f"the schema {value!r}", "say which type it is")
        schema = self._plain(value, path)
        made: _Schema = {}
        for name in _DEFINITIONS:
            inner = schema.get(name)
            if isinstance(inner, dict):
                made[name] = {
                    key: self.node(one, f"{path}/{name}/{key}") for key, one in inner.items()
                }
        if "$ref" in schema:
            return made | {"$ref": self._reference(schema, path)}
        made |= self._shape(schema, path)
        return made | self._words(schema)

    def _plain(self, value: _Schema, path: str) -> _Schema:
        """The node in the spellings that the rest of this class knows."""
        schema = {key: each for key, each in value.items() if key not in _DROPPED}
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
            del schema["allOf"]
            return self._plain({**parts[0], **schema}, path)
        if "oneOf" in schema and "anyOf" not in schema:
            schema["anyOf"] = schema.pop("oneOf")
        for name in ("allOf", "oneOf", *sorted(_REFUSED)):
            if name in schema:
                raise self._refused(path, f"the keyword {name!r}", "use type, properties, anyOf")
        if "properties" in schema:
            schema.setdefault("type", "object")
        kinds = schema.get("type")
        if isinstance(kinds, list) and "enum" not in schema and "const" not in schema:
            return self._choice(schema, kinds)
        return schema

    @staticmethod
    def _choice(schema: _Schema, kinds: list[JsonValue]) -> _Schema:
        """A list of types as a choice of schemas; null is nothing but null in it."""
        about = {key: schema[key] for key in (*_ABOUT, *_DEFINITIONS) if key in schema}
        rest = {key: value for key, value in schema.items() if key not in {"type", *about}}
        each: list[JsonValue] = [
            {"type": kind, **({} if kind == "null" else rest)} for kind in kinds
        ]
        return {**about, "anyOf": each}

    def _reference(self, schema: _Schema, path: str) -> str:
        reference = schema["$ref"]
        beside = schema.keys() - _ABOUT - {"$ref", *_DEFINITIONS}
        if beside:
            raise self._refused(path, f"{min(beside)!r} beside a $ref", "put it where that points")
        steps = reference.split("/") if isinstance(reference, str) else []
        place = self._root.get(steps[1]) if len(steps) == 3 else None  # noqa: PLR2004 - #/$defs/x
        if steps[:1] != ["#"] or not isinstance(place, dict) or steps[2] not in place:
            raise self._refused(path, f"the reference {reference!r}", "point it at a name in $defs")
        return str(reference)

    def _shape(self, schema: _Schema, path: str) -> _Schema:
        for name in ("enum", "const"):
            if name in schema:
                return {name: self._literal(name, schema[name], path)}
        choices = schema.get("anyOf")
        if isinstance(choices, list):
            beside = schema.keys() & {"type", "properties", "items"}
            if beside:
                raise self._refused(path, f"{min(beside)!r} beside anyOf", "put it into each")
            return {"anyOf": [self.node(one, f"{path}/anyOf/{n}") for n, one in enumerate(choices)]}
        kind = schema.get("type")
        if kind not in _TYPES:
            raise self._refused(path, "a schema without a type", "say which type it is")
        if kind == "object":
            return {"type": kind, **self._object(schema, path)}
        if kind == "array":
            return {"type": kind, "items": self._items(schema, path)}
        return {"type": kind}

    def _literal(self, name: str, value: JsonValue, path: str) -> JsonValue:
        values = value if name == "enum" else [value]
        if not isinstance(values, list) or not values:
            raise self._refused(path, "an enum that is no list of values", "list them")
        if any(isinstance(one, (list, dict)) for one in values):
            raise self._refused(path, f"lists or objects in {name}", "use text and numbers")
        return value

    def _object(self, schema: _Schema, path: str) -> _Schema:
        properties, required = schema.get("properties"), schema.get("required", [])
        if isinstance(schema.get("additionalProperties"), dict) or not properties:
            raise self._refused(
                path,
                "an object with properties of any name (its objects are closed, and this one "
                "could only be empty)",
                "name its properties, or use a list of name/value objects",
            )
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise self._refused(path, "malformed properties or required", "mend the schema")
        inner: _Schema = {
            key: self.node(one, f"{path}/properties/{key}") for key, one in properties.items()
        }
        missing = [str(name) for name in required if name not in inner]
        if missing:
            raise self._refused(path, f"the required {missing[0]!r} of no schema", "define it")
        made: _Schema = {"properties": inner, "additionalProperties": False}
        return made | ({"required": required} if required else {})

    def _items(self, schema: _Schema, path: str) -> _Schema:
        if "items" not in schema:
            raise self._refused(path, "an array without `items`", "say what its items are")
        return self.node(schema["items"], f"{path}/items")

    def _words(self, schema: _Schema) -> _Schema:
        """Title, description, what else is supported as it is, and bounds as part of the text."""
        made: _Schema = {key: schema[key] for key in ("title",) if key in schema}
        bounds = {key: schema[key] for key in schema.keys() - _STRUCTURE - {"description"}}
        if bounds.get("format") in _FORMATS and schema.get("type") == "string":
            made["format"] = bounds.pop("format")
        if bounds.get("minItems") in {0, 1} and schema.get("type") == "array":
            made["minItems"] = bounds.pop("minItems")
        told = ", ".join(
            f"{key}: {json.dumps(bounds[key], ensure_ascii=False)}" for key in sorted(bounds)
        )
        parts = [schema.get("description"), told and f"{{{told}}}"]
        text = "\n\n".join(str(part) for part in parts if part)
        return made | ({"description": text} if text else {})

    def _refused(self, path: str, what: str, instead: str) -> SpecError:
        return _refusal(self._where, path, what, instead)


def _refuse_recursion(schema: _Schema, where: str) -> None:
    """Definitions may name each other, but none may come back to itself."""
    uses = {
        f"#/{group}/{name}": set(_references(one))
        for group in _DEFINITIONS
        for name, one in _mapping(schema.get(group)).items()
    }
    for start, used in uses.items():
        seen: set[str] = set()
        ahead = list(used)
        while ahead:
            name = ahead.pop()
            if name == start:
                raise _refusal(
                    where, start[1:], "a schema that contains itself", "write out the levels"
                )
            if name not in seen:
                seen.add(name)
                ahead.extend(uses.get(name, ()))


def _references(node: JsonValue) -> list[str]:
    if isinstance(node, list):
        return [name for one in node for name in _references(one)]
    if not isinstance(node, dict):
        return []
    reference = node.get("$ref")
    own = [reference] if isinstance(reference, str) else []
    return own + [name for one in node.values() for name in _references(one)]


def _mapping(value: JsonValue) -> _Schema:
    return value if isinstance(value, dict) else {}


def _refusal(where: str, path: str, what: str, instead: str) -> SpecError:
    return SpecError(
        f"{where} at #{path or '/'}: Anthropic's structured outputs do not take {what}. "
        f"Change the schema: {instead}."
    )
