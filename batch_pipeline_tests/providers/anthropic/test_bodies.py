from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Cell, Form, Hole, Limits, Tree
from batch_pipeline.providers.anthropic.codec import AnthropicCodec
from batch_pipeline.providers.capabilities import TOPICS
from batch_pipeline.providers.protocol import Codec
from batch_pipeline_tests.providers.anthropic.factories import PIXEL
from batch_pipeline_tests.providers.anthropic.jobs import (
    LABEL,
    LOOK_UP,
    body,
    known_to_sdk,
    make,
    refusal,
    turns,
)

MESSAGES = "/v1/messages"


def test_the_codec_is_one() -> None:
    codec: Codec = AnthropicCodec()
    assert codec.limits(MESSAGES) == Limits(requests=100_000, bytes=243_200_000)
    assert set(codec.capabilities.facts) == set(TOPICS)
    envelope = codec.envelope(MESSAGES)
    line = f'{envelope.before_id}"a"{envelope.before_body}{{}}{envelope.after_body}'
    assert (json.loads(line), line[-1]) == ({"custom_id": "a", "params": {}}, "\n")


def test_every_fact_says_where_it_is_written_and_when_somebody_looked() -> None:
    capabilities = AnthropicCodec.capabilities
    for fact in (*capabilities.facts.values(), *capabilities.caveats):
        assert fact.says
        assert fact.link.startswith("https://platform.claude.com/docs/en/")
        assert fact.checked == "2026-11-21"


def test_a_body_has_everything_in_a_fixed_order() -> None:
    job = make(
        {
            "system": "Be brief.",
            "prompt": "{{ text }}",
            "output_schema": LABEL,
            "tools": [LOOK_UP],
            "tool_choice": "auto",
        },
        max_output_tokens=100,
        stop=["END"],
        reasoning_effort="low",
        extra={"metadata": {"user_id": "u"}, "service_tier": "auto"},
    )
    assert json.dumps(known_to_sdk(job)) == json.dumps(
        {
            "model": "claude-sonnet-4-6",
            "max_tokens": 100,
            "tools": [
                {
                    "name": "look_up",
                    "description": "Look a word up.",
                    "input_schema": LOOK_UP["parameters"],
                }
            ],
            "tool_choice": {"type": "auto"},
            "system": "<Be brief.>",
            "messages": [{"role": "user", "content": "<{{ text }}>"}],
            "output_config": {
                "effort": "low",
                "format": {
                    "type": "json_schema",
                    "schema": {
                        "type": "object",
                        "properties": {"label": {"type": "string"}},
                        "additionalProperties": False,
                        "required": ["label"],
                    },
                },
            },
            "stop_sequences": ["END"],
            "metadata": {"user_id": "u"},
            "service_tier": "auto",
        }
    )


def test_what_is_not_said_is_not_sent_but_for_the_cap_that_must_be() -> None:
    found = known_to_sdk(make())
    assert found.keys() == {"model", "max_tokens", "messages"}
    assert found["max_tokens"] == 4096


# --- turns ----------------------------------------------------------------------------------------


