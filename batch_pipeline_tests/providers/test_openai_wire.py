from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
from openai.types import EmbeddingCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import BaseModel, Field, TypeAdapter

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Hole, Limits, Tree
from batch_pipeline.providers.openai_schema import strict_schema
from batch_pipeline.providers.openai_wire import OpenAIWire
from batch_pipeline.providers.protocol import Codec
from batch_pipeline.spec import BatchJob

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
SDK: Mapping[str, TypeAdapter[Any]] = {
    CHAT: TypeAdapter(CompletionCreateParamsNonStreaming),
    RESPONSES: TypeAdapter(ResponseCreateParamsNonStreaming),
    EMBEDDINGS: TypeAdapter(EmbeddingCreateParams),
}
LABEL: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
}
STRICT_LABEL = {**LABEL, "additionalProperties": False}


def make(
    endpoint: str = CHAT,
    *,
    model: str = "gpt-5-nano",
    request: Mapping[str, object] | None = None,
    **parameters: Any,  # noqa: ANN401 - what the tests set
) -> BatchJob:
    return BatchJob.model_validate(
        {
            "name": "label_mail",
            "dataset": {"path": "x", "key": "id"},
            "request": {"prompt": "{{ text }}", **(request or {}), "parameters": parameters},
            "targets": [{"provider": "openai", "model": model, "endpoint": endpoint}],
        }
    )


def body(job: BatchJob) -> dict[str, Tree]:
    return OpenAIWire().body(job)


def filled(tree: Tree) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(tree, Hole):
        return f"<{tree.template}>"
    if isinstance(tree, Mapping):
        return {key: filled(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [filled(value) for value in tree]
    return tree


def known_to_sdk(job: BatchJob) -> Any:  # noqa: ANN401 - any JSON
    """The body with its holes filled, after the SDK's own types have taken it."""
    found = filled(body(job))
    adapter = SDK[job.target.endpoint]
    adapter.validate_python(found)
    schema = adapter.json_schema()
    assert found.keys() <= schema["properties"].keys()
    return found


def test_a_chat_body_has_everything_in_a_fixed_order() -> None:
    job = make(
        request={"system": "Be brief.", "output_schema": LABEL},
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        stop=["END"],
        seed=7,
        reasoning_effort="low",
        extra={"verbosity": "low", "metadata": {"a": "b"}},
    )
    found = known_to_sdk(job)
    shape = {"name": "label_mail", "strict": True, "schema": STRICT_LABEL}
    assert json.dumps(found) == json.dumps(
        {
            "model": "gpt-5-nano",
            "messages": [
                {"role": "system", "content": "<Be brief.>"},
                {"role": "user", "content": "<{{ text }}>"},
            ],
            "response_format": {"type": "json_schema", "json_schema": shape},
            "max_completion_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "seed": 7,
            "reasoning_effort": "low",
            "verbosity": "low",
            "metadata": {"a": "b"},
        }
    )


def test_what_is_not_said_is_not_sent() -> None:
    assert known_to_sdk(make()).keys() == {"model", "messages"}
    assert known_to_sdk(make(RESPONSES)).keys() == {"model", "input"}
    assert known_to_sdk(make(temperature=0))["temperature"] == 0


def test_a_responses_body_speaks_that_endpoints_words() -> None:
    job = make(
        RESPONSES,
        request={"system": "Be brief.", "output_schema": LABEL},
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        reasoning_effort="low",
        extra={"text": {"verbosity": "low"}, "store": False},
    )
    shape = {"name": "label_mail", "strict": True, "schema": STRICT_LABEL}
    assert json.dumps(known_to_sdk(job)) == json.dumps(
        {
            "model": "gpt-5-nano",
            "instructions": "<Be brief.>",
            "input": [{"role": "user", "content": "<{{ text }}>"}],
            "text": {"format": {"type": "json_schema", **shape}, "verbosity": "low"},
            "max_output_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "reasoning": {"effort": "low"},
            "store": False,
        }
    )


def test_a_conversation_keeps_its_turns() -> None:
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "{{ text }}")]
    messages = [{"role": role, "content": content} for role, content in turns]
    request = {"prompt": None, "messages": messages}
    said = [{"role": role, "content": f"<{content}>"} for role, content in turns]
    assert known_to_sdk(make(request=request))["messages"] == said
    assert known_to_sdk(make(RESPONSES, request=request))["input"] == said


