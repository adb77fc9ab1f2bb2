from __future__ import annotations

import json
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import SpecError
from batch_pipeline.stages.results.plain_answers import Plain
from batch_pipeline.stages.results.validate import Judge, validated
from batch_pipeline.stages.schemas import OUTCOMES
from batch_pipeline_tests.stages.result_lines import SCHEMA

Schema = dict[str, Any]
ODD_NUMBERS = (
    *("1.0", "-0", "-0.0", "0.0", "1e2", "1E2", "1e22", "1e400", "-1e400", "1e-400", "5e-324"),
    *("9223372036854775807", "-9223372036854775808", "9223372036854775808"),
    *("-9223372036854775809", "18446744073709551615", "18446744073709551616", "1" + "0" * 40),
    *("9007199254740993", "9007199254740993.0", "0.1", "0.10", "0.30000000000000004", "1e21"),
    *("123456789012345680.0", "2.2250738585072011e-308", "NaN", "Infinity", "-Infinity", "01"),
    *(
        "+1",
        ".5",
        "5.",
        "1_0",
        "true",
        "false",
        "null",
        '"1"',
        "[]",
        "{}",
        "1.7976931348623157e308",
    ),
)
ODD_TEXTS = (
    *(r'"\ud800"', r'"\ude00\ud83d"', r'"\ud83d\ude00"', r'"\u0041"', r'"\/"', r'"\\ud83d"'),
    *('"\x7f"', '"\u2028"', '"\ufeff"', '"\U0001f600"', '"a\nb"', r'"a\nb"', r'"\u000a"'),
    *('"a\x00b"', r'"\u0000"', r'"\u001F"', r'"\u001f"', r'"\b\f"', "'a'", '"a', '""'),
)
NAMES = ("a", "b", "label", "", "A", "a b", "é", "日本", 'q"', "b\\", "c\x01", "a.b", "properties")
TEXTS = st.text(max_size=6) | st.sampled_from(["spam", "ham", "1", 'q"', "\n", "\u2028", "🤖"])
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.none() | st.booleans() | NUMBERS | TEXTS
OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "integer": NUMBERS,
    "number": NUMBERS,
    "boolean": st.booleans(),
    "null": st.none(),
}
ANNOTATIONS: st.SearchStrategy[Schema] = st.sampled_from(
    [{}, {}, {}, {"title": "T"}, {"description": "d", "default": 1, "examples": [{"minimum": 1}]}]
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null"])
RULES: st.SearchStrategy[Schema] = st.sampled_from([
    *({}, {}, {}, {}, {}, {"minimum": 1}, {"maxLength": 2}, {"pattern": "^a"}, {"format": "date"}),
    *({"const": 1}, {"enum": ["spam", 1, None]}, {"enum": [1.5]}, {"not": {"const": "a"}}),
    *({"nullable": True}, {"multipleOf": 2}, {"$ref": "#/$defs/again"}),
])  # fmt: skip
SCALARS = st.one_of(
    st.builds(lambda kind, rules: {"type": kind, **rules}, TYPES, RULES),
    st.builds(lambda kinds: {"type": kinds}, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
    st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, VALUES),
    st.sampled_from(
        [{}, {"$ref": "#/$defs/named"}, {"$ref": "#/definitions/named"}, {"$ref": "#"}]
    ),
)


def _object(children: dict[str, Schema], more: Schema, lacking: list[str]) -> Schema:
    required = [name for name in children if name not in lacking]
    return {"type": "object", "properties": children, "required": required, **more}


def _inner(children: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    more: st.SearchStrategy[Schema] = st.sampled_from([
        *({"additionalProperties": False}, {"additionalProperties": False}, {}),
        *({"additionalProperties": True}, {"additionalProperties": {"type": "integer"}}),
        *({"required": ["a", "z"]}, {"minProperties": 2}, {"type": ["object", "null"]}),
    ])  # fmt: skip
    named = st.dictionaries(st.sampled_from(NAMES), children, max_size=4)
    lacking = st.lists(st.sampled_from(NAMES), max_size=1)
    return st.one_of(
        st.builds(_object, named, more, lacking),
        st.builds(
            lambda items, rules: {"type": "array", "items": items, **rules},
            children,
            st.sampled_from([{}, {}, {"minItems": 1}, {"uniqueItems": True}]),
        ),
        st.builds(lambda one, other: {"anyOf": [one, other]}, children, children),
        st.builds(lambda one: {"anyOf": [one, {"type": "null"}]}, children),
        st.builds(lambda one, said: {**said, **one}, children, ANNOTATIONS),
    )


PARTS = st.recursive(SCALARS, _inner, max_leaves=6)


def _whole(root: Schema, named: Schema, more: Schema) -> Schema:
    return {**root, **more, "$defs": {"named": named}, "definitions": {"named": named}}


SCHEMAS = st.builds(
    _whole,
    PARTS,
    PARTS,
    st.sampled_from(
        [
            *({}, {}, {}, {"$id": "https://example.com/s"}),
            {"$schema": "http://json-schema.org/draft-07/schema#"},
        ]
    ),
)


def _refers(schema: Schema, root: Schema) -> list[Schema]:
    """The schemas that one stands for; none where it speaks for itself."""
    if "$ref" in schema:
        return [root if schema["$ref"] == "#" else root["$defs"]["named"]]
    return list(schema.get("anyOf", []))


@st.composite
def answers(draw: st.DrawFn, schema: Any, root: Schema, depth: int = 0) -> str:  # noqa: ANN401 - JSON
    """The text of a document that fits the schema, mostly."""
    if depth > 6 or not isinstance(schema, dict) or draw(st.integers(0, 24)) == 24:
        return draw(st.sampled_from([*ODD_NUMBERS, *ODD_TEXTS]))
    if others := _refers(schema, root):
        return draw(answers(draw(st.sampled_from(others)), root, depth + 1))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return _text(draw(st.sampled_from(values)))
    kinds = schema.get("type", "null")
    match draw(st.sampled_from(kinds if isinstance(kinds, list) else [kinds])):
        case "object":
            return draw(_objects(schema["properties"], root, depth))
        case "array":
            gap = draw(st.sampled_from([",", ",", ", "]))
            inner = answers(schema["items"], root, depth + 1)
            return f"[{gap.join(draw(st.lists(inner, max_size=3)))}]"
        case kind:
            return _text(draw(OF_TYPE[kind]))


@st.composite
def _objects(draw: st.DrawFn, properties: Schema, root: Schema, depth: int) -> str:
    names = list(properties)
    if draw(st.integers(0, 9)) == 9:
        names = draw(st.lists(st.sampled_from([*names, *NAMES]), max_size=4))
    gap = draw(st.sampled_from(["", "", "", "", " ", "\n\t"]))
    pairs = [
        f"{_text(name)}:{gap}{draw(answers(properties.get(name), root, depth + 1))}"
        for name in names
    ]
    return "{" + f",{gap}".join(pairs) + "}"


def _text(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (OverflowError, UnicodeEncodeError):
        return json.dumps(value)


def _batch(texts: list[str | None], **said: list[Any]) -> pa.Table:
    rows = [{"status": "succeeded", "text": text} for text in texts]
    for name, values in said.items():
        rows = [{**row, name: value} for row, value in zip(rows, values, strict=True)]
    return pa.Table.from_pylist(rows, schema=OUTCOMES)


def _by_the_validator_alone(schema: Schema) -> Judge:
    judge = Judge(schema)
    judge.plain = None
    return judge


@settings(max_examples=150, deadline=None)
@given(data=st.data(), schema=SCHEMAS)
def test_whatever_the_schema_and_the_answers_the_validator_says_the_same(
    data: st.DataObject, schema: Schema
) -> None:
    try:
        judge = Judge(schema)
    except SpecError:  # has tests of its own
        return
    texts = data.draw(st.lists(answers(schema, schema), min_size=1, max_size=5))
    if data.draw(st.integers(0, 4)) == 4:
        extra = data.draw(st.sampled_from([" ", "\n", "x", "}", ",", "\ufeff", "\n" + texts[0]]))
        texts[0] = data.draw(st.sampled_from([texts[0] + extra, extra + texts[0], texts[0][:-1]]))
    batch = _batch([*texts])
    assert validated(batch, judge).equals(validated(batch, _by_the_validator_alone(schema)))


WHOLE: Schema = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["spam", "ham"]},
        "count": {"type": "integer"},
        "score": {"type": "number"},
        "reason": {"type": "string"},
    },
    "required": ["label", "count", "score", "reason"],
    "additionalProperties": False,
}
PYDANTIC: Schema = {  # as pydantic writes a model with a list of another one
    "$defs": {
        "Line": {
            "properties": {
                "name": {"title": "Name", "type": "string"},
                "price": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
            },
            "required": ["name"],
            "title": "Line",
            "type": "object",
        }
    },
    "properties": {"lines": {"items": {"$ref": "#/$defs/Line"}, "type": "array"}},
    "required": ["lines"],
    "type": "object",
}
PLAIN_ANSWER = '{"label":"spam","count":3,"score":0.5,"reason":"日本 🤖 \\"\\n"}'