def test_a_conversation_keeps_its_turns_and_leading_system_turns_are_the_system_prompt() -> None:
    job = make(turns(("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "{{ x }}")))
    found = known_to_sdk(job)
    assert found["system"] == "<s>"
    assert [turn["role"] for turn in found["messages"]] == ["user", "assistant", "user"]


def test_a_system_prompt_and_a_system_turn_are_two_texts_of_the_system_prompt() -> None:
    job = make({"system": "one", **turns(("system", "two {{ x }}"), ("user", "u"))})
    assert [part["text"] for part in known_to_sdk(job)["system"]] == ["<one>", "<two {{ x }}>"]


def test_a_system_turn_within_the_conversation_is_refused() -> None:
    job = make(turns(("user", "u"), ("system", "s"), ("user", "u")))
    assert "move it up" in refusal(job)


def test_a_conversation_of_system_turns_alone_is_refused() -> None:
    assert "no turn of the user" in refusal(make(turns(("system", "s"))))


def test_a_column_of_turns_gives_its_system_turns_to_the_system_prompt() -> None:
    found = body(make({"conversation": "chat"}))
    assert found["system"] == Cell("chat", Form.SYSTEM)
    assert found["messages"] == [Cell("chat", Form.TURNS, hoisted=True)]
    assert len(known_to_sdk(make({"conversation": "chat"}))["messages"]) == 2


def test_a_column_of_turns_beside_a_system_prompt_may_have_none_of_its_own() -> None:
    found = body(make({"conversation": "chat", "system": "Be brief."}))
    assert found["system"] == Hole("Be brief.")
    assert found["messages"] == [Cell("chat", Form.TURNS, roles=("user", "assistant"))]


@pytest.mark.parametrize(
    ("model", "taken"),
    [("claude-opus-4-5", True), ("claude-opus-4-6", False), ("claude-sonnet-5", False)],
)
def test_only_older_models_go_on_from_a_last_turn_of_the_assistant(
    model: str, *, taken: bool
) -> None:
    job = make(turns(("user", "{{ x }}"), ("assistant", "{")), model=model)
    if taken:
        assert known_to_sdk(job)["messages"][-1]["role"] == "assistant"
    else:
        assert "last turn of the assistant" in refusal(job)


# --- attachments ----------------------------------------------------------------------------------


def test_documents_and_images_stand_before_the_text_of_the_last_turn() -> None:
    request = {
        **turns(("user", "a"), ("assistant", "b"), ("user", "{{ c }}")),
        "images": [{"url": "photo"}, {"data": "scan"}],
        "documents": [{"url": "link"}, {"data": "pdf"}],
    }
    found = known_to_sdk(make(request))["messages"]
    assert found[0]["content"] == "<a>"
    assert found[2]["content"] == [
        {"type": "document", "source": {"type": "url", "url": "https://example.org/a"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL},
        },
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
        },
        {"type": "text", "text": "<{{ c }}>"},
    ]


def test_cells_say_what_their_column_must_hold() -> None:
    request = {"images": [{"data": "scan"}, {"url": "photo"}], "documents": [{"data": "pdf"}]}
    (turn,) = filled_cells(body(make(request))["messages"])
    assert turn == [
        Cell("pdf", Form.BASE64, media="pdf"),
        Cell("scan", Form.MEDIA_TYPE, media="image"),
        Cell("scan", Form.BASE64, media="image"),
        Cell("photo", Form.LINK, media="image"),
    ]


def filled_cells(messages: Tree) -> list[list[Cell]]:
    def cells(tree: Tree) -> list[Cell]:
        if isinstance(tree, Cell):
            return [tree]
        if isinstance(tree, Mapping):
            return [cell for value in tree.values() for cell in cells(value)]
        if isinstance(tree, Sequence) and not isinstance(tree, str):
            return [cell for value in tree for cell in cells(value)]
        return []

    assert isinstance(messages, list)
    return [cells(message) for message in messages]


def test_an_image_alone_is_a_turn_of_the_user() -> None:
    (turn,) = known_to_sdk(make({"system": "Describe.", "images": [{"url": "photo"}]}))["messages"]
    assert (turn["role"], [part["type"] for part in turn["content"]]) == ("user", ["image"])


# --- tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "native"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("look_up", {"type": "tool", "name": "look_up"}),
    ],
)
def test_a_choice_of_tools_is_said_in_anthropics_words(
    choice: str, native: dict[str, object]
) -> None:
    job = make({"prompt": "p", "tools": [LOOK_UP], "tool_choice": choice})
    assert known_to_sdk(job)["tool_choice"] == native


def test_a_strict_tool_has_a_closed_schema() -> None:
    job = make({"prompt": "p", "tools": [{**LOOK_UP, "strict": True}, {"name": "x", "strict": 1}]})
    look_up, empty = known_to_sdk(job)["tools"]
    assert look_up["strict"] is True
    assert look_up["input_schema"]["additionalProperties"] is False
    assert empty["input_schema"] == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_arguments_that_are_no_object_are_refused() -> None:
    job = make({"prompt": "p", "tools": [{"name": "x", "parameters": {"type": "array"}}]})
    assert "request.tools.x.parameters" in refusal(job)


