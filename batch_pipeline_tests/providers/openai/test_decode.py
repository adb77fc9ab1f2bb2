from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.openai.decode import decode_sql
from batch_pipeline_tests.stages.result_lines import CHAT, answer, line, message, not_run

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures" / "openai"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
MODERATIONS = "/v1/moderations"
ENDPOINTS = (CHAT, RESPONSES, EMBEDDINGS, MODERATIONS)
COLUMNS = [
    *("position", "custom_id", "status", "failure", "error_code", "error_message", "text"),
    *("tool_calls", "embedding", "finish_reason", "model", "input_tokens"),
    *(
        "cached_input_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
        "reasoning_tokens",
    ),
    *("service_tier", "extras", "annotations"),
]
CON = duckdb.connect()


def decoded(raw: bytes | str | None, endpoint: str = CHAT) -> dict[str, Any]:
    """What one line decodes to, without what it does not say."""
    text = raw.decode() if isinstance(raw, bytes) else raw
    source = "SELECT $line::VARCHAR AS line, 'output' AS source, 7 AS position"
    query = f"WITH lines AS ({source}) SELECT * FROM ({decode_sql(endpoint)})"  # noqa: S608 - ours
    result = CON.execute(query, {"line": text})
    names = [column[0] for column in result.description]
    (row,) = result.fetchall()
    assert names == COLUMNS
    return {name: value for name, value in zip(names, row, strict=True) if value is not None}


def failure(raw: bytes, endpoint: str = CHAT) -> str | None:
    return decoded(raw, endpoint).get("failure")


def test_an_answer_is_read_with_its_tokens() -> None:
    assert decoded(answer("a")) == {
        "position": 7,
        "custom_id": "a",
        "status": "succeeded",
        "text": "hello",
        "finish_reason": "stop",
        "model": "gpt-5-nano-2025-08-07",
        "input_tokens": 100,
        "cached_input_tokens": 40,
        "output_tokens": 20,
        "reasoning_tokens": 8,
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((code, "rejected") for code in (400, 413, 422)),
        *((code, "withheld") for code in (401, 402, 403, 404)),
        *((code, "errored") for code in (408, 409, 429, 500, 503, 0, 302)),
    ],
)
def test_a_status_code_says_whose_fault_it_is(status: int, kind: str) -> None:
    row = decoded(line("a", {}, status=status))
    assert (row["failure"], row["error_code"]) == (kind, f"http_{status}")


def test_an_http_error_gives_its_code_and_message() -> None:
    error = {"message": "too long", "type": "invalid_request_error", "code": "context_length"}
    row = decoded(line("a", {"error": error}, status=400))
    assert (row["error_code"], row["error_message"]) == ("context_length", "too long")


def test_an_error_without_a_code_is_named_by_its_type() -> None:
    body = {"error": {"message": "m", "type": "server_error", "code": None}}
    assert decoded(line("a", body, status=500))["error_code"] == "server_error"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("batch_expired", "expired"),
        ("batch_cancelled", "cancelled"),
        ("request_timeout", "errored"),
        ("something_new", "errored"),
    ],
)
def test_a_row_that_was_not_run_says_why(code: str, kind: str) -> None:
    row = decoded(not_run("a", code))
    assert (row["failure"], row["error_message"]) == (kind, f"because of {code}")


@pytest.mark.parametrize("error", ["went wrong", {"message": "went wrong"}])
def test_an_error_of_any_shape_gives_its_message(error: object) -> None:
    row = decoded(line("a", message(), error=error))
    assert (row["failure"], row["error_message"], row["text"]) == ("errored", "went wrong", "hello")


def test_a_body_that_is_an_error_text_gives_its_message() -> None:
    row = decoded(line("a", {"error": "went wrong"}, status=500))
    assert row["error_message"] == "went wrong"


@pytest.mark.parametrize("nothing", [None, {}, [], "", False, 0])
def test_what_json_has_for_nothing_is_no_error(nothing: object) -> None:
    assert decoded(line("a", message(), error=nothing))["status"] == "succeeded"
    assert decoded(line("a", {**message(), "error": nothing}))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("finish", "kind"),
    [("length", "truncated"), ("content_filter", "refused"), ("stop", "empty"), ("new", "empty")],
)
def test_a_finish_reason_can_spoil_an_answer_but_keeps_its_tokens(
    finish: str, kind: str | None
) -> None:
    row = decoded(answer("a", "", finish=finish))
    assert (row.get("failure"), row["output_tokens"]) == (kind, 20)


def test_a_refusal_is_a_failure_with_the_models_words() -> None:
    row = decoded(answer("a", None, refusal="I will not."))
    assert (row["failure"], row["error_message"]) == ("refused", "I will not.")
    assert row["input_tokens"] == 100


FUNCTION = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
CUSTOM = {"id": "2", "type": "custom", "custom": {"name": "g", "input": "any words"}}
CALLS = [
    {"id": "1", "name": "f", "arguments": '{"a": 1}'},
    {"id": "2", "name": "g", "arguments": "any words"},
]


