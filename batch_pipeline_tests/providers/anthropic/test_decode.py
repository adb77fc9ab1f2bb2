from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.anthropic.decode import decode_sql

MESSAGES = "/v1/messages"
CON = duckdb.connect()
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
USAGE = {
    "input_tokens": 16,
    "cache_creation_input_tokens": 200,
    "cache_read_input_tokens": 1000,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 200},
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 3},
    "service_tier": "batch",
}


def decoded(raw: str | None) -> dict[str, Any]:
    """What one line decodes to, without what it does not say."""
    source = "SELECT $line::VARCHAR AS line, 'output' AS source, 7 AS position"
    query = f"WITH lines AS ({source}) SELECT * FROM ({decode_sql(MESSAGES)})"  # noqa: S608 - ours
    result = CON.execute(query, {"line": raw})
    names = [column[0] for column in result.description]
    assert names == COLUMNS
    (row,) = result.fetchall()
    return {name: value for name, value in zip(names, row, strict=True) if value is not None}


def line(result: object) -> str:
    return json.dumps({"custom_id": "a", "result": result})


def answer(*content: object, stop: str | None = "end_turn", **more: object) -> str:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }
    return line({"type": "succeeded", "message": message})


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def errored(kind: object, **more: object) -> str:
    error = {"type": kind, "message": "because", **more}
    return line({"type": "errored", "error": {"type": "error", "error": error, "request_id": None}})


def test_an_answer_is_read_with_its_tokens_and_without_its_thoughts() -> None:
    thoughts = {"type": "thinking", "thinking": "hmm", "signature": "s", "text": "hmm"}
    assert decoded(answer(thoughts, text("Hello"), text(", world"))) == {
        "position": 7,
        "custom_id": "a",
        "status": "succeeded",
        "text": "Hello, world",
        "finish_reason": "end_turn",
        "model": "claude-haiku-4-5-20251001",
        "input_tokens": 1216,
        "cached_input_tokens": 1000,
        "cache_write_tokens": 200,
        "cache_write_1h_tokens": 200,
        "output_tokens": 5,
        "reasoning_tokens": 3,
        "service_tier": "batch",
    }


def test_calls_of_tools_are_kept_apart_from_text() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, "é"]}}
    served = {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}
    row = decoded(answer(served, call, {**call, "id": "toolu_2", "input": {}}, stop="tool_use"))
    assert (row["status"], row["finish_reason"]) == ("succeeded", "tool_use")
    assert "text" not in row
    first, second = json.loads(row["tool_calls"])
    assert json.loads(first.pop("arguments")) == {"a": [1, "é"]}
    assert first == {"id": "toolu_1", "name": "f"}
    assert second == {"id": "toolu_2", "name": "f", "arguments": "{}"}
    both = decoded(answer(text("I look."), call, stop="tool_use"))
    assert both["text"] == "I look."
    assert "tool_calls" not in decoded(answer(text("x")))


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        ("end_turn", None),
        ("stop_sequence", None),
        ("something_new", None),
        ("max_tokens", "truncated"),
        ("model_context_window_exceeded", "truncated"),
        ("pause_turn", "truncated"),
        ("refusal", "refused"),
    ],
)
def test_a_stop_reason_can_spoil_an_answer_but_keeps_its_tokens(
    stop: str, kind: str | None
) -> None:
    row = decoded(answer(text("x"), stop=stop))
    assert (row.get("failure"), row.get("error_code")) == (kind, stop if kind else None)
    assert (row["text"], row["output_tokens"]) == ("x", 5)


def test_a_refusal_says_why_when_it_says_so() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "It may harm."}
    row = decoded(answer(stop="refusal", stop_details=details))
    assert (row["failure"], row["error_code"]) == ("refused", "cyber")
    assert row["error_message"] == "It may harm."
    assert "text" not in row


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((name, "rejected") for name in ("invalid_request_error", "request_too_large")),
        *(
            (name, "withheld")
            for name in (
                *("not_found_error", "permission_error", "authentication_error"),
                "billing_error",
            )
        ),
        *(
            (name, "errored")
            for name in (
                *("rate_limit_error", "api_error", "overloaded_error"),
                *("timeout_error", "something_new"),
            )
        ),
    ],
)
def test_the_type_of_an_error_says_whose_fault_it_is(error: str, kind: str) -> None:
    row = decoded(errored(error))
    assert row == {
        "position": 7,
        "custom_id": "a",
        "status": "failed",
        "failure": kind,
        "error_code": error,
        "error_message": "because",
    }


