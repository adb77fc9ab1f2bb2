"""What a model finally said, and answers in which it said nothing, on every provider's wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batch_pipeline_tests.prices.test_billed import (
    CHAT,
    MESSAGES,
    OCR,
    RESPONSES,
    billed,
    chat,
    claude,
    ocr,
)


def says(text: str, phase: str | None = None) -> dict[str, Any]:
    part = {"type": "output_text", "annotations": [], "text": text}
    return {"type": "message", "phase": phase, "content": [part]}


def responded(*items: object) -> object:
    usage = {"input_tokens": 1000, "output_tokens": 100}
    body = {"model": "gpt-5.4-nano", "status": "completed", "output": items, "usage": usage}
    return {"custom_id": "r", "response": {"status_code": 200, "body": body}, "error": None}


def error(row: object, *, status: int | None = None, body: object = None) -> dict[str, Any]:
    line: dict[str, Any] = {"custom_id": "r", "error": row}
    if status is not None:
        line["response"] = {"status_code": status, "request_id": "q", "body": body}
    return line


CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}


def test_with_phases_named_the_final_answer_alone_counts() -> None:
    row = billed(
        "openai",
        RESPONSES,
        responded(says("I look.", "commentary"), says("{}", "final_answer"), says("loose")),
    )
    assert (row["status"], row["text"]) == ("succeeded", "{}")
    row = billed("openai", RESPONSES, responded(says("a"), says("b")))
    assert (row["status"], row["text"]) == ("succeeded", "ab")


def test_commentary_alone_is_no_answer_and_its_words_are_kept() -> None:
    row = billed("openai", RESPONSES, responded(says("I look.", "commentary")))
    assert (row["failure"], row["text"]) == ("empty", "I look.")
    assert row["error_code"] == "commentary without a final answer"
    row = billed("openai", RESPONSES, responded(says("I look.", "commentary"), CALL))
    assert (row["status"], row["text"]) == ("succeeded", None)
    assert json.loads(row["tool_calls"])[0]["name"] == "f"


def message(**said: object) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", **said}, "finish_reason": "stop"}
    line: Any = chat(choices=[choice])
    return dict(line)


def blocks(*content: object) -> dict[str, Any]:
    line: Any = claude()
    line["result"]["message"]["content"] = list(content)
    return dict(line)


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}


@pytest.mark.parametrize(
    ("provider", "endpoint", "line", "named"),
    [
        ("openai", RESPONSES, responded(), "empty"),
        ("openai", RESPONSES, responded({"type": "reasoning"}), "reasoning"),
        ("openai", RESPONSES, responded({"type": "computer_call"}), "computer_call"),
        ("openai", RESPONSES, responded({"type": "image_generation_call"}), "image_generation"),
        ("openai", RESPONSES, responded({"type": "mcp_approval_request"}), "mcp_approval_request"),
        ("openai", RESPONSES, responded({"type": "web_search_call"}), "web_search_call"),
        ("openai", RESPONSES, responded({"type": "local_shell_call"}, says("")), "local_shell"),
        ("openai", RESPONSES, responded({"type": "brand_new"}), "brand_new"),
        ("openai", CHAT, message(content=None), "empty"),
        ("openai", CHAT, message(content=""), "empty"),
        ("openai", CHAT, message(content=None, audio={"id": "a", "data": "x"}), "audio"),
        ("openai", CHAT, message(content=None, reasoning_content="hmm"), "reasoning"),
        ("mistral", CHAT, message(content=""), "empty"),
        ("mistral", CHAT, message(content=[]), "empty"),
        ("mistral", CHAT, message(content=[THOUGHT]), "thinking"),
        ("mistral", CHAT, message(content=[{"type": "reference"}]), "reference"),
        ("anthropic", MESSAGES, blocks(), "empty"),
        ("anthropic", MESSAGES, blocks({"type": "thinking", "thinking": "hmm"}), "thinking"),
        ("anthropic", MESSAGES, blocks({"type": "redacted_thinking"}), "redacted_thinking"),
        ("anthropic", MESSAGES, blocks({"type": "text", "text": ""}), "empty"),
        ("anthropic", MESSAGES, blocks({"type": "brand_new"}), "brand_new"),
    ],
)
def test_an_answer_with_nothing_that_is_read_is_empty_and_names_what_there_is(
    provider: str, endpoint: str, line: object, named: str
) -> None:
    row = billed(provider, endpoint, line)
    assert (row["status"], row["failure"]) == ("failed", "empty")
    assert row["error_code"].startswith(named)
    assert row["input_tokens"] is not None
    assert "billed" in row["error_message"] or named in row["error_message"]


@pytest.mark.parametrize(
    ("provider", "endpoint", "line"),
    [
        ("openai", RESPONSES, responded(says("x"), {"type": "computer_call"})),
        ("openai", CHAT, message(content="x", audio={"id": "a"})),
        ("mistral", CHAT, message(content=[THOUGHT, {"type": "text", "text": "x"}])),
        ("anthropic", MESSAGES, blocks({"type": "brand_new"}, {"type": "text", "text": "x"})),
    ],
)
def test_an_answer_with_words_beside_what_is_not_read_is_a_success(
    provider: str, endpoint: str, line: object
) -> None:
    row = billed(provider, endpoint, line)
    assert (row["status"], row["text"]) == ("succeeded", "x")


@pytest.mark.parametrize(
    ("provider", "endpoint", "line", "right"),
    [
        (
            "openai",
            CHAT,
            error({"type": "server_error", "message": "m"}),
            ("errored", "server_error", "m"),
        ),
        (
            "openai",
            CHAT,
            error({"code": "invalid_prompt", "message": "m"}),
            ("rejected", "invalid_prompt", "m"),
        ),
        (
            "openai",
            CHAT,
            error(None, status=500, body={"error": {"error": {"message": "m", "type": "t"}}}),
            ("errored", "t", "m"),
        ),
        (
            "openai",
            CHAT,
            error({"error": {"message": "m", "code": "c"}}),
            ("errored", "c", "m"),
        ),
        (
            "openai",
            CHAT,
            error(None, status=400, body={"object": "error", "message": "m", "type": "t"}),
            ("rejected", "t", "m"),
        ),
        (
            "openai",
            CHAT,
            error(None, status=400, body='{"error": {"message": "m", "code": "c"}}'),
            ("rejected", "c", "m"),
        ),
        (
            "openai",
            CHAT,
            error(None, status=400, body={"error": {"message": "m", "code": "content_filter"}}),
            ("refused", "content_filter", "m"),
        ),
        (
            "mistral",
            CHAT,
            error(None, status=500, body='{"error": {"error": {"message": "m", "code": "c"}}}'),
            ("errored", "c", "m"),
        ),
        ("mistral", CHAT, error({"type": "t", "message": "m"}), ("errored", "t", "m")),
    ],
)
def test_an_error_keeps_its_code_and_its_words_however_it_is_wrapped(
    provider: str, endpoint: str, line: object, right: tuple[str, str, str]
) -> None:
    row = billed(provider, endpoint, line)
    assert (row["failure"], row["error_code"], row["error_message"]) == right


def test_an_error_of_anthropics_is_unwrapped_too() -> None:
    inner = {"type": "api_error", "message": "m"}
    for wrapped in (inner, {"error": inner}, {"error": {"type": "error", "error": inner}}):
        line = {"custom_id": "r", "result": {"type": "errored", "error": wrapped}}
        row = billed("anthropic", MESSAGES, line)
        assert (row["failure"], row["error_code"], row["error_message"]) == (
            "errored",
            "api_error",
            "m",
        )


def test_what_a_filter_withheld_may_have_been_billed() -> None:
    body = {"error": {"message": "m", "code": "content_filter"}, "model": "gpt-5-nano"}
    row = billed("openai", CHAT, error(None, status=400, body=body))
    assert (row["cost"], row["why"]) == (None, "withheld by a filter: perhaps billed")


def test_annotations_of_a_document_and_its_images_are_kept() -> None:
    image = {"id": "img-0", "image_annotation": '{"kind": "chart"}'}
    pages = [{"index": 3, "markdown": "# Bill", "images": [image, {"id": "img-1"}]}]
    row = billed("mistral", OCR, _annotated(pages))
    assert (row["text"], json.loads(row["annotations"])) == (
        "# Bill",
        {
            "document": '{"total": 12.5}',
            "images": [{"page": 3, "id": "img-0", "annotation": '{"kind": "chart"}'}],
        },
    )


def _annotated(pages: list[dict[str, Any]]) -> object:
    line: Any = ocr(document_annotation='{"total": 12.5}')
    line["response"]["body"]["pages"] = pages
    return line
