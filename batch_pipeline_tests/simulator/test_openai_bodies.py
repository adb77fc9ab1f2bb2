"""The answers: of the real shape, deterministic, fitting the schema, with honest usage."""

import base64
import json
import math
import struct
from typing import Any, TypeVar

import jsonschema_rs
import pytest
from openai import OpenAI
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.lines import (
    EMBEDDINGS,
    RESPONSES,
    TRIAGE,
    TRIAGE_FORMAT,
    make_body,
    make_line,
    run,
)
from batch_pipeline_tests.simulator.wire import unexpected

Body = TypeVar("Body", bound=BaseModel)
TOOL = {"name": "triage", "description": "Triage.", "parameters": TRIAGE}


def chat(
    sim: Simulator, client: OpenAI, text: str = "It broke.", **changes: object
) -> ChatCompletion:
    results = run(sim, client, [make_line(body=make_body(text, **changes))])
    return checked(ChatCompletion, results.output["row-1"]["response"]["body"])


def respond(sim: Simulator, client: OpenAI, **changes: object) -> Response:
    body = {"model": "gpt-4o-mini", "input": "It broke.", **changes}
    results = run(sim, client, [make_line(url=RESPONSES, body=body)], RESPONSES)
    return checked(Response, results.output["row-1"]["response"]["body"])


def embed(sim: Simulator, client: OpenAI, **changes: object) -> dict[str, Any]:
    body = {"model": "text-embedding-3-small", "input": "It broke.", **changes}
    results = run(sim, client, [make_line(url=EMBEDDINGS, body=body)], EMBEDDINGS)
    found: dict[str, Any] = results.output["row-1"]["response"]["body"]
    return found


def checked(kind: type[Body], body: object) -> Body:
    """The body as the SDK's type, which must know every field of it."""
    assert unexpected(kind, body) == []
    return kind.model_validate_json(json.dumps(body), strict=True)


def test_a_chat_body_is_the_sdks_own_type(shared: Simulator, shared_client: OpenAI) -> None:
    body = chat(shared, shared_client)
    assert body.system_fingerprint == "fp_simulated"
    assert body.service_tier is None
    assert body.choices[0].finish_reason == "stop"
    assert body.choices[0].message.content == "Simulated answer to: It broke."


@pytest.mark.parametrize(("prompt", "recorded"), [("Spagetti", 10), ("Sushi", 9), ("Ramen", 9)])
def test_prompt_tokens_follow_the_recorded_formula(
    shared: Simulator, shared_client: OpenAI, prompt: str, recorded: int
) -> None:
    usage = chat(shared, shared_client, prompt).usage
    assert usage is not None
    assert usage.prompt_tokens == 7 + tokens.count(prompt)
    assert usage.prompt_tokens in {recorded, recorded - 1, recorded + 1}


def test_completion_tokens_are_those_of_the_text(shared: Simulator, shared_client: OpenAI) -> None:
    body = chat(shared, shared_client)
    assert body.usage is not None
    assert body.usage.completion_tokens == tokens.count(body.choices[0].message.content or "")
    assert body.usage.total_tokens == body.usage.prompt_tokens + body.usage.completion_tokens


def test_a_structured_answer_fits_its_schema_and_its_prompt(
    shared: Simulator, shared_client: OpenAI
) -> None:
    for review, mood in (
        ("Review: Absolutely love this kettle, works great!", "positive"),
        ("Review: Terrible, it broke and I want a refund now.", "negative"),
    ):
        body = chat(shared, shared_client, review, response_format=TRIAGE_FORMAT)
        answer = json.loads(body.choices[0].message.content or "")
        assert jsonschema_rs.is_valid(TRIAGE, answer)
        assert answer["sentiment"] == mood
        assert answer["summary"].startswith(review.split()[1])


def test_the_same_request_gets_the_same_answer_at_any_time(
    shared: Simulator, shared_client: OpenAI
) -> None:
    first = chat(shared, shared_client, response_format=TRIAGE_FORMAT)
    shared.advance(3600)
    second = chat(shared, shared_client, response_format=TRIAGE_FORMAT)
    assert first.choices == second.choices
    assert first.usage == second.usage


def test_json_mode_answers_json(shared: Simulator, shared_client: OpenAI) -> None:
    body = chat(shared, shared_client, response_format={"type": "json_object"})
    assert json.loads(body.choices[0].message.content or "")["simulated"] is True


def test_an_answer_stops_at_its_token_limit(shared: Simulator, shared_client: OpenAI) -> None:
    body = chat(shared, shared_client, response_format=TRIAGE_FORMAT, max_tokens=5)
    assert body.choices[0].finish_reason == "length"
    assert body.usage is not None
    assert body.usage.completion_tokens == 5
    with pytest.raises(json.JSONDecodeError):
        json.loads(body.choices[0].message.content or "")