@pytest.mark.parametrize("content", [None, ""])
def test_calls_of_tools_have_a_column_of_their_own_and_are_no_text(content: str | None) -> None:
    row = decoded(answer("a", content, finish="tool_calls", tool_calls=[FUNCTION, CUSTOM]))
    assert (row["status"], json.loads(row["tool_calls"])) == ("succeeded", CALLS)
    assert "text" not in row


def test_an_answer_may_have_text_and_calls() -> None:
    row = decoded(answer("a", "said", tool_calls=[FUNCTION]))
    assert (row["text"], json.loads(row["tool_calls"])) == ("said", CALLS[:1])


@pytest.mark.parametrize("calls", [None, [], {}, "x"])
def test_no_calls_are_null(calls: object) -> None:
    assert "tool_calls" not in decoded(answer("a", "said", tool_calls=calls))


def test_an_old_function_call_is_a_call_without_an_id() -> None:
    row = decoded(answer("a", None, function_call={"name": "f", "arguments": "{}"}))
    assert json.loads(row["tool_calls"]) == [{"id": None, "name": "f", "arguments": "{}"}]


def test_arguments_that_are_no_text_become_their_json_and_none_are_empty() -> None:
    calls = [{"function": {"name": "f", "arguments": {"b": 2}}}, {"function": {"name": "g"}}]
    found = json.loads(decoded(answer("a", None, tool_calls=calls))["tool_calls"])
    assert [call["arguments"] for call in found] == ['{"b":2}', "{}"]


@pytest.mark.parametrize("calls", [[5], [None], [FUNCTION, {"id": "3", "type": "new"}]])
def test_a_call_of_unknown_kind_is_unreadable_and_keeps_its_tokens(calls: object) -> None:
    row = decoded(answer("a", None, finish="tool_calls", tool_calls=calls))
    assert (row["failure"], row["output_tokens"]) == ("unreadable", 20)


@pytest.mark.parametrize("usage", [None, {}, [], "many", {"prompt_tokens": -1}])
def test_a_missing_or_absurd_usage_is_unknown(usage: object) -> None:
    row = decoded(answer("a", usage=usage))
    assert row["status"] == "succeeded"
    assert not [name for name in row if name.endswith("_tokens")]


@pytest.mark.parametrize(
    "body",
    [{}, [], "text", None, {"choices": []}, {"choices": {}}, {"choices": [{}]}, {"choices": [5]}],
)
def test_an_answer_of_unknown_shape_is_unreadable(body: object) -> None:
    assert failure(line("a", body)) == "unreadable"


@pytest.mark.parametrize(
    "raw",
    [
        *("", "nope", "5", "null", "[]", "{}", '{"custom_id": null}', '{"custom_id": ""}', None),
        *('{"custom_id": "a"}', '{"custom_id": "a", "response": "x"}', '{"custom_id": "\\ud800"}'),
    ],
)
def test_a_line_of_no_known_shape_is_unreadable_and_never_a_crash(raw: str | None) -> None:
    for endpoint in ENDPOINTS:
        assert decoded(raw, endpoint)["failure"] == "unreadable"


def test_deep_nesting_is_no_crash() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert decoded(f'{{"custom_id": "a", "response": {deep}}}')["failure"] == "unreadable"


def said(*parts: object, kind: str = "message") -> dict[str, object]:
    return {"type": kind, "role": "assistant", "content": list(parts)}


def words(text: str, kind: str = "output_text") -> dict[str, object]:
    return {"type": kind, "text": text}


def response(*items: object, status: str = "completed", **more: object) -> bytes:
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
    }
    body = {"model": "m", "status": status, "output": items, "usage": usage, **more}
    return line("a", body)


def test_a_response_is_the_text_of_its_messages_without_its_thoughts() -> None:
    thoughts = said(words("hmm", "reasoning_text"), kind="reasoning")
    row = decoded(response(thoughts, said(words("a"), words("b")), said(words("c"))), RESPONSES)
    assert (row["status"], row["text"], row["finish_reason"]) == ("succeeded", "abc", "completed")
    counts = ("input", "cached_input", "output", "reasoning")
    assert [row[f"{name}_tokens"] for name in counts] == [9, 4, 5, 3]
    assert row["cache_write_tokens"] == 2


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("max_output_tokens", "truncated"), ("content_filter", "refused"), ("other", "errored")],
)
def test_an_incomplete_response_says_why(reason: str, kind: str) -> None:
    details = {"reason": None if reason == "other" else reason}
    row = decoded(
        response(said(words("x")), status="incomplete", incomplete_details=details), RESPONSES
    )
    assert (row["failure"], row["text"], row["output_tokens"]) == (kind, "x", 5)


def test_a_refusal_in_a_response_is_a_failure() -> None:
    row = decoded(response(said({"type": "refusal", "refusal": "No."})), RESPONSES)
    assert (row["failure"], row["error_message"]) == ("refused", "No.")


