from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.mistral.decode import decode_sql

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
MODERATIONS, OCR = "/v1/moderations", "/v1/ocr"
ENDPOINTS = (CHAT, EMBEDDINGS, MODERATIONS, OCR)
CON = duckdb.connect()
COLUMNS = [
    *("position", "custom_id", "status", "failure", "error_code", "error_message", "text"),
    *("tool_calls", "embedding", "finish_reason", "model", "input_tokens", "cached_input_tokens"),
    *("cache_write_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens"),
    *("service_tier", "extras", "annotations"),
]

# As Mistral's own guide to batches prints them, the texts cut short.
DOCUMENTED_CHAT = (
    '{"id":"batch-cd0da3ab-1-377e2e82-7cbb-4f72-bc67-533512f70955","custom_id":"0","response":'
    '{"status_code":200,"body":{"id":"85bcfa450e5643f2a2aed46472d97ffd","object":'
    '"chat.completion","model":"ministral-3b-latest","usage":{"prompt_tokens":10,'
    '"completion_tokens":128,"total_tokens":138},"created":1761577934,"choices":[{"index":0,'
    '"finish_reason":"length","message":{"role":"assistant","content":"Choosing the best",'
    '"tool_calls":null}}]}},"error":null}'
)
DOCUMENTED_STRUCTURED = (
    '{"id":"batch-987bdeb0-1-b0a976ba-2a4f-4584-a4fa-9b140abdcd52","custom_id":"0","response":'
    '{"status_code":200,"body":{"id":"bf1b188307c2437587de243f5f715663","object":'
    '"chat.completion","model":"ministral-3b-latest","usage":{"prompt_tokens":10,'
    '"completion_tokens":7,"total_tokens":17},"created":1761577783,"choices":[{"index":0,'
    '"finish_reason":"stop","message":{"role":"assistant","content":"{\\"result\\": 2}",'
    '"tool_calls":null}}]}},"error":null}'
)
DOCUMENTED_OCR = (
    '{"id":"batch-a6054116-1-d32adde3-3484-4008-ba51-2e2b9e52f420","custom_id":"0","response":'
    '{"status_code":200,"body":{"pages":[{"index":0,"markdown":"# Pixtral 12B","images":[],'
    '"dimensions":{"dpi":200,"height":2200,"width":1700}},{"index":1,"markdown":"## Abstract"}],'
    '"model":"mistral-ocr-2505-completion","usage_info":{"pages_processed":24,"doc_size_bytes":'
    '12640953},"document_annotation":null}},"error":null}'
)
SEEN_ERROR = (
    '{"id":"batch-1","custom_id":"0","response":{"status_code":400,"body":"{\\"object\\":'
    '\\"error\\",\\"message\\":\\"File could not be fetched from url \'x\'\\",\\"type\\":'
    '\\"invalid_request_file\\",\\"param\\":null,\\"code\\":\\"3310\\",\\"raw_status_code\\":400}"},'
    '"error":null}'
)


def tables(raws: list[bytes | str | None], endpoint: str = CHAT) -> list[dict[str, Any]]:
    """All columns that lines decode to, in their order."""
    texts = [_text(raw) for raw in raws]
    source = "SELECT unnest($lines::VARCHAR[]) AS line, 'output' AS source"
    numbered = f"SELECT *, 6 + row_number() OVER () AS position FROM ({source})"  # noqa: S608 - ours
    query = f"WITH lines AS ({numbered}) SELECT * FROM ({decode_sql(endpoint)}) ORDER BY 1"  # noqa: S608 - ours
    result = CON.execute(query, {"lines": texts})
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _text(raw: bytes | str | None) -> str | None:
    try:
        return raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        return None  # as stages/results/lines.py reads it


def everything(raw: bytes | str | None, endpoint: str = CHAT) -> dict[str, Any]:
    """All columns that one line decodes to."""
    (row,) = tables([raw], endpoint)
    return row


def decoded(raw: bytes | str | None, endpoint: str = CHAT) -> dict[str, Any]:
    """What one line decodes to, without what it does not say."""
    return {name: value for name, value in everything(raw, endpoint).items() if value is not None}