def test_a_reasoning_model_thinks_first_and_may_run_out(
    shared: Simulator, shared_client: OpenAI
) -> None:
    body = chat(shared, shared_client, model="o4-mini")
    assert body.usage is not None
    assert body.usage.completion_tokens_details is not None
    thought = body.usage.completion_tokens_details.reasoning_tokens
    assert thought
    assert body.usage.completion_tokens > thought
    short = chat(shared, shared_client, model="o4-mini", max_completion_tokens=10)
    assert short.choices[0].finish_reason == "length"
    assert short.choices[0].message.content == ""


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "triage"}}]
)
def test_a_forced_tool_is_called_with_fitting_arguments(
    shared: Simulator, shared_client: OpenAI, choice: object
) -> None:
    tools = [{"type": "function", "function": TOOL}]
    body = chat(shared, shared_client, tools=tools, tool_choice=choice)
    assert body.choices[0].finish_reason == "tool_calls"
    (call,) = body.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "triage"
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(call.function.arguments))


def test_several_choices_are_several_answers(shared: Simulator, shared_client: OpenAI) -> None:
    body = chat(shared, shared_client, n=3)
    assert [choice.index for choice in body.choices] == [0, 1, 2]


def test_parts_of_a_message_are_read_and_pictures_count(
    shared: Simulator, shared_client: OpenAI
) -> None:
    parts = [
        {"type": "text", "text": "Look at this."},
        {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
    ]
    body = chat(shared, shared_client, messages=[{"role": "user", "content": parts}])
    assert body.choices[0].message.content == "Simulated answer to: Look at this."
    assert body.usage is not None
    assert body.usage.prompt_tokens == 7 + tokens.count("Look at this.") + 85


def test_a_response_body_is_the_sdks_own_type(shared: Simulator, shared_client: OpenAI) -> None:
    body = respond(shared, shared_client, instructions="Be brief.", metadata={"k": "v"})
    assert body.status == "completed"
    assert body.output_text == "Simulated answer to: It broke."
    assert body.instructions == "Be brief."
    assert body.metadata == {"k": "v", "simulated_by": "batch-pipeline-simulator"}
    assert body.usage is not None
    assert body.usage.input_tokens_details.cache_write_tokens == 0
    system = 3 + tokens.count("system") + tokens.count("Be brief.")
    assert body.usage.input_tokens == 7 + tokens.count("It broke.") + system


def test_a_structured_response_fits_its_schema(shared: Simulator, shared_client: OpenAI) -> None:
    text = {"format": {"type": "json_schema", "name": "t", "strict": True, "schema": TRIAGE}}
    body = respond(shared, shared_client, text=text, input=[{"role": "user", "content": "Bad."}])
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(body.output_text))


def test_a_response_that_runs_out_is_incomplete(shared: Simulator, shared_client: OpenAI) -> None:
    body = respond(shared, shared_client, input="word " * 30, max_output_tokens=16)
    assert body.status == "incomplete"
    assert body.incomplete_details is not None
    assert body.incomplete_details.reason == "max_output_tokens"
    assert body.usage is not None
    assert body.usage.output_tokens == 16
    thinking = respond(shared, shared_client, model="o4-mini", max_output_tokens=16)
    assert [item.type for item in thinking.output] == ["reasoning"]


def test_a_forced_tool_is_called_in_a_response(shared: Simulator, shared_client: OpenAI) -> None:
    tools = [{"type": "function", "strict": True, **TOOL}]
    body = respond(shared, shared_client, tools=tools, tool_choice="required")
    call = body.output[-1]
    assert call.type == "function_call"
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(call.arguments))


@pytest.mark.parametrize(
    ("changes", "dimensions"),
    [
        ({}, 1536),
        ({"model": "text-embedding-3-large"}, 3072),
        ({"model": "text-embedding-ada-002"}, 1536),
        ({"dimensions": 256}, 256),
    ],
)
def test_an_embedding_is_a_unit_vector_of_the_right_size(
    shared: Simulator, shared_client: OpenAI, changes: dict[str, object], dimensions: int
) -> None:
    body = checked(CreateEmbeddingResponse, embed(shared, shared_client, **changes))
    (found,) = body.data
    assert len(found.embedding) == dimensions
    assert math.hypot(*found.embedding) == pytest.approx(1.0)
    assert body.usage.prompt_tokens == body.usage.total_tokens == tokens.count("It broke.")


def test_embeddings_come_in_base64_and_one_per_input(
    shared: Simulator, shared_client: OpenAI
) -> None:
    plain = embed(shared, shared_client, input=["a", "b"], dimensions=8)
    packed = embed(shared, shared_client, input=["a", "b"], dimensions=8, encoding_format="base64")
    assert [each["index"] for each in plain["data"]] == [0, 1]
    for one, other in zip(plain["data"], packed["data"], strict=True):
        unpacked = struct.unpack("<8f", base64.b64decode(other["embedding"]))
        assert one["embedding"] == pytest.approx(unpacked, abs=1e-6)
    assert plain["data"][0] != plain["data"][1]


def test_tokens_as_input_are_counted_as_they_are(shared: Simulator, shared_client: OpenAI) -> None:
    body = embed(shared, shared_client, input=[1, 2, 3, 4], dimensions=8)
    assert len(body["data"]) == 1
    assert body["usage"]["prompt_tokens"] == 4


def test_a_text_of_more_than_a_million_characters_is_counted() -> None:
    assert tokens.count("word " * 300_000) >= 300_000
