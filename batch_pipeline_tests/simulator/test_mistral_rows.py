"""The answers and the error rows of Mistral's endpoints."""

import base64
import json
import math
from typing import Any

import jsonschema_rs
import pytest
from mistralai.client import Mistral
from mistralai.client.models import (
    EmbeddingResponse,
    ModerationResponse,
    OCRResponse,
)

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.lines import TRIAGE, TRIAGE_FORMAT
from batch_pipeline_tests.simulator.mistral_requests import (
    EMBEDDINGS,
    MODEL,
    Line,
    body_in,
    body_of,
    error_of,
    lines_of,
    message_in,
    run,
)

TOOL = {"type": "function", "function": {"name": "file_ticket", "parameters": TRIAGE}}
ASK = {"role": "user", "content": "What is the best French cheese?"}


@pytest.fixture
def answered(shared: Simulator, shared_mistral: Mistral) -> Any:  # noqa: ANN401 - a function
    """Runs one body and gives its result line."""

    def answered(body: dict[str, object], **wish: Any) -> Line:  # noqa: ANN401 - as in `submit`
        results = run(shared, shared_mistral, [{"custom_id": "a", "body": body}], **wish)
        return {**results.output, **results.errors}["a"]

    return answered


def test_an_answer_has_the_shape_of_chat(answered: Any) -> None:  # noqa: ANN401 - a fixture
    line = answered({"messages": [ASK]})
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert set(line["response"]) == {"status_code", "body"}
    assert message_in(line) == {
        "role": "assistant",
        "content": "Simulated answer to: What is the best French cheese?",
        "tool_calls": None,
    }
    body = body_in(line)
    assert (body["object"], body["model"]) == ("chat.completion", MODEL)
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["prompt_tokens"] == 10
    assert usage["total_tokens"] == 10 + usage["completion_tokens"]
    assert (usage["prompt_tokens_details"], usage["request_count"]) == ({"cached_tokens": 0}, 1)
    assert usage["prompt_audio_seconds"] is None


def test_the_same_request_has_the_same_answer(shared: Simulator, shared_mistral: Mistral) -> None:
    first, again = (run(shared, shared_mistral, lines_of(3)).output for _ in range(2))
    for custom_id, line in first.items():
        assert message_in(line) == message_in(again[custom_id])


def test_a_schema_is_satisfied(answered: Any) -> None:  # noqa: ANN401 - a fixture
    line = answered(body_of("The lid broke!", response_format=TRIAGE_FORMAT))
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(message_in(line)["content"]))


def test_a_json_object_is_one(answered: Any) -> None:  # noqa: ANN401 - a fixture
    line = answered(body_of(response_format={"type": "json_object"}))
    assert isinstance(json.loads(message_in(line)["content"]), dict)


@pytest.mark.parametrize(
    "choice", ["any", "required", {"type": "function", "function": {"name": "file_ticket"}}]
)
def test_a_forced_tool_is_called_with_fitting_arguments(
    answered: Any,  # noqa: ANN401 - a fixture
    choice: object,
) -> None:
    line = answered(body_of(tools=[TOOL], tool_choice=choice))
    (call,) = message_in(line)["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "file_ticket")
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(call["function"]["arguments"]))
    assert len(call["id"]) == 9
    assert message_in(line)["content"] == ""
    assert body_in(line)["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_a_tool_that_need_not_be_called_is_not(
    answered: Any,  # noqa: ANN401 - a fixture
    choice: object,
) -> None:
    message = message_in(answered(body_of(tools=[TOOL], tool_choice=choice)))
    assert (message["tool_calls"], bool(message["content"])) == (None, True)


def test_a_long_conversation_is_answered_to_its_last_question(
    answered: Any,  # noqa: ANN401 - a fixture
) -> None:
    call = {"id": "abcdefghi", "function": {"name": "file_ticket", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        ASK,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "filed", "tool_call_id": "abcdefghi", "name": "file_ticket"},
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
        {"role": "user", "content": [{"type": "text", "text": "And the best wine?"}]},
        {"role": "assistant", "content": "It is", "prefix": True},
    ]
    assert "best wine" in message_in(answered({"messages": messages}))["content"]


