"""From a JSON Schema to the column type its answers land in, decided by the schema alone.

object -> STRUCT, array -> LIST, string and enum of strings -> VARCHAR, integer -> BIGINT,
number -> DOUBLE, boolean -> BOOLEAN; null beside one of them makes no difference. Everything else
(mixed types, free-form objects, recursion, names that differ in case alone) -> VARCHAR holding
JSON. Nothing is lost to a type: integers are bounded to 64 bits where they land (an answer beyond
that is `invalid`, and its `text` keeps every digit).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from pydantic import JsonValue

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
"""A DuckDB type as json_transform spells it; the leaf JSON is a VARCHAR that holds JSON."""

JSON = "JSON"
_SCALARS = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
LEAST, MOST = -(2**63), 2**63 - 1
"""The integers that a column holds."""

_DATA = frozenset({"const", "enum", "default", "examples"})  # words whose value is no schema
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})  # name -> schema


def tree(schema: JsonValue) -> Tree:
    """The type of a document that satisfies *schema*."""
    return _tree(schema, schema, ())


def structure(schema: JsonValue) -> str:
    """The structure argument of DuckDB's json_transform for *schema*."""
    return json.dumps(tree(schema), ensure_ascii=False)


def sql_type(node: Tree) -> str:
    """The DuckDB type of a tree; leaves that hold JSON are plain VARCHAR."""
    if isinstance(node, str):
        return "VARCHAR" if node == JSON else node
    if isinstance(node, list):
        return f"{sql_type(node[0])}[]"
    fields = ", ".join(f"{quoted(name)} {sql_type(child)}" for name, child in node.items())
    return f"STRUCT({fields})"


def quoted(name: str) -> str:
    """*name* as a DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def bounded(schema: JsonValue) -> JsonValue:
    """*schema* with every integer held within 64 bits, so that what is valid also lands."""
    if isinstance(schema, list):
        return [bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    walked = {word: _bounded_word(word, value) for word, value in schema.items()}
    types = schema.get("type")
    named = types if isinstance(types, list) else [types]
    if "integer" in named and "number" not in named:
        low, high = schema.get("minimum"), schema.get("maximum")
        walked["minimum"] = max(low, LEAST) if isinstance(low, int | float) else LEAST
        walked["maximum"] = min(high, MOST) if isinstance(high, int | float) else MOST
    return walked


def parts(schema: JsonValue) -> Iterator[tuple[tuple[str | int, ...], dict[str, JsonValue]]]:
    """Every schema within *schema*, itself first, each with its place."""
    todo: list[tuple[tuple[str | int, ...], JsonValue]] = [((), schema)]
    while todo:
        place, node = todo.pop(0)
        if isinstance(node, list):
            todo += [((*place, number), item) for number, item in enumerate(node)]
        if not isinstance(node, dict):
            continue
        yield place, node
        for word, value in node.items():
            if word in _NAMED and isinstance(value, dict):
                todo += [((*place, word, name), child) for name, child in value.items()]
            elif word not in _DATA:
                todo.append(((*place, word), value))


def _bounded_word(word: str, value: JsonValue) -> JsonValue:
    if word in _NAMED and isinstance(value, dict):
        return {name: bounded(child) for name, child in value.items()}
    return value if word in _DATA else bounded(value)


def _tree(schema: JsonValue, root: JsonValue, seen: tuple[str, ...]) -> Tree:
    if not isinstance(schema, dict):
        return JSON
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return JSON
        return _tree(_resolved(reference, root), root, (*seen, reference))
    for word in ("anyOf", "oneOf", "allOf"):
        if "type" not in schema and isinstance(schema.get(word), list):
            return _only(schema[word], root, seen)
    return _typed(schema, root, seen)


def _only(branches: JsonValue, root: JsonValue, seen: tuple[str, ...]) -> Tree:
    """The type all non-null *branches* agree on."""
    assert isinstance(branches, list)  # noqa: S101 - checked by the caller, told to the type checker
    trees = [_tree(branch, root, seen) for branch in branches if not _is_null(branch)]
    return trees[0] if trees and all(other == trees[0] for other in trees) else JSON


def _is_null(schema: JsonValue) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _typed(schema: Mapping[str, JsonValue], root: JsonValue, seen: tuple[str, ...]) -> Tree:
    match _type(schema):
        case "object":
            return _struct(schema, root, seen)
        case "array":
            items = schema.get("items")
            if isinstance(items, dict) and "prefixItems" not in schema:
                return [_tree(items, root, seen)]
            return JSON
        case str() as scalar:
            return _SCALARS.get(scalar, JSON)
    return JSON


def _type(schema: Mapping[str, JsonValue]) -> str | None:
    """The one type beside null that *schema* names or its enum implies."""
    named = schema.get("type")
    if named is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else [])
        texts = isinstance(values, list) and [v for v in values if v is not None]
        return "string" if texts and all(isinstance(v, str) for v in texts) else None
    names = {str(n) for n in (named if isinstance(named, list) else [named])} - {"null"}
    if names == {"integer", "number"}:
        return "number"
    return names.pop() if len(names) == 1 else None


def _struct(schema: Mapping[str, JsonValue], root: JsonValue, seen: tuple[str, ...]) -> Tree:
    """Declared properties only; an object that invites others stays JSON."""
    properties = schema.get("properties")
    open_ended = schema.get("additionalProperties") or "patternProperties" in schema
    if not isinstance(properties, dict) or not properties or open_ended:
        return JSON
    folded = {name.casefold() for name in properties}
    if len(folded) < len(properties) or "" in folded or any("\0" in name for name in folded):
        return JSON
    return {name: _tree(child, root, seen) for name, child in properties.items()}


def _resolved(reference: str, root: JsonValue) -> JsonValue:
    """What a JSON pointer names; None (so: any JSON) when it is not in this document."""
    if not reference.startswith("#"):
        return None
    node = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node
