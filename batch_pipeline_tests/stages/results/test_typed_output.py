from __future__ import annotations

import duckdb
import pytest
from pydantic import JsonValue

from batch_pipeline.stages.results import typed_output

POINT: dict[str, JsonValue] = {"type": "object", "properties": {"x": {"type": "number"}}}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "VARCHAR"),
        ({"enum": ["a", "b", None]}, "VARCHAR"),
        ({"const": "a"}, "VARCHAR"),
        ({"type": "integer"}, "BIGINT"),
        ({"type": ["integer", "null"]}, "BIGINT"),
        ({"type": ["integer", "number"]}, "DOUBLE"),
        ({"type": "number"}, "DOUBLE"),
        ({"type": "boolean"}, "BOOLEAN"),
        ({"type": "array", "items": {"type": "integer"}}, "BIGINT[]"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "BIGINT"),
        ({"allOf": [{"type": "string"}]}, "VARCHAR"),
        (POINT, 'STRUCT("x" DOUBLE)'),
        ({"$ref": "#/$defs/p~1q", "$defs": {"p/q": POINT}}, 'STRUCT("x" DOUBLE)'),
        ({**POINT, "properties": {'a"b': {"type": "string"}}}, 'STRUCT("a""b" VARCHAR)'),
    ],
)
def test_a_schema_has_its_column_type(schema: JsonValue, kind: str) -> None:
    assert typed_output.sql_type(typed_output.tree(schema)) == kind
    assert duckdb.execute(f"SELECT NULL::{kind}").fetchall() == [(None,)]


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"enum": ["a", 1]},
        {"enum": [None]},
        {"type": "null"},
        {"type": ["string", "integer"]},
        {"type": "array"},
        {"type": "array", "prefixItems": [{}], "items": {"type": "string"}},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {**POINT, "additionalProperties": {"type": "string"}},
        {**POINT, "patternProperties": {"^y": {}}},
        {"type": "object", "properties": {"a": {}, "A": {}}},
        {"type": "object", "properties": {"": {}}},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"anyOf": [{"type": "null"}]},
        {"$ref": "#/$defs/none"},
        {"$ref": "other.json"},
        {"$ref": "#"},
    ],
)
def test_what_has_no_one_type_is_json_in_text(schema: JsonValue) -> None:
    assert typed_output.tree(schema) == typed_output.JSON
    assert typed_output.sql_type(typed_output.JSON) == "VARCHAR"


def test_a_recursive_schema_is_json_where_it_comes_round() -> None:
    node: JsonValue = {
        "type": "object",
        "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/n"}},
    }
    tree = typed_output.tree({"$ref": "#/$defs/n", "$defs": {"n": node}})
    assert tree == {"v": "BIGINT", "next": "JSON"}


def test_integers_are_bounded_to_64_bits_wherever_they_are() -> None:
    low, high = -(2**63), 2**63 - 1
    integer = {"type": "integer", "minimum": low, "maximum": high}
    bounded = typed_output.bounded(
        {
            "properties": {"default": {"type": "integer"}, "b": {"type": ["integer", "number"]}},
            "anyOf": [{"type": ["integer", "null"], "maximum": 5, "minimum": 1.5}],
            "const": {"type": "integer"},
        }
    )
    assert bounded == {
        "properties": {"default": integer, "b": {"type": ["integer", "number"]}},
        "anyOf": [{"type": ["integer", "null"], "maximum": 5, "minimum": 1.5}],
        "const": {"type": "integer"},
    }