@pytest.mark.parametrize(
    ("model", "changes"),
    [("magistral-medium-latest", {}), (MODEL, {"reasoning_effort": "high"})],
)
def test_a_model_that_thinks_answers_in_parts(
    answered: Any,  # noqa: ANN401 - a fixture
    model: str,
    changes: dict[str, object],
) -> None:
    line = answered(body_of(**changes, response_format=TRIAGE_FORMAT), model=model)
    thinking, said = message_in(line)["content"]
    assert (thinking["type"], thinking["closed"]) == ("thinking", True)
    assert "Simulated thinking" in thinking["thinking"][0]["text"]
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(said["text"]))
    assert body_in(line)["usage"]["completion_tokens"] > 64


def test_effort_none_is_no_thinking(answered: Any) -> None:  # noqa: ANN401 - a fixture
    line = answered(body_of(reasoning_effort="none"), model="magistral-small-latest")
    assert isinstance(message_in(line)["content"], str)


def test_thinking_may_use_up_all_tokens(answered: Any) -> None:  # noqa: ANN401 - a fixture
    line = answered(body_of(max_tokens=20), model="magistral-small-latest")
    (thinking,) = message_in(line)["content"]
    assert thinking["closed"] is False
    assert body_in(line)["choices"][0]["finish_reason"] == "length"
    assert body_in(line)["usage"]["completion_tokens"] == 20


def test_tokens_are_limited_and_a_huge_limit_is_none(
    answered: Any,  # noqa: ANN401 - a fixture
) -> None:
    cut = answered(body_of(max_tokens=3))
    assert body_in(cut)["choices"][0]["finish_reason"] == "length"
    assert body_in(cut)["usage"]["completion_tokens"] == 3
    assert body_in(answered(body_of(max_tokens=10**9)))["choices"][0]["finish_reason"] == "stop"


def test_many_choices_cost_their_prompt_once(answered: Any) -> None:  # noqa: ANN401 - a fixture
    one, three = body_in(answered(body_of())), body_in(answered(body_of(n=3)))
    assert [choice["index"] for choice in three["choices"]] == [0, 1, 2]
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    "address",
    ["https://nowhere.invalid/a.png", {"url": "http://x.invalid"}, "file:///a", "http://[x"],
)
def test_a_picture_that_cannot_be_fetched_is_an_error_row(
    answered: Any,  # noqa: ANN401 - a fixture
    address: object,
) -> None:
    line = answered(
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": address}]}]}
    )
    assert (line["response"]["status_code"], line["error"]) == (400, None)
    error = error_of(line)
    assert error.pop("message").startswith("File could not be fetched from url '")
    assert error == {
        "object": "error",
        "type": "invalid_request_file",
        "param": None,
        "code": "3310",
        "raw_status_code": 400,
    }


def test_pictures_and_documents_are_answered_even_a_document_that_is_nowhere(
    answered: Any,  # noqa: ANN401 - a fixture
) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
        {"type": "document_url", "document_url": "https://nowhere.invalid/a.pdf"},
    ]
    line = answered({"messages": [{"role": "user", "content": parts}]})
    assert "What is this?" in message_in(line)["content"]
    assert body_in(line)["usage"]["prompt_tokens"] > 500


@pytest.mark.parametrize(
    ("body", "model", "kind"),
    [
        (body_of(), "mistral-embed", "invalid_model"),
        (body_of(), "mistral-ocr-latest", "invalid_model"),
        ({"messages": [{"role": "system", "content": "x"}]}, MODEL, "invalid_request_message_"),
        (body_of("word " * 140_000), MODEL, "invalid_request_error"),
        (body_of(prompt_mode="reasoning"), MODEL, "invalid_request_error"),
        (body_of(tool_choice="any"), MODEL, "invalid_request_error"),
        (
            body_of(tools=[TOOL], tool_choice={"function": {"name": "other"}}),
            MODEL,
            "invalid_request_error",
        ),
        (
            body_of(tools=[{"function": {"name": "a b", "parameters": {}}}]),
            MODEL,
            "invalid_function_call",
        ),
        (
            body_of(
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "nothing"}},
                }
            ),
            MODEL,
            "invalid_request_error",
        ),
        ({"input": "x"}, MODEL, "invalid_request_error"),
    ],
)
def test_what_only_running_shows_is_an_error_row(
    answered: Any,  # noqa: ANN401 - a fixture
    body: dict[str, object],
    model: str,
    kind: str,
) -> None:
    line = answered(body, model=model)
    assert line["response"]["status_code"] == 400
    assert error_of(line)["type"].startswith(kind)


