"""Rows that are refused one by one, while their batch completes."""

import pytest
from openai import OpenAI

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.lines import (
    EMBEDDINGS,
    RESPONSES,
    TRIAGE,
    TRIAGE_FORMAT,
    Line,
    make_body,
    make_line,
    run,
)


def strict(schema: object, **changes: object) -> dict[str, object]:
    named = {"name": "x", "strict": True, "schema": schema, **changes}
    return {"type": "json_schema", "json_schema": named}


LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
PARTIAL = {**LOOSE, "required": [], "additionalProperties": False}
NESTED = {**TRIAGE, "properties": {**TRIAGE["properties"], "topics": LOOSE}}  # type: ignore[dict-item]


def error_of(sim: Simulator, client: OpenAI, line: Line, endpoint: str) -> Line:
    good = make_line("good", url=endpoint, body=line["body"]["good"])
    bad = make_line("bad", url=endpoint, body=line["body"]["bad"])
    results = run(sim, client, [good, bad], endpoint)
    assert results.batch.status == "completed"
    assert set(results.output) == {"good"}
    row = results.errors["bad"]
    assert row["error"] is None
    assert row["response"]["request_id"].startswith("req_")
    assert set(row["response"]["body"]["error"]) == {"message", "type", "param", "code"}
    status: int = row["response"]["status_code"]
    return {"status": status, **row["response"]["body"]["error"]}


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"messages": None}, "messages", "Missing required parameter"),
        ({"messages": []}, "messages", "empty array"),
        ({"messages": "hello"}, "messages", "expected an array"),
        ({"messages": ["hello"]}, "messages[0]", "expected an object"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "Missing"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "Invalid value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "got null"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "got an integer"),
        ({"temperature": 2.5}, "temperature", "Expected a value <= 2"),
        ({"temperature": -1}, "temperature", "Expected a value >= 0"),
        ({"temperature": "hot"}, "temperature", "expected a decimal"),
        ({"top_p": 1.5}, "top_p", "Expected a value <= 1"),
        ({"max_tokens": 0}, "max_tokens", "Expected a value >= 1"),
        ({"max_tokens": 1.5}, "max_tokens", "expected an integer"),
        ({"max_output_tokens": 100}, "max_output_tokens", "Unknown parameter"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "not supported with this model"),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "Invalid value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "Missing"),
        (
            {"response_format": strict(TRIAGE, name="a b")},
            "response_format.json_schema.name",
            "pattern",
        ),
        (
            {"response_format": strict(LOOSE)},
            "response_format",
            "'additionalProperties' is required",
        ),
        ({"response_format": strict(PARTIAL)}, "response_format", "Missing 'a'"),
        ({"response_format": strict(NESTED)}, "response_format", "('properties', 'topics')"),
        ({"response_format": strict({"type": "array"})}, "response_format", 'type: "array"'),
        ({"response_format": strict({"type": "strange"})}, "response_format", "valid JSON Schema"),
        (
            {"messages": [{"role": "user", "content": "word " * 130_000}]},
            "messages",
            "maximum context length is 128000",
        ),
        (
            {"tools": [], "tool_choice": {"type": "function", "function": {"name": "nowhere"}}},
            "tool_choice",
            "not found",
        ),
    ],
)
def test_a_bad_chat_request_is_a_400_row(
    shared: Simulator, shared_client: OpenAI, changes: dict[str, object], param: str, says: str
) -> None:
    bodies = {"good": make_body(response_format=TRIAGE_FORMAT), "bad": make_body(**changes)}
    error = error_of(shared, shared_client, {"body": bodies}, "/v1/chat/completions")
    assert (error["status"], error["param"]) == (400, param)
    assert says in error["message"]


@pytest.mark.parametrize(
    ("model", "changes", "param"),
    [
        ("gpt-6-astra", {"temperature": 1}, "temperature"),
        ("gpt-6-astra", {"top_p": 0.5}, "top_p"),
        ("gpt-6-astra", {"max_tokens": 10}, "max_tokens"),
        ("o4-mini", {"max_tokens": 10}, "max_tokens"),
        ("gpt-5-nano", {"temperature": 0.2}, "temperature"),
        ("gpt-5-nano", {"reasoning_effort": "huge"}, "reasoning_effort"),
    ],
)
def test_a_reasoning_model_refuses_what_it_does_not_support(
    shared: Simulator, shared_client: OpenAI, model: str, changes: dict[str, object], param: str
) -> None:
    bodies = {"good": make_body(model=model), "bad": make_body(model=model, **changes)}
    error = error_of(shared, shared_client, {"body": bodies}, "/v1/chat/completions")
    assert (error["status"], error["param"]) == (400, param)
    if param == "max_tokens":
        assert "Use 'max_completion_tokens' instead" in error["message"]


def test_without_effort_a_temperature_is_welcome(shared: Simulator, shared_client: OpenAI) -> None:
    body = make_body(model="gpt-6-astra", reasoning_effort="none", temperature=0.2)
    assert run(shared, shared_client, [make_line(body=body)]).output


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"messages": []}, "messages"),
        ({"max_output_tokens": 15}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        (
            {
                "text": {
                    "format": {"type": "json_schema", "name": "x", "strict": True, "schema": LOOSE}
                }
            },
            "text.format",
        ),
    ],
)
def test_a_bad_response_request_is_a_400_row(
    shared: Simulator, shared_client: OpenAI, changes: dict[str, object], param: str
) -> None:
    good: dict[str, object] = {"model": "gpt-4o-mini", "input": "Hello"}
    bad = {key: value for key, value in (good | changes).items() if value is not None}
    error = error_of(shared, shared_client, {"body": {"good": good, "bad": bad}}, RESPONSES)
    assert (error["status"], error["param"]) == (400, param)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"dimensions": 1537}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"input": "word " * 9_000}, "input"),
    ],
)
def test_a_bad_embeddings_request_is_a_400_row(
    shared: Simulator, shared_client: OpenAI, changes: dict[str, object], param: str
) -> None:
    good: dict[str, object] = {"model": "text-embedding-3-small", "input": "Hello"}
    bad = {key: value for key, value in (good | changes).items() if value is not None}
    error = error_of(shared, shared_client, {"body": {"good": good, "bad": bad}}, EMBEDDINGS)
    assert (error["status"], error["param"]) == (400, param)


def test_a_model_of_another_kind_is_refused_row_by_row(
    shared: Simulator, shared_client: OpenAI
) -> None:
    chat = run(shared, shared_client, [make_line(body=make_body(model="text-embedding-3-small"))])
    assert chat.errors["row-1"]["response"]["status_code"] == 404
    line = make_line(url=EMBEDDINGS, body={"model": "gpt-4o", "input": "x"})
    embedding = run(shared, shared_client, [line], EMBEDDINGS)
    assert embedding.errors["row-1"]["response"]["status_code"] == 403