def line(body: object, *, status: object = 200, error: object = None) -> str:
    response = {"status_code": status, "body": body}
    return json.dumps({"id": "x", "custom_id": "a", "response": response, "error": error})


def chat(content: object = "hello", *, finish: str = "stop", **message: object) -> str:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 40},
        "prompt_audio_seconds": None,
        "service_tier": None,
    }
    choice = {"finish_reason": finish, "message": {"content": content, **message}}
    return line({"model": "mistral-small-2506", "choices": [choice], "usage": usage})


def part(text: str, kind: str = "text") -> dict[str, object]:
    return {"type": kind, "text": text}


def test_documented_answers_are_read() -> None:
    assert decoded(DOCUMENTED_CHAT) == {
        "position": 7,
        "custom_id": "0",
        "status": "failed",
        "failure": "truncated",
        "text": "Choosing the best",
        "finish_reason": "length",
        "model": "ministral-3b-latest",
        "input_tokens": 10,
        "output_tokens": 128,
    }
    structured = decoded(DOCUMENTED_STRUCTURED)
    assert (structured["status"], structured["text"]) == ("succeeded", '{"result": 2}')


def test_a_document_is_its_pages_with_blank_lines_between_and_no_tokens() -> None:
    assert decoded(DOCUMENTED_OCR, OCR) == {
        "position": 7,
        "custom_id": "0",
        "status": "succeeded",
        "text": "# Pixtral 12B\n\n## Abstract",
        "model": "mistral-ocr-2505-completion",
        "extras": '{"ocr_pages":24}',
    }


def test_an_empty_document_is_an_answer_and_no_pages_are_none() -> None:
    blank = decoded(line({"model": "m", "pages": [{"index": 0, "markdown": ""}]}), OCR)
    assert (blank["status"], blank["text"]) == ("succeeded", "")
    assert decoded(line({"model": "m", "pages": []}), OCR)["failure"] == "empty"
    assert decoded(line({"model": "m"}), OCR)["failure"] == "unreadable"


def test_an_error_row_s_body_is_read_out_of_its_string() -> None:
    for endpoint in ENDPOINTS:
        assert decoded(SEEN_ERROR, endpoint) == {
            "position": 7,
            "custom_id": "0",
            "status": "failed",
            "failure": "rejected",
            "error_code": "3310",
            "error_message": "File could not be fetched from url 'x'",
        }


def test_the_columns_are_those_of_every_provider() -> None:
    for endpoint in ENDPOINTS:
        assert list(everything(SEEN_ERROR, endpoint)) == COLUMNS


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((code, "rejected") for code in (400, 413, 422)),
        *((code, "withheld") for code in (401, 402, 403, 404)),
        *((code, "errored") for code in (408, 409, 429, 500, 503, 0, 302)),
    ],
)
def test_a_status_code_says_whose_fault_it_is(status: int, kind: str) -> None:
    row = decoded(line("{}", status=status))
    assert (row["failure"], row["error_code"]) == (kind, f"http_{status}")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "No."}, "No."),
        ({"detail": "Not here."}, "Not here."),
        ({"message": {"detail": "Deep."}}, "Deep."),
        ({"message": {"why": 1}}, '{"why":1}'),
        ({"detail": [{"msg": "bad"}]}, '[{"msg":"bad"}]'),
        ({"error": {"message": "Inner."}}, "Inner."),
        ({"error": "Plain."}, "Plain."),
        ("upstream timed out", "upstream timed out"),
    ],
)
def test_an_error_of_any_shape_gives_its_message(body: object, message: str) -> None:
    quoted = body if isinstance(body, str) else json.dumps(body)
    assert decoded(line(quoted, status=500))["error_message"] == message
    assert decoded(line(body, status=500))["error_message"] == message


@pytest.mark.parametrize("error", ["went wrong", {"message": "went wrong"}])
def test_an_error_beside_an_answer_fails_it_and_keeps_the_answer(error: object) -> None:
    answered = json.loads(chat())["response"]["body"]
    row = decoded(line(answered, error=error))
    assert (row["failure"], row["error_message"], row["text"]) == ("errored", "went wrong", "hello")
    assert row["output_tokens"] == 20