def test_an_error_s_own_code_is_closer_than_its_type() -> None:
    row = decoded(errored("invalid_request_error", details={"error_code": "image_too_large"}))
    assert (row["failure"], row["error_code"]) == ("rejected", "image_too_large")
    row = decoded(errored("not_found_error", details={"error_visibility": "user_facing"}))
    assert row["error_code"] == "not_found_error"


@pytest.mark.parametrize("error", [{"type": "api_error", "message": "m"}, "m", None, [], 5])
def test_an_error_of_another_shape_is_still_an_error(error: object) -> None:
    row = decoded(line({"type": "errored", "error": error}))
    assert (row["failure"], row["status"]) == ("errored", "failed")
    assert row["error_code"] in {"api_error", "errored"}


@pytest.mark.parametrize(("kind", "failure"), [("canceled", "cancelled"), ("expired", "expired")])
def test_a_row_that_was_not_run_says_so_and_costs_nothing(kind: str, failure: str) -> None:
    row = decoded(line({"type": kind}))
    assert (row["failure"], row["error_code"]) == (failure, kind)
    assert row["error_message"].startswith("Not run")
    assert not [name for name in row if name.endswith("_tokens")]


def test_a_result_of_an_unknown_type_is_unreadable_and_keeps_its_tokens() -> None:
    row = decoded(answer(text("x")).replace('"succeeded"', '"half_done"'))
    assert (row["failure"], row["error_code"]) == ("unreadable", "half_done")
    assert (row["custom_id"], row["output_tokens"]) == ("a", 5)


@pytest.mark.parametrize("usage", [None, {}, [], "many", {"input_tokens": -1}])
def test_a_missing_or_absurd_usage_is_unknown(usage: object) -> None:
    row = decoded(answer(text("x"), usage=usage))
    assert row["status"] == "succeeded"
    assert not [name for name in row if name.endswith("_tokens")]


def test_input_without_its_cache_counts_is_what_it_says_but_absurd_ones_make_it_unknown() -> None:
    plain = decoded(answer(text("x"), usage={"input_tokens": 9, "cache_read_input_tokens": None}))
    assert plain["input_tokens"] == 9
    assert "cached_input_tokens" not in plain
    absurd = decoded(answer(text("x"), usage={"input_tokens": 9, "cache_read_input_tokens": -4}))
    assert "input_tokens" not in absurd


@pytest.mark.parametrize(
    "raw",
    [
        *("", "nope", "5", "null", "[]", "{}", '{"custom_id": null}', '{"custom_id": ""}', None),
        *('{"custom_id": "a"}', '{"custom_id": "a", "result": "x"}', '{"custom_id": "\\ud800"}'),
        line({"type": "succeeded"}),
        line({"type": "succeeded", "message": "x"}),
        line({"type": "succeeded", "message": {"content": "x"}}),
        line({"type": ["succeeded"], "message": {}}),
        '{"custom_id": "a", "result": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_a_line_of_no_known_shape_is_unreadable_and_never_a_crash(raw: str | None) -> None:
    assert decoded(raw)["failure"] == "unreadable"


@pytest.mark.parametrize("block", [5, "x", None, [], {}, {"type": "text"}, {"type": "tool_use"}])
def test_odd_blocks_are_no_crash(block: object) -> None:
    row = decoded(answer(block, text("said")))
    assert (row["status"], row["text"]) == ("succeeded", "said")


def test_line_separators_inside_text_stay() -> None:
    words = "a\u2028b\x85c"
    raw = answer(text(words)).replace("\\u2028", "\u2028").replace("\\u0085", "\x85")
    assert decoded(raw)["text"] == words


def test_another_endpoint_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"/v1/complete.*Known: /v1/messages"):
        decode_sql("/v1/complete")


NAMES = st.sampled_from(
    [
        *("custom_id", "result", "type", "message", "content", "text", "error", "usage", "details"),
        *("stop_reason", "stop_details", "input_tokens", "id", "name", "input", "error_code"),
    ]
)
SHAPES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["succeeded", "errored", "canceled", "text", "tool_use", "refusal"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2),
        st.dictionaries(NAMES, inner, min_size=1, max_size=4),
    ),
    max_leaves=20,
)


@settings(max_examples=30, deadline=None)
@given(row=st.dictionaries(NAMES, SHAPES))
def test_any_json_is_either_read_or_unreadable(row: object) -> None:
    found = decoded(json.dumps(row))
    assert found["status"] == ("failed" if "failure" in found else "succeeded")
    calls = found.get("tool_calls", "[]")
    assert all(call.keys() == {"id", "name", "arguments"} for call in json.loads(calls))
