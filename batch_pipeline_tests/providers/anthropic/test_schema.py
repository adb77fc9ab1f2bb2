from __future__ import annotations

from typing import Any, Literal

import pytest
from anthropic import transform_schema
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.anthropic.schema import closed_schema

Schema = dict[str, Any]


def closed(schema: Schema) -> Schema:
    return closed_schema(schema, where="request.output_schema")


def thing(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def closed_thing(**properties: Schema) -> Schema:
    return {**thing(**properties), "additionalProperties": False}


class Street(BaseModel):
    """Where it is."""

    name: str = Field(min_length=1)
    number: int | None = Field(default=None, ge=1, le=999)


class Person(BaseModel):
    """Who it is."""

    kind: Literal["adult", "child"]
    born: str = Field(json_schema_extra={"format": "date"})
    home: Street
    tags: list[str] = Field(default_factory=list, max_length=5)


def test_a_pydantic_model_s_schema_is_taken_as_the_sdk_takes_it() -> None:
    found = closed(Person.model_json_schema())
    assert transform_schema(found) == found
    street = found["$defs"]["Street"]
    assert (street["additionalProperties"], street["required"]) == (False, ["name"])
    assert street["description"] == "Where it is."
    assert street["properties"]["name"]["description"] == "{minLength: 1}"
    number = street["properties"]["number"]
    assert number["anyOf"] == [
        {"type": "integer", "description": "{maximum: 999, minimum: 1}"},
        {"type": "null"},
    ]
    assert found["properties"]["kind"]["enum"] == ["adult", "child"]
    assert found["properties"]["born"]["format"] == "date"
    assert found["properties"]["home"] == {"$ref": "#/$defs/Street"}
    assert found["properties"]["tags"]["description"] == "{maxItems: 5}"


@pytest.mark.parametrize(
    ("schema", "native"),
    [
        (thing(a={"type": "string"}), closed_thing(a={"type": "string"})),
        (
            {**thing(a={"type": "string"}), "additionalProperties": True},
            closed_thing(a={"type": "string"}),
        ),
        ({"properties": {"a": {"type": "null"}}}, closed_thing(a={"type": "null"})),
        (
            {"type": ["integer", "null"], "minimum": 1, "description": "How many."},
            {
                "anyOf": [{"type": "integer", "description": "{minimum: 1}"}, {"type": "null"}],
                "description": "How many.",
            },
        ),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"enum": ["a", None]}),
        ({"const": 1, "type": "integer"}, {"const": 1}),
        (
            {"oneOf": [{"type": "string"}, {"type": "number"}], "discriminator": {}},
            {"anyOf": [{"type": "string"}, {"type": "number"}]},
        ),
        ({"allOf": [{"type": "string"}], "title": "T"}, {"type": "string", "title": "T"}),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
            {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": "{maxItems: 2}",
            },
        ),
        (
            {"type": "string", "format": "phone", "pattern": "é+", "description": "d"},
            {"type": "string", "description": 'd\n\n{format: "phone", pattern: "é+"}'},
        ),
        ({"type": "integer", "$schema": "x", "$id": "y"}, {"type": "integer"}),
        (
            {"$ref": "#/definitions/A", "definitions": {"A": {"type": "string"}}},
            {"$ref": "#/definitions/A", "definitions": {"A": {"type": "string"}}},
        ),
    ],
)
def test_a_schema_is_written_in_supported_words(schema: Schema, native: Schema) -> None:
    assert closed(schema) == native


@pytest.mark.parametrize(
    ("schema", "path", "why"),
    [
        (thing(a={}), "#/properties/a", "without a type"),
        (thing(a={"type": "any"}), "#/properties/a", "without a type"),
        (thing(a={"type": "object"}), "#/properties/a", "any name"),
        (
            thing(a={"type": "object", "additionalProperties": {"type": "string"}}),
            "#/properties/a",
            "list of name/value",
        ),
        (thing(a={"type": "array"}), "#/properties/a", "without `items`"),
        (thing(a={"type": "array", "items": True}), "#/properties/a/items", "the schema True"),
        (thing(a={"enum": [[1]]}), "#/properties/a", "lists or objects in enum"),
        (thing(a={"enum": []}), "#/properties/a", "no list of values"),
        (thing(a={"const": {}}), "#/properties/a", "lists or objects in const"),
        (thing(a={"not": {"type": "string"}}), "#/properties/a", "'not'"),
        (thing(a={"patternProperties": {}, "type": "object"}), "#/properties/a", "pattern"),
        (thing(a={"allOf": [{"type": "string"}, {}]}), "#/properties/a", "'allOf'"),
        (thing(a={"anyOf": [{"type": "string"}, {}]}), "#/properties/a/anyOf/1", "type"),
        (thing(a={"anyOf": [{"type": "null"}], "type": "null"}), "#/properties/a", "beside anyOf"),
        (thing(a={"$ref": "#/$defs/A"}), "#/properties/a", "reference '#/$defs/A'"),
        (thing(a={"$ref": "https://example.org/x"}), "#/properties/a", "reference"),
        (thing(a={"$ref": "#"}), "#/properties/a", "reference"),
        (thing(a={"$ref": 5}), "#/properties/a", "reference 5"),
        ({**thing(a={"type": "null"}), "required": ["b"]}, "#/", "the required 'b'"),
        ({**thing(a={"type": "null"}), "required": "a"}, "#/", "malformed"),
        (
            {"$defs": {"A": {"type": "string"}}, **thing(a={"$ref": "#/$defs/A", "minLength": 1})},
            "#/properties/a",
            "'minLength' beside a $ref",
        ),
    ],
)
def test_what_only_another_schema_can_say_is_refused_with_its_path(
    schema: Schema, path: str, why: str
) -> None:
    with pytest.raises(SpecError) as caught:
        closed(schema)
    said = str(caught.value)
    assert f"request.output_schema at {path}: Anthropic" in said
    assert why in said


def test_a_schema_that_contains_itself_is_refused() -> None:
    tree = thing(left={"$ref": "#/$defs/Leaf"})
    leaf = thing(tree={"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]})
    with pytest.raises(SpecError, match="contains itself"):
        closed({"$ref": "#/$defs/Tree", "$defs": {"Tree": tree, "Leaf": leaf}})


PLAIN = st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(
    lambda kind: {"type": kind}
)
BOUNDED = st.builds(
    lambda base, bound: {**base, **bound},
    PLAIN,
    st.sampled_from([{}, {"minimum": 0}, {"maxLength": 3}, {"format": "uuid"}, {"title": "T"}]),
)
SCHEMAS = st.recursive(
    BOUNDED | st.lists(st.integers() | st.text(), min_size=1).map(lambda all_: {"enum": all_}),
    lambda inner: (
        st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3).map(
            lambda properties: {"type": "object", "properties": properties}
        )
        | inner.map(lambda items: {"type": "array", "items": items})
        | st.lists(inner, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices})
    ),
    max_leaves=6,
)


@settings(max_examples=30, deadline=None)
@given(SCHEMAS)
def test_the_sdk_s_own_helper_finds_nothing_left_to_change(schema: Schema) -> None:
    found = closed(schema)
    assert transform_schema(found) == found
    assert closed(found) == found