def test_a_row_with_an_error_and_no_response_is_errored() -> None:
    row = decoded('{"custom_id": "a", "response": null, "error": {"message": "m", "code": "c"}}')
    assert (row["failure"], row["error_code"], row["error_message"]) == ("errored", "c", "m")


def test_an_error_object_that_came_with_200_is_an_error() -> None:
    row = decoded(line({"object": "error", "message": "m", "code": 3051}))
    assert (row["failure"], row["error_code"]) == ("errored", "3051")


@pytest.mark.parametrize("nothing", [None, {}, [], "", False, 0])
def test_what_json_has_for_nothing_is_no_error(nothing: object) -> None:
    body = json.loads(chat())["response"]["body"]
    assert decoded(line(body, error=nothing))["status"] == "succeeded"


def test_an_answer_is_read_with_its_tokens() -> None:
    assert decoded(chat()) == {
        "position": 7,
        "custom_id": "a",
        "status": "succeeded",
        "text": "hello",
        "finish_reason": "stop",
        "model": "mistral-small-2506",
        "input_tokens": 100,
        "cached_input_tokens": 40,
        "output_tokens": 20,
    }


def test_a_success_whose_body_is_a_string_is_read_too() -> None:
    body = json.loads(chat())["response"]["body"]
    assert decoded(line(json.dumps(body))) == decoded(chat())


def test_thoughts_and_references_are_no_part_of_the_text() -> None:
    thinking = {"type": "thinking", "thinking": [part("hmm")], "closed": True}
    reference = {"type": "reference", "reference_ids": [1]}
    row = decoded(chat([thinking, part("a"), reference, part("b")]))
    assert (row["status"], row["text"]) == ("succeeded", "ab")
    assert "text" not in decoded(chat([thinking], finish="length"))


def test_tool_calls_are_one_shape_whether_arguments_are_text_or_an_object() -> None:
    calls = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "2", "index": 1, "function": {"name": "g", "arguments": '{"y": 2}'}},
        {"id": "3", "function": {"name": "h", "arguments": None}},
    ]
    row = decoded(chat("", finish="tool_calls", tool_calls=calls))
    assert (row["status"], "text" in row) == ("succeeded", False)
    assert json.loads(row["tool_calls"]) == [
        {"id": "1", "name": "f", "arguments": '{"x":1}'},
        {"id": "2", "name": "g", "arguments": '{"y": 2}'},
        {"id": "3", "name": "h", "arguments": "{}"},
    ]
    assert decoded(chat("said", tool_calls=calls))["text"] == "said"


@pytest.mark.parametrize("none", [None, [], {}, "x"])
def test_no_tool_calls_are_null(none: object) -> None:
    row = decoded(chat("", tool_calls=none))
    assert (row["text"], "tool_calls" in row) == ("", False)


@pytest.mark.parametrize(
    ("finish", "kind"),
    [
        ("length", "truncated"),
        ("model_length", "truncated"),
        ("content_filter", "refused"),
        ("error", "errored"),
        ("stop", "empty"),
        ("new", "empty"),
    ],
)
def test_a_finish_reason_can_spoil_an_answer_but_keeps_its_tokens(
    finish: str, kind: str | None
) -> None:
    row = decoded(chat("", finish=finish))
    assert (row.get("failure"), row["output_tokens"]) == (kind, 20)


@pytest.mark.parametrize("usage", [None, {}, [], "many", {"prompt_tokens": -1}])
def test_a_missing_or_absurd_usage_is_unknown(usage: object) -> None:
    body = json.loads(chat())["response"]["body"]
    row = decoded(line({**body, "usage": usage}))
    assert row["status"] == "succeeded"
    assert not [name for name in row if name.endswith("_tokens")]


def embedded(vector: object, **usage: object) -> str:
    return line({"model": "e", "data": [{"embedding": vector}], "usage": usage})


def test_an_embedding_is_a_vector_that_costs_no_output() -> None:
    details = {"cached_tokens": 2}
    row = decoded(
        embedded([0.5, -1, 2e3], prompt_tokens=3, prompt_token_details=details), EMBEDDINGS
    )
    assert (row["status"], row["embedding"]) == ("succeeded", [0.5, -1.0, 2000.0])
    assert (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]) == (3, 2, 0)