def test_an_embedding_takes_one_text_and_native_extras() -> None:
    job = make(EMBEDDINGS, model="text-embedding-3-small", extra={"dimensions": 256})
    assert known_to_sdk(job) == {
        "model": "text-embedding-3-small",
        "input": "<{{ text }}>",
        "dimensions": 256,
    }


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        (EMBEDDINGS, "temperature", 0.0),
        (EMBEDDINGS, "max_output_tokens", 5),
        (EMBEDDINGS, "reasoning_effort", "low"),
        (RESPONSES, "stop", ["x"]),
        (RESPONSES, "seed", 0),
    ],
)
def test_a_parameter_that_an_endpoint_does_not_take_is_named(
    endpoint: str,
    name: str,
    value: Any,  # noqa: ANN401 - any parameter
) -> None:
    with pytest.raises(SpecError, match=f"label_mail: {endpoint} does not take .*'{name}'"):
        body(make(endpoint, request=None, **{name: value}))


@pytest.mark.parametrize(
    "request_",
    [
        {"system": "s"},
        {"prompt": None, "messages": [{"role": "user", "content": "a"}] * 2},
        {"prompt": None, "messages": [{"role": "assistant", "content": "a"}]},
    ],
)
def test_an_embedding_of_a_conversation_is_refused(request_: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="takes one text and no conversation"):
        body(make(EMBEDDINGS, request=request_))


def test_an_embedding_has_no_output_schema() -> None:
    with pytest.raises(SpecError, match="output_schema does not go with /v1/embeddings"):
        body(make(EMBEDDINGS, request={"output_schema": LABEL}))


@pytest.mark.parametrize("name", ["stream", "stream_options", "model", "messages", "input"])
def test_an_extra_may_not_stream_or_replace_what_the_job_says(name: str) -> None:
    with pytest.raises(SpecError, match=rf"parameters\.extra\.{name} "):
        body(make(extra={name: True}))


@pytest.mark.parametrize("said", [{"temperature": 1.0}, {"top_p": 0.5}, {"extra": {"top_p": 1}}])
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_gpt_6_samples_only_when_it_does_not_reason(
    endpoint: str,
    said: dict[str, Any],
) -> None:
    with pytest.raises(SpecError, match=r"gpt-6-mini refuses '(temperature|top_p)'"):
        body(make(endpoint, model="gpt-6-mini", **said))
    assert body(make(endpoint, model="gpt-6-mini", reasoning_effort="none", **said))
    assert body(make(endpoint, model="gpt-5-mini", **said))


def test_a_line_is_an_envelope_around_id_and_body() -> None:
    envelope = OpenAIWire().envelope(EMBEDDINGS)
    line = f'{envelope.before_id}"a-1"{envelope.before_body}{{"model":"m"}}{envelope.after_body}'
    wanted = {"custom_id": "a-1", "method": "POST", "url": EMBEDDINGS, "body": {"model": "m"}}
    assert json.loads(line) == wanted
    assert line.endswith("}\n")


def test_limits_are_below_the_stricter_reading_of_200_mb() -> None:
    assert OpenAIWire().limits(CHAT) == Limits(50_000, 190_000_000)


def test_it_is_a_codec_with_a_decoder() -> None:
    codec: Codec = OpenAIWire()
    assert codec.name == "openai"
    assert "SELECT" in codec.decode_sql(CHAT).upper()


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
