"""Requests that Anthropic accepts in a batch and refuses when they run: errored rows."""

from collections.abc import Iterator

import pytest

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.anthropic_requests import (
    OLD_VERSION,
    SONNET,
    TOOL,
    TRIAGE,
    Results,
    client_of,
    make_params,
    make_requests,
    run,
)

USER = {"role": "user", "content": "Hello"}
OPUS = "claude-opus-4-8"
USE = {"type": "tool_use", "id": "toolu_1", "name": "file_ticket", "input": {}}
ANSWER = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}


def said(*blocks: object, role: str = "user") -> list[dict[str, object]]:
    return [{"role": role, "content": list(blocks)}]


def image(**source: object) -> list[dict[str, object]]:
    return said({"type": "image", "source": source})


def document(**source: object) -> list[dict[str, object]]:
    return said({"type": "document", "source": source})


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "no-model": ({"model": None}, "model: Field required"),
    "model-of-no-kind": ({"model": 5}, "model: Input should be a valid string"),
    "no-max-tokens": ({"max_tokens": None}, "max_tokens: Field required"),
    "max-tokens-text": ({"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
    "max-tokens-0": ({"max_tokens": 0}, "is not supported in the Message Batches API"),
    "max-tokens-negative": ({"max_tokens": -1}, "max_tokens: Input should be greater than"),
    "max-tokens-ceiling": (
        {"max_tokens": 64_001},
        (
            "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for "
            "claude-haiku-4-5-20251001"
        ),
    ),
    "no-messages": ({"messages": None}, "messages: Field required"),
    "messages-empty": ({"messages": []}, "messages: at least one message is required"),
    "messages-text": ({"messages": "hi"}, "messages: Input should be a valid list"),
    "message-text": ({"messages": ["hi"]}, "messages.0: Input should be a valid dictionary"),
    "no-role": ({"messages": [{"content": "x"}]}, "messages.0.role: Field required"),
    "role": (
        {"messages": [{"role": "tool", "content": "x"}]},
        "messages.0.role: Input should be 'user' or 'assistant'",
    ),
    "system-role": (
        {"messages": [{"role": "system", "content": "x"}, USER]},
        'messages: Unexpected role "system"',
    ),
    "no-content": ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    "empty-content": (
        {"messages": [{"role": "user", "content": ""}]},
        "messages.0: all messages must have non-empty content",
    ),
    "empty-text": (
        {"messages": said({"type": "text", "text": ""})},
        "messages: text content blocks must be non-empty",
    ),
    "no-text": ({"messages": said({"type": "text"})}, "messages.0.content.0.text.text: Field req"),
    "block": ({"messages": said({"type": "video"})}, "messages.0.content.0: Input tag 'video'"),
    "block-of-others": (
        {"messages": said({"type": "thinking", "thinking": "x"})},
        "`thinking` blocks can only be in `assistant` messages",
    ),
    "prefill": (
        {"model": SONNET, "messages": [USER, {"role": "assistant", "content": "{"}]},
        "This model does not support assistant message prefill.",
    ),
    "stream": ({"stream": True}, "`stream=True` is not supported in the Message Batches API"),
    "speed": ({"speed": "fast"}, "is not supported in the Message Batches API"),
    "extra": ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    "beta-field": ({"context_management": {}}, "context_management: Extra inputs are not"),
    "system": ({"system": 5}, "system: Input should be a valid list"),
    "system-block": (
        {"system": [{"type": "image", "text": "x"}]},
        "system.0.type: Input should be 'text'",
    ),
    "stop-blank": ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain"),
    "metadata": ({"metadata": {"run": "1"}}, "metadata.run: Extra inputs are not permitted"),
    "tier": ({"service_tier": "batch"}, "service_tier: Input should be 'auto' or 'standard_only'"),
    "temperature": ({"temperature": 1.5}, "temperature: range: 0..1"),
    "top-k": ({"top_k": -1}, "top_k: Input should be greater than or equal to 0"),
    "both": ({"temperature": 0.5, "top_p": 0.5}, "cannot both be specified"),
    "deprecated": (
        {"model": OPUS, "temperature": 0},
        "`temperature` is deprecated for this model.",
    ),
    "thinking-tag": ({"thinking": {"type": "on"}}, "thinking: Input tag 'on'"),
    "thinking-manual": (
        {"model": OPUS, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive"',
    ),
    "thinking-adaptive": (
        {"thinking": {"type": "adaptive"}},
        "adaptive thinking is not supported on this model",
    ),
    "thinking-disabled": (
        {"model": "claude-opus-5-5", "thinking": {"type": "disabled"}},
        '"thinking.type.disabled" is not supported for this model.',
    ),
    "thinking-disabled-at-max": (
        {
            "model": "claude-opus-5",
            "thinking": {"type": "disabled"},
            "output_config": {"effort": "max"},
        },
        '"thinking.type.disabled" is not supported',
    ),
    "no-budget": (
        {"thinking": {"type": "enabled"}},
        "thinking.enabled.budget_tokens: Field required",
    ),
    "small-budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 500}},
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    "budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    "forced-thinking": (
        {
            "model": OPUS,
            "thinking": {"type": "adaptive"},
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
        },
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "warm-thinking": (
        {
            "max_tokens": 5000,
            "temperature": 0.5,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
        "`temperature` may only be set to 1 when thinking is enabled.",
    ),
    "effort": (
        {"output_config": {"effort": "huge"}},
        "output_config.effort: Input should be 'low'",
    ),
    "effort-model": ({"output_config": {"effort": "low"}}, "does not support the effort parameter"),
    "output-extra": (
        {"output_config": {"x": 1}},
        "output_config.x: Extra inputs are not permitted",
    ),
    "format": (
        {"output_config": {"format": {"type": "json", "schema": {}}}},
        "output_config.format.type: Input should be 'json_schema'",
    ),
    "block-extra": (
        {"messages": said({"type": "text", "text": "x", "name": "y"})},
        "messages.0.content.0.text.name: Extra inputs are not permitted",
    ),
    "cache-extra": (
        {
            "system": [
                {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "scope": "a"}}
            ]
        },
        "system.0.cache_control.ephemeral.scope: Extra inputs are not permitted",
    ),
    "no-schema": (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format.schema: Field required",
    ),
    "schema-open": (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        (
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false"
        ),
    ),
    "tool-no-name": ({"tools": [{"input_schema": {}}]}, "tools.0.custom.name: Field required"),
    "tool-name": (
        {"tools": [TOOL | {"name": "file ticket"}]},
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "tool-no-schema": ({"tools": [{"name": "x"}]}, "tools.0.custom.input_schema: Field required"),
    "tool-untyped": (
        {"tools": [{"name": "x", "input_schema": {}}]},
        "tools.0.custom.input_schema.type: Field required",
    ),
    "tool-type": (
        {"tools": [{"name": "x", "input_schema": {"type": "string"}}]},
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    "tool-schema": (
        {"tools": [{"name": "x", "input_schema": {"type": "object", "required": 1}}]},
        "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft",
    ),
    "tool-strict": (
        {"tools": [{"name": "x", "strict": True, "input_schema": {"type": "object"}}]},
        "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    "tool-kind": ({"tools": [{"type": "function", "name": "x"}]}, "tools.0: Input tag 'function'"),
    "tool-twice": ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    "choice": ({"tools": [TOOL], "tool_choice": {"type": "one"}}, "tool_choice: Input tag 'one'"),
    "choice-no-tools": ({"tool_choice": {"type": "any"}}, "tool_choice may only be specified"),
    "choice-no-name": (
        {"tools": [TOOL], "tool_choice": {"type": "tool"}},
        "tool_choice.tool.name: Field required",
    ),
    "choice-name": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}},
        "Tool 'x' not found in provided tools",
    ),
    "tool-unanswered": (
        {"messages": [USER, *said(USE, role="assistant"), USER]},
        (
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: "
            "toolu_1"
        ),
    ),
    "tool-unasked": (
        {"messages": said(ANSWER)},
        "messages.0.content: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1",
    ),
    "image-source": (
        {"messages": image(type="s3")},
        "messages.0.content.0.image.source: Input tag 's3'",
    ),
    "image-type": (
        {"messages": image(type="base64", media_type="image/tiff", data="AAAA")},
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'",
    ),
    "image-base64": (
        {"messages": image(type="base64", media_type="image/png", data="???")},
        "Invalid base64 data",
    ),
    "image-http": (
        {"messages": image(type="url", url="http://example.com/a.png")},
        "Only HTTPS URLs are supported.",
    ),
    "image-no-source": ({"messages": said({"type": "image"})}, "image.source: Field required"),
    "image-no-url": ({"messages": image(type="url")}, "image.source.url.url: Field required"),
    "image-no-data": (
        {"messages": image(type="base64", media_type="image/png")},
        "image.source.base64.data: Field required",
    ),
    "document-text": (
        {"messages": document(type="text", media_type="text/html", data="x")},
        "document.source.text.media_type: Input should be 'text/plain'",
    ),
    "tool-use-half": (
        {"messages": [USER, *said({"type": "tool_use", "id": "t"}, role="assistant"), USER]},
        "messages.1.content.0.tool_use.name: Field required",
    ),
    "tool-use-last": (
        {"messages": [USER, *said(USE, role="assistant")]},
        "messages.1: `tool_use` ids were found without `tool_result` blocks",
    ),
    "tool-result-half": (
        {"messages": said({"type": "tool_result"})},
        "messages.0.content.0.tool_result.tool_use_id: Field required",
    ),
    "tool-result-of-others": (
        {"messages": [USER, *said(ANSWER, role="assistant"), USER]},
        "`tool_result` blocks can only be in `user` messages",
    ),
    "top-p-text": ({"top_p": "much"}, "top_p: Input should be a valid number"),
    "document-type": (
        {"messages": document(type="base64", media_type="text/html", data="AAAA")},
        "media_type: Input should be 'application/pdf'",
    ),
    "cache-kind": (
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "forever"}}]},
        "cache_control: Input tag 'forever'",
    ),
    "cache-ttl": (
        {
            "system": [
                {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}
            ]
        },
        "cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
    ),
    "cache-many": (
        {
            "system": [
                {"type": "text", "text": f"{number}", "cache_control": {"type": "ephemeral"}}
                for number in range(5)
            ]
        },
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
}
FOUND_OUT_WHEN_RUNNING = {
    "unreachable-image": (
        image(type="url", url="https://pictures.invalid/a.png"),
        "Unable to download the file. Please verify the URL and try again.",
    ),
    "unreachable-document": (
        document(type="url", url="https://papers.invalid/a.pdf"),
        "Unable to download the file. Please verify the URL and try again.",
    ),
    "no-image": (
        image(type="base64", media_type="image/png", data="AAAA"),
        "Could not process image",
    ),
    "no-pdf": (
        document(type="base64", media_type="application/pdf", data="AAAA"),
        "The PDF specified was not valid.",
    ),
    "long-prompt": (
        [{"role": "user", "content": "word " * 210_000}],
        "tokens > 200000 maximum",
    ),
}


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    """All wrong requests in one batch, and one that is right."""
    wrong = [
        {"custom_id": name, "params": make_params(**changes)}
        for name, (changes, _) in REFUSED.items()
    ]
    late = [
        {"custom_id": name, "params": make_params(messages=messages)}
        for name, (messages, _) in FOUND_OUT_WHEN_RUNNING.items()
    ]
    unknown = {"custom_id": "model", "params": make_params(model="claude-sonnet-4-5-20250101")}
    with Simulator(speed=0) as sim, client_of(sim, version=OLD_VERSION) as client:
        yield run(sim, client, [*make_requests(1), unknown, *wrong, *late])