def test_an_encoded_embedding_stays_as_it_came() -> None:
    row = decoded(embedded("AACAPw=="), EMBEDDINGS)
    assert (row["status"], row["text"]) == ("succeeded", "AACAPw==")
    assert "embedding" not in row


@pytest.mark.parametrize("vector", [None, [], ""])
def test_an_answer_without_a_vector_is_empty(vector: object) -> None:
    assert decoded(embedded(vector), EMBEDDINGS)["failure"] == "empty"


@pytest.mark.parametrize("vector", [["x"], [1, None], [1e300], {}, 5])
def test_a_vector_with_a_hole_in_it_is_unreadable(vector: object) -> None:
    assert decoded(embedded(vector), EMBEDDINGS)["failure"] == "unreadable"


def test_a_moderation_is_its_first_result_as_json() -> None:
    result = {"categories": {"pii": True}, "category_scores": {"pii": 0.9}}
    row = decoded(line({"id": "m", "model": "mod", "results": [result, {}]}), MODERATIONS)
    assert (row["status"], json.loads(row["text"])) == ("succeeded", result)
    assert decoded(line({"model": "mod", "results": []}), MODERATIONS)["failure"] == "empty"
    for results in (None, [5]):
        body = {"model": "mod", "results": results}
        assert decoded(line(body), MODERATIONS)["failure"] == "unreadable"


NO_ANSWERS: list[object] = [
    *({}, [], "text", None, {"choices": []}, {"choices": {}}, {"choices": [{}]}, {"choices": [5]}),
]
NO_LINES: list[bytes | str | None] = [
    *("", "nope", "5", "null", "[]", "{}", '{"custom_id": null}', '{"custom_id": ""}', None),
    *('{"custom_id": "a"}', '{"custom_id": "a", "response": "x"}', '{"custom_id": "\\ud800"}'),
    '{"custom_id": null, "response": {"status_code": 200, "body": {"model": "m"}}}',
    '{"custom_id": "a", "response": {"status_code": 200, "body": "\\ud800"}}',
    f'{{"custom_id": "a", "response": {"[" * 100_000 + "]" * 100_000}}}',
]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_has_no_known_shape_is_unreadable_and_never_a_crash(endpoint: str) -> None:
    raws = [*(line(body) for body in NO_ANSWERS), *NO_LINES]
    assert [row["failure"] for row in tables(raws, endpoint)] == ["unreadable"] * len(raws)


def test_another_endpoint_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"/v1/audio.*Known: /v1/chat/completions"):
        decode_sql("/v1/audio")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("custom_id", "response", "error", "status_code", "body", "choices", "message", "content"),
        *("data", "embedding", "usage", "type", "text", "results", "pages", "markdown", "model"),
        *("tool_calls", "function", "arguments", "object", "detail", "code"),
    ]
)
SHAPES = st.recursive(
    JSON | st.sampled_from([200, 400, "text", "thinking", '{"model": 1}', SEEN_ERROR]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


ANY_ENDPOINT = st.sampled_from(ENDPOINTS)
FEW = settings(max_examples=15, deadline=None)  # of many lines each


@FEW
@given(rows=st.lists(st.dictionaries(NAMES, SHAPES), max_size=20), endpoint=ANY_ENDPOINT)
def test_any_json_is_either_read_or_unreadable(rows: list[object], endpoint: str) -> None:
    found = tables([json.dumps(row) for row in rows], endpoint)
    assert [row["position"] for row in found] == list(range(7, 7 + len(rows)))
    for row in found:
        assert row["status"] == ("failed" if row["failure"] else "succeeded")


@FEW
@given(
    bodies=st.lists(
        st.tuples(SHAPES, st.booleans(), st.sampled_from([200, 400, 429, 500, None, "x"])),
        max_size=20,
    ),
    endpoint=ANY_ENDPOINT,
)
def test_any_body_keeps_its_custom_id(
    bodies: list[tuple[object, bool, object]], endpoint: str
) -> None:
    raws = [
        line(json.dumps(body) if quoted else body, status=status) for body, quoted, status in bodies
    ]
    assert [row["custom_id"] for row in tables([*raws], endpoint)] == ["a"] * len(raws)