def test_a_response_that_only_calls_tools_has_the_calls_and_no_text() -> None:
    function = {"type": "function_call", "id": "fc_1", "call_id": "1", "name": "f"}
    custom = {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "any words"}
    row = decoded(response({**function, "arguments": '{"a": 1}'}, custom), RESPONSES)
    assert (row["status"], json.loads(row["tool_calls"])) == ("succeeded", CALLS)
    assert "text" not in row


def test_a_response_may_have_text_and_calls_and_a_strange_call_is_unreadable() -> None:
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a": 1}'}
    row = decoded(response(said(words("a")), call), RESPONSES)
    assert (row["text"], json.loads(row["tool_calls"])) == ("a", CALLS[:1])
    assert failure(response({"type": "function_call"}), RESPONSES) == "unreadable"


def test_a_failed_or_cancelled_response_is_no_success() -> None:
    error = {"code": "server_error", "message": "m"}
    row = decoded(response(status="failed", error=error), RESPONSES)
    assert (row["failure"], row["error_code"]) == ("errored", "server_error")
    assert failure(response(status="cancelled"), RESPONSES) == "cancelled"


@pytest.mark.parametrize("items", [None, {}, [5], ["x"], [{"type": "message"}], [said(5)]])
def test_odd_output_items_are_no_crash(items: object) -> None:
    body = {"status": "completed", "output": items}
    assert failure(line("a", body), RESPONSES) == "empty"


def embedded(vector: object) -> bytes:
    return line("a", {"model": "e", "data": [{"embedding": vector}], "usage": {"prompt_tokens": 3}})


def test_an_embedding_is_a_vector_that_costs_no_output() -> None:
    row = decoded(embedded([0.5, -1, 2e3]), EMBEDDINGS)
    assert (row["status"], row["embedding"]) == ("succeeded", [0.5, -1.0, 2000.0])
    assert (row["input_tokens"], row["output_tokens"]) == (3, 0)


def test_an_encoded_embedding_stays_as_it_came() -> None:
    row = decoded(embedded("AACAPw=="), EMBEDDINGS)
    assert (row["status"], row["text"]) == ("succeeded", "AACAPw==")
    assert "embedding" not in row


@pytest.mark.parametrize("vector", [None, [], ""])
def test_an_answer_without_a_vector_is_empty(vector: object) -> None:
    assert failure(embedded(vector), EMBEDDINGS) == "empty"
    body = {"model": "e", "data": [], "usage": {"prompt_tokens": 3}}
    assert failure(line("a", body), EMBEDDINGS) == "empty"


@pytest.mark.parametrize("vector", [["x"], [1, None], [1e300], {}, 5])
def test_a_vector_with_a_hole_in_it_is_unreadable(vector: object) -> None:
    assert failure(embedded(vector), EMBEDDINGS) == "unreadable"


def test_a_moderation_is_its_verdict_as_json() -> None:
    verdict = {"flagged": True, "categories": {"harassment/threatening": False}}
    row = decoded(line("a", {"model": "omni", "results": [verdict]}), MODERATIONS)
    assert (row["status"], json.loads(row["text"]), row["model"]) == ("succeeded", verdict, "omni")
    assert not [name for name in row if name.endswith("_tokens")]


def test_a_moderation_of_nothing_is_empty() -> None:
    assert failure(line("a", {"model": "omni", "results": []}), MODERATIONS) == "empty"


@pytest.mark.parametrize("results", [None, {}, [None], ["x"], 5])
def test_a_moderation_without_a_verdict_is_unreadable(results: object) -> None:
    assert failure(line("a", {"results": results}), MODERATIONS) == "unreadable"


def test_another_endpoint_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"/v1/videos.*Known: /v1/chat/completions"):
        decode_sql("/v1/videos")


@pytest.mark.skipif(not FIXTURES.exists(), reason="the recorded lines are not in this checkout")
def test_the_vendors_own_example_lines_decode() -> None:
    good = (FIXTURES / "doc_guide_output_2lines.jsonl").read_bytes().splitlines()
    assert [decoded(raw)["text"] for raw in good] == [
        "Hello.",
        "Hello! How can I assist you today?",
    ]
    assert decoded(good[0])["input_tokens"] == 22
    bad = (FIXTURES / "doc_guide_error_expired_2lines.jsonl").read_bytes().splitlines()
    assert [failure(raw) for raw in bad] == ["expired", "expired"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("custom_id", "response", "error", "status_code", "body", "choices", "message", "content"),
        *("output", "data", "embedding", "usage", "type", "text", "refusal", "code", "status"),
        *("results", "tool_calls", "function", "function_call", "name", "arguments", "custom"),
    ]
)
SHAPES = st.recursive(
    JSON | st.sampled_from([200, 400, "completed", "message", "output_text"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=30, deadline=None)
@given(row=st.dictionaries(NAMES, SHAPES), endpoint=st.sampled_from(ENDPOINTS))
def test_any_json_is_either_read_or_unreadable(row: object, endpoint: str) -> None:
    found = decoded(json.dumps(row), endpoint)
    assert found["status"] == ("failed" if "failure" in found else "succeeded")