@pytest.mark.parametrize("value", [*ODD_NUMBERS, *ODD_TEXTS])
@pytest.mark.parametrize("name", ["label", "count", "score", "reason"])
def test_an_odd_value_is_judged_and_written_as_the_validator_does(name: str, value: str) -> None:
    said = {"label": '"ham"', "count": "1", "score": "1.5", "reason": '"x"', name: value}
    odd = "{" + ",".join(f'"{key}":{text}' for key, text in said.items()) + "}"
    batch = _batch([PLAIN_ANSWER, odd])
    assert validated(batch, Judge(WHOLE)).equals(validated(batch, _by_the_validator_alone(WHOLE)))


@pytest.mark.parametrize(
    "texts",
    [
        *([PLAIN_ANSWER + end] for end in (" ", "\n", "\r\n", "x", "}", "\x00", "\n{}", "\ufeff")),
        *([start + PLAIN_ANSWER] for start in (" ", "\n", "\ufeff", "[", "\x00")),
        [f"{PLAIN_ANSWER}\n{PLAIN_ANSWER}"],
        [f"{PLAIN_ANSWER}\n{PLAIN_ANSWER}", ""],
        [f"{PLAIN_ANSWER}\n{PLAIN_ANSWER}", "", ""],
        [PLAIN_ANSWER[:20], PLAIN_ANSWER[20:], PLAIN_ANSWER],
        ["", PLAIN_ANSWER],
        [None, PLAIN_ANSWER],
        [PLAIN_ANSWER.replace('"count":3,', '"count":3,"count":4,')],
        [PLAIN_ANSWER.replace('"count":3,', '"count":"3","count":4,')],
        [PLAIN_ANSWER.replace('"label":"spam",', "")[:-1] + ',"label":"spam"}'],
        [PLAIN_ANSWER[:-1] + ',"more":1}', PLAIN_ANSWER.replace('"count":3,', "")],
        [PLAIN_ANSWER[:-1] + ',"more":' + "[" * 5000 + "]" * 5000 + "}"],
        [PLAIN_ANSWER.replace(":", ": ").replace(",", ",\n  "), PLAIN_ANSWER.replace(":", " :")],
        [PLAIN_ANSWER.replace("label", "\\u006cabel")],
    ],
)
def test_odd_texts_among_answers_are_judged_as_the_validator_does(texts: list[str | None]) -> None:
    batch = _batch(texts)
    assert validated(batch, Judge(WHOLE)).equals(validated(batch, _by_the_validator_alone(WHOLE)))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (WHOLE, PLAIN_ANSWER),
        (SCHEMA, '{"label":"ham","count":-5}'),
        (PYDANTIC, '{"lines":[{"name":"é","price":null},{"name":"b","price":1},{"name":""}]}'),
        ({"type": "array", "items": {"enum": [1, "a", None]}}, '[1,"a",null]'),
    ],
)
def test_plain_schemas_are_read_without_the_validator(schema: Schema, text: str) -> None:
    plain = Plain.of(schema)
    assert plain is not None
    spaced = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    assert plain.every([text, text])
    assert [plain.every([text, other]) for other in (spaced, "{}", None)] == [False] * 3
    assert [plain.output(one) for one in (text, spaced)] == [text.encode()] * 2
    assert [plain.output(one) for one in ("{}", None)] == [None, None]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^a"},
        {"type": "string", "format": "date"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        {"type": "string", "enum": [1]},
        {"enum": [1.0]},
        {"enum": [True]},
        {"enum": [2**63]},
        {"type": "object"},
        {"type": "object", "properties": {}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "minProperties": 1},
        {"type": "object", "properties": {'"': {"type": "string"}}},
        {"oneOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#"},
        {"$ref": "#/properties/a"},
        {"type": "string", "$id": "https://example.com/s"},
        True,
    ],
)
def test_other_rules_are_left_to_the_validator(part: object) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": part}}
    assert Plain.of(schema) is None  # type: ignore[arg-type]  # a JSON Schema, whatever its parts
