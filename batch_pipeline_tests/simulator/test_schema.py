"""Made-up values satisfy the schema, whatever the schema."""

import json

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.simulator.prompt_reading import Hints
from batch_pipeline.simulator.regexes import matching
from batch_pipeline.simulator.schema import writer_for
from batch_pipeline.simulator.strict import schema_flaw

Schema = dict[str, object]
FORMATS = ["date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
PATTERNS = [
    r"^[a-z]{3}$",
    r"^\d{4}-\d{2}$",
    r"^(yes|no)$",
    r"^@[a-zA-Z0-9_]+$",
    r"[A-Z]+-\d+",
    r"^[^a]$",
]


@st.composite
def ranges(draw: st.DrawFn, low: str, high: str, top: int) -> Schema:
    first, second = sorted((draw(st.integers(0, top)), draw(st.integers(0, top))))
    chosen = draw(st.sampled_from([(), (low,), (high,), (low, high)]))
    return {key: value for key, value in ((low, first), (high, second)) if key in chosen}


@st.composite
def numbers(draw: st.DrawFn) -> Schema:
    low = draw(st.integers(-1000, 1000))
    high = low + draw(st.integers(10, 100))
    bounds: Schema = {
        draw(st.sampled_from(["minimum", "exclusiveMinimum"])): low,
        draw(st.sampled_from(["maximum", "exclusiveMaximum"])): high,
    }
    kept = {key: value for key, value in bounds.items() if draw(st.booleans())}
    step = draw(st.sampled_from([{}, {"multipleOf": 2}, {"multipleOf": 5}]))
    return {"type": draw(st.sampled_from(["integer", "number"])), **kept, **step}


def strings() -> st.SearchStrategy[Schema]:
    plain = ranges("minLength", "maxLength", 40).map(lambda bounds: {"type": "string", **bounds})
    formats = st.sampled_from(FORMATS).map(lambda name: {"type": "string", "format": name})
    patterns = st.sampled_from(PATTERNS).map(lambda text: {"type": "string", "pattern": text})
    return st.one_of(plain, formats, patterns)


def leaves() -> st.SearchStrategy[Schema]:
    fixed: list[Schema] = [
        {"type": "boolean"},
        {"type": "null"},
        {"const": 7},
        {"const": None},
        {"enum": ["red", "green"]},
        {"enum": [1, "one", None]},
        {"type": ["string", "null"]},
        {"type": ["integer", "null"], "minimum": 3},
        {"$ref": "#/$defs/word"},
        {},
    ]
    return st.one_of(st.sampled_from(fixed), strings(), numbers())


def objects(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    names = st.sampled_from(["summary", "topics", "score", "urgency", "a b", "ключ"])
    fields = st.dictionaries(names, inner, max_size=4)
    return fields.map(
        lambda properties: {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    )


def arrays(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.builds(
        lambda items, bounds: {"type": "array", "items": items, **bounds},
        inner,
        ranges("minItems", "maxItems", 5),
    )


def any_of(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.lists(inner, min_size=1, max_size=3).map(lambda variants: {"anyOf": variants})


def schemas() -> st.SearchStrategy[Schema]:
    tree = st.recursive(
        leaves(),
        lambda inner: st.one_of(objects(inner), arrays(inner), any_of(inner)),
        max_leaves=8,
    )
    return tree.map(
        lambda schema: {**schema, "$defs": {"word": {"type": "string", "minLength": 2}}}
    )


@given(schema=schemas(), prompt=st.text(max_size=60))
def test_a_value_satisfies_its_schema(schema: Schema, prompt: str) -> None:
    value = writer_for(orjson.dumps(schema))(Hints(prompt), 0)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    assert list(validator.iter_errors(value)) == []
    assert value == writer_for(orjson.dumps(schema))(Hints(prompt), 0)


TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["name", "children", "next"],
            "additionalProperties": False,
        }
    },
}


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}},
                {"required": ["a"]},
            ]
        },
        {"oneOf": [{"type": "integer", "minimum": 5}]},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2},
        {"properties": {"a": {"type": "object", "required": ["b"]}}, "required": ["a"]},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    ],
)
def test_schemas_beyond_strict_mode_are_met_too(schema: Schema) -> None:
    value = writer_for(orjson.dumps(schema))(Hints("A kettle that leaks and smells."), 0)
    assert jsonschema_rs.is_valid(schema, value)
    assert len(json.dumps(value)) < 100_000


def test_a_schema_without_finite_values_does_not_hang() -> None:
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert writer_for(orjson.dumps(endless))(Hints("x"), 0)


@pytest.mark.parametrize(
    "pattern", [*PATTERNS, r"^\w+@\w+\.com$", r"^(\+\d{1,3})? ?\d{6,}$", r"^x*$"]
)
def test_a_text_is_found_for_a_pattern(pattern: str) -> None:
    text = matching(pattern)
    assert text is not None
    assert jsonschema_rs.is_valid({"type": "string", "pattern": pattern}, text)


def test_a_pattern_that_nothing_matches_has_no_text() -> None:
    assert matching("(?!)") is None
    assert matching("(") is None


def test_strict_mode_lets_well_formed_schemas_through() -> None:
    nullable = {"type": ["object", "null"], "properties": {}, "additionalProperties": False}
    schema = {
        "type": "object",
        "properties": {"a": {"anyOf": [nullable, {"$ref": "#/$defs/b"}]}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"b": {"type": "string"}},
    }
    assert schema_flaw(orjson.dumps(schema), strict=True) is None
    assert schema_flaw(orjson.dumps({"type": "array"}), strict=False) is None
    assert "not permitted" in str(
        schema_flaw(orjson.dumps({**schema, "oneOf": [schema]}), strict=True)
    )


@pytest.mark.parametrize(
    "pattern",
    [r"^[\d\s]+$", r"^[^\d\s]{2}$", r"^\S+\D$", r"^.x??[^x]$", r"^[^a-z\W]+$", r"^(?:ab|c)+?$"],
)
def test_a_text_is_found_for_classes_and_their_opposites(pattern: str) -> None:
    text = matching(pattern, 3 if "+" in pattern else 0)
    assert text is not None
    assert jsonschema_rs.is_valid({"type": "string", "pattern": pattern}, text)


@pytest.mark.parametrize(
    ("text", "name", "options", "chosen"),
    [
        ("Great kettle, love it.", "label", ["negative", "positive"], "positive"),
        ("Great kettle, but it leaks.", "sentiment", ["negative", "mixed", "positive"], "mixed"),
        ("A kettle.", "sentiment", ["negative", "neutral", "positive"], "neutral"),
        ("It caught fire, dangerous!", "priority", ["low", "high", "critical"], "critical"),
        ("Call me today.", "urgency", ["low", "medium", "high"], "high"),
        ("It is wrong.", "severity", ["low", "medium", "high"], "medium"),
        ("The battery is flat.", "topic", ["shipping", "battery life"], "battery life"),
    ],
)
def test_a_choice_follows_the_words_of_the_prompt(
    text: str, name: str, options: list[str], chosen: str
) -> None:
    assert Hints(text).choose(name, options) == chosen