def embedded(line: Line) -> Line:
    EmbeddingResponse.model_validate(body_in(line))
    return body_in(line)


def test_texts_are_embedded(answered: Any) -> None:  # noqa: ANN401 - a fixture
    wish = {"endpoint": EMBEDDINGS, "model": "mistral-embed"}
    body = embedded(answered({"input": ["To be.", "Or not."]}, **wish))
    assert [each["index"] for each in body["data"]] == [0, 1]
    vector = body["data"][0]["embedding"]
    assert len(vector) == 1024
    assert math.isclose(math.hypot(*vector), 1, abs_tol=0.001)
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert "prompt_token_details" in body["usage"]
    short = embedded(answered({"input": "To be.", "output_dimension": 8}, **wish))
    assert len(short["data"][0]["embedding"]) == 8
    packed = body_in(answered({"input": "To be.", "encoding_format": "base64"}, **wish))
    assert len(base64.b64decode(packed["data"][0]["embedding"])) == 4096


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x", "output_dimension": 4096},
        {"input": "x", "output_dtype": "int8"},
        {"input": "word " * 9_000},
        {"input": [{"role": "user", "content": "x"}]},
        body_of(),
    ],
)
def test_what_cannot_be_embedded_is_an_error_row(
    answered: Any,  # noqa: ANN401 - a fixture
    body: dict[str, object],
) -> None:
    line = answered(body, endpoint=EMBEDDINGS, model="mistral-embed")
    assert line["response"]["status_code"] == 400
    assert answered(body_of(), endpoint=EMBEDDINGS)["response"]["status_code"] == 400


@pytest.mark.parametrize(
    ("endpoint", "given"),
    [
        ("/v1/moderations", ["I love cheese", "I will kill you"]),
        (
            "/v1/chat/moderations",
            [[ASK], [{"role": "user", "content": "I will kill you"}]],
        ),
    ],
)
def test_texts_and_conversations_are_judged(
    answered: Any,  # noqa: ANN401 - a fixture
    endpoint: str,
    given: object,
) -> None:
    line = answered({"input": given}, endpoint=endpoint, model="mistral-moderation-latest")
    judged = ModerationResponse.model_validate(body_in(line))
    flags = [result.categories or {} for result in judged.results]
    assert [each["violence_and_threats"] for each in flags] == [False, True]
    assert body_in(line)["usage"]["prompt_tokens"] > 0


def test_a_single_conversation_is_judged_as_one(
    answered: Any,  # noqa: ANN401 - a fixture
) -> None:
    wish = {"endpoint": "/v1/chat/moderations", "model": "mistral-moderation-latest"}
    assert len(body_in(answered({"input": [ASK]}, **wish))["results"]) == 1
    assert answered({"input": "x"}, **wish)["response"]["status_code"] == 400


def test_a_document_is_read(answered: Any) -> None:  # noqa: ANN401 - a fixture
    wish = {"endpoint": "/v1/ocr", "model": "mistral-ocr-latest"}
    document = {"document_url": "https://example.com/a.pdf"}
    whole = OCRResponse.model_validate(body_in(answered({"document": document}, **wish)))
    assert whole.usage_info.pages_processed == len(whole.pages) >= 1
    assert whole.document_annotation is None
    for pages in ([0], "0", "0-0,7"):
        body = body_in(answered({"document": document, "pages": pages}, **wish))
        assert [page["index"] for page in body["pages"]] == [0]
    annotated = body_in(
        answered({"document": document, "document_annotation_format": TRIAGE_FORMAT}, **wish)
    )
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(annotated["document_annotation"]))
    picture = {"document": {"image_url": {"url": "data:image/png;base64," + "A" * 400}}}
    assert body_in(answered(picture, **wish))["usage_info"]["doc_size_bytes"] > 300
    for bad in (
        {"document": {"document_url": "https://nowhere.invalid/a.pdf"}},
        {"document": document, "pages": "one"},
    ):
        assert answered(bad, **wish)["response"]["status_code"] == 400


def test_the_middle_is_filled_in(answered: Any) -> None:  # noqa: ANN401 - a fixture
    wish = {"endpoint": "/v1/fim/completions", "model": "codestral-latest"}
    line = answered({"prompt": "def double(x):", "suffix": "return y", "max_tokens": 50}, **wish)
    assert message_in(line)["content"]
    assert answered({"prompt": "x " * 140_000}, **wish)["response"]["status_code"] == 400
