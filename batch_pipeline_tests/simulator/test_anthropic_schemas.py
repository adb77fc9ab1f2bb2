"""Which schemas Anthropic takes to constrain an answer."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.simulator.anthropic.schemas import constrained_flaw
from batch_pipeline_tests.simulator.anthropic_requests import TRIAGE

REFERENCE = {"$ref": "#/$defs/part"}
RECURSIVE = "Recursive schemas are not supported"


def flaw(schema: object) -> str | None:
    return constrained_flaw(orjson.dumps(schema))


def with_field(schema: object, **defs: object) -> dict[str, object]:
    return TRIAGE | {"properties": {"x": schema}, "required": ["x"], "$defs": defs}


@pytest.mark.parametrize(
    "schema",
    [
        TRIAGE,
        with_field(REFERENCE, part={"type": "string"}),
        with_field({"type": "array", "items": REFERENCE, "minItems": 1}, part={"enum": ["a", 1]}),
        with_field({"anyOf": [REFERENCE, {"type": "null"}]}, part={"const": "a"}),
        with_field({"allOf": [REFERENCE, REFERENCE]}, part={"type": ["string", "null"]}),
        with_field({"type": "string", "format": "date", "pattern": "^2"}),
    ],
)
def test_what_is_documented_is_taken(schema: object) -> None:
    assert flaw(schema) is None


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "integer", "minimum": 1}, "For 'integer' type, property 'minimum' is not supp"),
        ({"type": "string", "maxLength": 5}, "For 'string' type, property 'maxLength' is not supp"),
        (
            {"type": "array", "maxItems": 5},
            "For 'array' type, property 'maxItems' is not supported",
        ),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 2},
            "For 'array' type, 'minItems' values other than 0 or 1 are not supported",
        ),
        (
            {"type": "object", "properties": {}},
            "For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
            """'additionalProperties: {"type":"string"}' is not supported. Please set""",
        ),
        (
            {"type": "string", "format": "regex"},
            "For 'string' type, format 'regex' is not supported",
        ),
        ({"oneOf": [{"type": "string"}]}, "Schema keyword 'oneOf' is not supported"),
        ({"description": "anything"}, "Schema type is required"),
        ({"type": "text"}, "JSON schema is invalid."),
        ({"$ref": "#"}, RECURSIVE),
        ({"type": "array", "items": {"$ref": "#/$defs/node"}}, RECURSIVE),
    ],
)
def test_what_is_not_is_refused_wherever_it_stands(part: object, message: str) -> None:
    node = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
    places = [with_field(part, node=node), with_field({"anyOf": [part]}, node=node)]
    for schema in [*places, with_field({"allOf": [{"type": "array", "items": part}]}, node=node)]:
        assert message in (flaw(schema) or "")


@given(st.recursive(st.sampled_from(["string", "null", "boolean"]), st.lists, max_leaves=8))
def test_closed_objects_of_simple_parts_are_always_taken(shape: object) -> None:
    def schema(part: object) -> dict[str, object]:
        if isinstance(part, str):
            return {"type": part}
        assert isinstance(part, list)
        fields = {f"f{number}": schema(each) for number, each in enumerate(part)}
        return {"type": "object", "properties": fields, "additionalProperties": False}

    assert flaw(schema(shape)) is None