def test_one_wrong_row_says_nothing_about_the_others(results: Results) -> None:
    assert results.batch.processing_status == "ended"
    assert results.counts == {"succeeded": 1, "errored": len(results.rows) - 1}
    assert results.rows["row-1"]["type"] == "succeeded"


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_request_is_an_errored_row(results: Results, name: str) -> None:
    response = results.error(name)
    error = response.pop("error")
    assert REFUSED[name][1] in error.pop("message")
    assert error == {
        "type": "invalid_request_error",
        "details": {"error_visibility": "user_facing"},
    }
    assert response == {"type": "error", "request_id": None}


@pytest.mark.parametrize("name", FOUND_OUT_WHEN_RUNNING)
def test_what_is_found_out_while_it_runs_has_a_request_id(results: Results, name: str) -> None:
    response = results.error(name)
    assert FOUND_OUT_WHEN_RUNNING[name][1] in response["error"]["message"]
    assert response["error"]["type"] == "invalid_request_error"
    assert response["request_id"].startswith("workerreq_")


def test_an_unknown_model_is_not_found(results: Results) -> None:
    error = results.error("model")["error"]
    assert error["type"] == "not_found_error"
    assert error["message"] == "model: claude-sonnet-4-5-20250101"


def test_the_new_version_refuses_what_the_old_one_took() -> None:
    cited = {"type": "text", "text": "Hello", "citations": [{"type": "char_location"}]}
    paper = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    }
    taken = {
        "citations": said(cited),
        "document": [USER, {"role": "assistant", "content": [paper]}, USER],
    }
    requests = [
        {"custom_id": name, "params": make_params(messages=messages)}
        for name, messages in taken.items()
    ]
    with Simulator(speed=0) as sim:
        with client_of(sim, version=OLD_VERSION) as old:
            assert run(sim, old, requests).counts == {"succeeded": 2}
        with client_of(sim) as new:
            assert run(sim, new, requests).counts == {"errored": 2}


def test_fields_of_betas_are_taken_with_a_beta_alone() -> None:
    format_ = {"type": "json_schema", "schema": TRIAGE}
    requests = make_requests(1, output_format=format_)
    with Simulator(speed=0) as sim, client_of(sim) as client:
        error = run(sim, client, requests).error()["error"]
        assert error["message"] == "output_format: Extra inputs are not permitted"
        betas = "structured-outputs-2025-11-13"
        assert run(sim, client, requests, betas).counts == {"succeeded": 1}