@pytest.mark.parametrize(
    ("model", "parameters", "taken"),
    [
        ("claude-opus-4-6", {}, True),
        ("claude-opus-4-6", {"thinking": "adaptive"}, False),
        ("claude-haiku-4-5", {"thinking_tokens": 1024}, False),
        ("claude-opus-5", {}, True),
        ("claude-opus-5-5", {}, False),
        ("claude-fable-5-1", {}, False),
        ("claude-haiku-5-5", {}, False),
        ("claude-haiku-5-5", {"thinking": "off"}, True),
    ],
)
def test_a_model_that_thinks_cannot_be_forced_to_call(
    model: str, parameters: dict[str, Any], *, taken: bool
) -> None:
    request = {"prompt": "p", "tools": [LOOK_UP], "tool_choice": "required"}
    job = make(request, model=model, **parameters)
    if taken:
        known_to_sdk(job)
    else:
        assert "forces a call" in refusal(job)


# --- caching --------------------------------------------------------------------------------------

KEPT = {"type": "ephemeral", "ttl": "1h"}


def test_the_common_beginning_is_kept_up_to_its_last_block() -> None:
    request = {"system": "Be brief.", "prompt": "{{ x }}", "tools": [{"name": "a"}, LOOK_UP]}
    found = known_to_sdk(make(request, cache="1h"))
    assert ["cache_control" in tool for tool in found["tools"]] == [False, True]
    assert found["system"] == [{"type": "text", "text": "<Be brief.>", "cache_control": KEPT}]
    assert found["messages"] == [{"role": "user", "content": "<{{ x }}>"}]


def test_turns_that_are_the_same_in_every_request_are_kept_too() -> None:
    few = turns(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "{{ c }}"))
    found = known_to_sdk(make(few, cache="5m"))
    kept = {"type": "ephemeral", "ttl": "5m"}
    assert found["system"][0]["cache_control"] == kept
    assert [turn["content"] for turn in found["messages"]] == [
        "<a>",
        [{"type": "text", "text": "<b>", "cache_control": kept}],
        "<{{ c }}>",
    ]


def test_a_system_prompt_that_depends_on_the_row_leaves_the_tools_to_keep() -> None:
    request = {"system": "For {{ who }}.", "prompt": "p", "tools": [LOOK_UP]}
    found = known_to_sdk(make(request, cache="1h"))
    assert found["tools"][0]["cache_control"] == KEPT
    assert found["system"] == "<For {{ who }}.>"
    assert found["messages"] == [{"role": "user", "content": "<p>"}]


@pytest.mark.parametrize(
    "request_",
    [
        {"prompt": "{{ x }}"},
        {"system": "For {% if a %}a{% endif %}", "prompt": "p"},
        {"conversation": "chat"},
        {"prompt": "Describe.", "images": [{"url": "photo"}]},
    ],
)
def test_a_cache_without_a_common_beginning_is_refused(request_: dict[str, object]) -> None:
    assert "nothing to keep" in refusal(make(request_, cache="1h"))


# --- the batch's own options ----------------------------------------------------------------------


def test_beta_flags_and_the_api_version_belong_to_the_batch() -> None:
    target = {"betas": ["output-300k-2026-03-24", "b"], "api_version": "2023-06-01"}
    job = make(target=target)
    assert AnthropicCodec().options(job, job.targets[0]) == {
        "betas": "output-300k-2026-03-24,b",
        "api_version": "2023-06-01",
    }
    assert AnthropicCodec().options(make(), make().targets[0]) == {}


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ({"api_version": "2024-01-01"}, "is not one of 2026-10-21, 2023-06-01"),
        ({"betas": ["a,b"]}, "is no beta flag"),
        ({"betas": ["a\r\nx-api-key: b"]}, "is no beta flag"),
    ],
)
def test_options_that_cannot_be_headers_are_refused(target: dict[str, object], why: str) -> None:
    job = make(target=target)
    assert why in refusal(job)
    with pytest.raises(SpecError, match=why):
        AnthropicCodec().options(job, job.targets[0])
