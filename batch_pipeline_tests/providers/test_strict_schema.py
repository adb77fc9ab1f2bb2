from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.strict_schema import strict_schema

LABEL: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
}


class Kind(BaseModel):
    kind: Literal["a"] = "a"


class Other(BaseModel):
    kind: Literal["b"]


class Answer(BaseModel):
    label: Literal["x", "y"] = Field(description="Which.")
    score: float = Field(default=0, ge=0, le=1)
    note: str | None = None
    kinds: list[Kind] = Field(default_factory=list)
    one: Kind = Field(default=Kind(), description="A kind.")
    either: Kind | Other = Field(discriminator="kind")


def closed(schema: object) -> bool:
    """Every object in *schema* is closed and requires all of its properties."""
    if isinstance(schema, list):
        return all(closed(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or schema["required"] != list(schema["properties"])
    ):
        return False
    return all(closed(part) for part in schema.values())


def test_a_pydantic_model_becomes_a_strict_schema() -> None:
    schema = Answer.model_json_schema()
    before = json.dumps(schema)
    with pytest.raises(SpecError, match="#/properties/kinds"):
        strict_schema(schema)  # a default_factory leaves no default in the schema
    schema["required"].append("kinds")
    strict = strict_schema(schema)
    assert closed(strict)
    text = json.dumps(strict)
    assert not any(f'"{name}":' in text for name in ("default", "oneOf", "discriminator"))
    assert strict["properties"]["one"]["description"] == "A kind."  # type: ignore[index, call-overload]
    assert strict["properties"]["one"]["type"] == "object"  # type: ignore[index, call-overload]
    schema["required"].remove("kinds")
    assert json.dumps(schema) == before


def test_a_schema_that_names_itself_stays_finite() -> None:
    schema: dict[str, Any] = {"$ref": "#/$defs/Node", "$defs": {"Node": {**LABEL}}}
    node = schema["$defs"]["Node"]
    node["properties"] = {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}
    node["required"] = []
    strict = strict_schema(schema)
    assert strict["required"] == ["next"]
    assert closed(strict)


def test_one_part_of_all_of_is_that_part_and_words_of_a_path_are_unescaped() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"x": {"allOf": [{"$ref": "#/$defs/a~1b"}], "title": "X"}},
        "required": ["x"],
        "$defs": {"a/b": {"type": "integer"}},
    }
    found = strict_schema(schema)["properties"]
    assert found == {"x": {"type": "integer", "title": "X"}}


@pytest.mark.parametrize(
    ("schema", "path", "what"),
    [
        ({"type": "array", "items": {"type": "string"}}, "/", "the top is not an object"),
        ({"anyOf": [LABEL]}, "/", "the top is not an object"),
        ({**LABEL, "additionalProperties": True}, "/", "properties of any name"),
        ({**LABEL, "properties": []}, "/", "malformed"),
        ({**LABEL, "required": []}, "/properties/label", "may be left out"),
        ({**LABEL, "not": {}}, "/", "'not'"),
        ({"x": {"type": "object", "additionalProperties": {"type": "string"}}}, "/x", "any name"),
        ({"x": {}}, "/x", "without a type"),
        ({"x": True}, "/x", "allows anything"),
        ({"x": {"type": "array"}}, "/x", "without `items`"),
        ({"x": {"oneOf": [{"type": "null"}]}}, "/x", "'oneOf'"),
        ({"x": {"allOf": [{"type": "null"}] * 2}}, "/x", "'allOf'"),
        ({"x": {"type": "array", "items": {"anyOf": [{"if": {}}]}}}, "/x/items/anyOf/0", "'if'"),
        ({"x": {"$ref": "#/$defs/nope", "title": "X"}}, "/x", "'#/\\$defs/nope'"),
        ({"x": {"$ref": "http://x", "title": "X"}}, "/x", "'http://x'"),
    ],
)
def test_what_strict_mode_refuses_is_named_by_its_path(
    schema: dict[str, Any], path: str, what: str
) -> None:
    whole = schema if path == "/" or "type" in schema else _with_x(schema["x"])
    where = path.replace("/x", "/properties/x", 1) if path.startswith("/x") else path
    with pytest.raises(SpecError, match=f"output_schema at #{where}: .*{what}"):
        strict_schema(whole)


def _with_x(part: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": part}, "required": ["x"]}


def test_an_enum_with_null_may_be_left_out() -> None:
    schema = _with_x({"enum": ["a", None]}) | {"required": []}
    assert strict_schema(schema)["required"] == ["x"]


def test_a_schema_is_named_as_the_job_file_names_it() -> None:
    with pytest.raises(SpecError, match=r"^request\.tools\.f at #/: Mistral's strict mode refuses"):
        strict_schema({"type": "array"}, of="request.tools.f", by="Mistral")
