from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from mistralai.client.models import (
    ChatCompletionRequest,
    ClassificationRequest,
    EmbeddingRequest,
    OCRRequest,
)
from pydantic import BaseModel

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Cell, Envelope, Form, Hole, Limits
from batch_pipeline.providers.capabilities import FEATURES, TOPICS
from batch_pipeline.providers.mistral.codec import MistralCodec
from batch_pipeline.providers.mistral.facts import CAPABILITIES
from batch_pipeline.providers.protocol import Codec
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.providers.mistral.jobs import (
    CHAT,
    EMBEDDINGS,
    LABEL,
    MODERATIONS,
    OCR,
    PROMPT,
    WEATHER,
    body,
    filled,
    make,
)

SDK: Mapping[str, type[BaseModel]] = {
    CHAT: ChatCompletionRequest,
    EMBEDDINGS: EmbeddingRequest,
    MODERATIONS: ClassificationRequest,
    OCR: OCRRequest,
}
STRICT_LABEL = {**LABEL, "additionalProperties": False}


def known_to_sdk(job: BatchJob) -> Any:  # noqa: ANN401 - any JSON
    """The body filled, after the SDK's own types have taken it and given the same back."""
    found = filled(body(job))
    read = SDK[job.targets[0].endpoint].model_validate(found)
    assert json.loads(read.model_dump_json(by_alias=True, exclude_unset=True)) == found
    return found


def refused(job: BatchJob) -> str:
    with pytest.raises(SpecError) as caught:
        body(job)
    return str(caught.value)


def test_a_chat_body_has_everything_in_a_fixed_order() -> None:
    request = {
        "system": "Be brief.",
        **PROMPT,
        "output_schema": LABEL,
        "tools": [WEATHER],
        "tool_choice": "required",
    }
    job = make(
        request=request,
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        stop=["END"],
        seed=7,
        reasoning_effort="high",
        extra={"safe_prompt": True, "response_format": {"json_schema": {"description": "d"}}},
    )
    shape = {"name": "label_mail", "schema": STRICT_LABEL, "strict": True, "description": "d"}
    assert json.dumps(known_to_sdk(job)) == json.dumps(
        {
            "model": "mistral-small-latest",
            "messages": [
                {"role": "system", "content": "<Be brief.>"},
                {"role": "user", "content": "<{{ text }}>"},
            ],
            "response_format": {"type": "json_schema", "json_schema": shape},
            "tools": [{"type": "function", "function": WEATHER}],
            "tool_choice": "any",
            "max_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "random_seed": 7,
            "reasoning_effort": "high",
            "safe_prompt": True,
        }
    )


def test_what_is_not_said_is_not_sent() -> None:
    assert known_to_sdk(make()).keys() == {"model", "messages"}
    assert known_to_sdk(make(temperature=0))["temperature"] == 0
    assert known_to_sdk(make(EMBEDDINGS)).keys() == {"model", "input"}


def test_turns_of_the_template_keep_their_order() -> None:
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    found = known_to_sdk(make(request={"messages": turns}))
    assert [turn["role"] for turn in found["messages"]] == ["user", "assistant", "user"]


def test_a_conversation_column_stands_after_the_system_turn() -> None:
    job = make(request={"system": "Be brief.", "conversation": "chat"})
    found = body(job)["messages"]
    assert isinstance(found, list)
    assert found[1] == Cell("chat", Form.TURNS, roles=("system", "user", "assistant"))
    assert [turn["role"] for turn in known_to_sdk(job)["messages"]] == ["system", "user"]


def test_images_and_documents_follow_the_text_of_the_last_turn() -> None:
    request = {
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        "images": [{"url": "photo"}, {"data": "scan"}],
        "documents": [{"url": "paper"}],
    }
    job = make(request=request)
    known_to_sdk(job)
    messages = body(job)["messages"]
    assert isinstance(messages, list)
    assert messages[1] == {
        "role": "user",
        "content": [
            {"type": "text", "text": Hole("u")},
            {"type": "image_url", "image_url": Cell("photo", Form.LINK, media="image")},
            {"type": "image_url", "image_url": Cell("scan", Form.DATA_URL, media="image")},
            {"type": "document_url", "document_url": Cell("paper", Form.LINK, media="pdf")},
        ],
    }


def test_an_image_alone_is_a_turn_of_the_user() -> None:
    found = known_to_sdk(make(request={"system": "Describe it.", "images": [{"url": "photo"}]}))
    assert found["messages"][1] == {
        "role": "user",
        "content": [{"type": "image_url", "image_url": "https://photo/file"}],
    }


@pytest.mark.parametrize("attached", [{}, {"images": [{"url": "photo"}]}])
def test_a_conversation_ends_with_the_user(attached: dict[str, object]) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    assert "end with the user's turn" in refused(make(request={"messages": turns, **attached}))


@pytest.mark.parametrize(
    ("choice", "native"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "any"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_a_choice_of_tool_is_said_in_mistral_s_words(choice: str | None, native: object) -> None:
    request = {**PROMPT, "tools": [WEATHER], "tool_choice": choice}
    assert known_to_sdk(make(request=request)).get("tool_choice") == native


def test_a_strict_tool_has_a_strict_schema_and_a_bare_one_no_empty_words() -> None:
    strict = {"name": "weather", "parameters": LABEL, "strict": True}
    found = known_to_sdk(make(request={**PROMPT, "tools": [strict, {"name": "now"}]}))
    assert [tool["function"] for tool in found["tools"]] == [
        {"name": "weather", "parameters": STRICT_LABEL, "strict": True},
        {"name": "now", "parameters": {"type": "object", "properties": {}}},
    ]


def test_a_schema_that_cannot_be_strict_is_refused_with_its_place() -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string"}}}
    said = refused(make(request={**PROMPT, "output_schema": loose}))
    assert "request.output_schema at #/properties/a: Mistral's strict mode refuses" in said
    tool = {"name": "weather", "parameters": loose, "strict": True}
    assert "request.tools weather parameters at #/properties/a" in refused(
        make(request={**PROMPT, "tools": [tool]})
    )


def test_embeddings_take_one_text_and_a_length() -> None:
    found = known_to_sdk(make(EMBEDDINGS, dimensions=256, extra={"output_dtype": "int8"}))
    assert json.dumps(found) == json.dumps(
        {
            "model": "mistral-small-latest",
            "input": "<{{ text }}>",
            "output_dimension": 256,
            "output_dtype": "int8",
        }
    )


def test_moderations_take_one_text() -> None:
    found = known_to_sdk(make(MODERATIONS))
    assert found == {"model": "mistral-small-latest", "input": "<{{ text }}>"}


@pytest.mark.parametrize(
    ("attached", "document"),
    [
        (
            {"documents": [{"url": "paper"}]},
            {"type": "document_url", "document_url": Cell("paper", Form.LINK, media="pdf")},
        ),
        (
            {"documents": [{"data": "paper"}]},
            {"type": "document_url", "document_url": Cell("paper", Form.DATA_URL, media="pdf")},
        ),
        (
            {"images": [{"data": "scan"}]},
            {"type": "image_url", "image_url": Cell("scan", Form.DATA_URL, media="image")},
        ),
    ],
)
def test_ocr_reads_one_document_or_image(attached: object, document: object) -> None:
    assert isinstance(attached, dict)
    job = make(OCR, request=attached, extra={"table_format": "html"})
    known_to_sdk(job)
    assert body(job) == {
        "model": "mistral-small-latest",
        "document": document,
        "table_format": "html",
    }


def test_ocr_annotates_its_document_by_the_schema_of_the_job() -> None:
    job = make(OCR, request={"images": [{"url": "a"}], "output_schema": LABEL})
    known_to_sdk(job)
    asked = body(job)["document_annotation_format"]
    assert isinstance(asked, dict)
    assert asked["type"] == "json_schema"


@pytest.mark.parametrize(
    "request_",
    [
        PROMPT,
        {**PROMPT, "images": [{"url": "a"}]},
        {"images": [{"url": "a"}], "documents": [{"url": "b"}]},
    ],
)
def test_ocr_reads_nothing_else(request_: dict[str, object]) -> None:
    assert "reads one document and nothing else" in refused(make(OCR, request=request_))


@pytest.mark.parametrize("heat", [{"temperature": 1.6}, {"extra": {"temperature": 2}}])
def test_a_temperature_that_the_upload_refuses_is_refused_before_it(heat: dict[str, Any]) -> None:
    assert "temperature above 1.5" in refused(make(**heat))
    assert known_to_sdk(make(temperature=1.5))["temperature"] == 1.5


def test_an_effort_that_mistral_has_not_is_refused_with_those_it_has() -> None:
    assert "no reasoning_effort 'hihg'. Known: none, minimal" in refused(
        make(reasoning_effort="hihg")
    )


@pytest.mark.parametrize("name", ["stream", "model", "messages", "input", "document"])
def test_extra_neither_streams_nor_replaces_the_request(name: str) -> None:
    assert f"parameters.extra.{name}" in refused(make(extra={name: True}))


@pytest.mark.parametrize(
    ("endpoint", "parameters", "what"),
    [
        (CHAT, {"thinking": "adaptive"}, "'thinking'. Use reasoning_effort"),
        (CHAT, {"thinking_tokens": 10}, "'thinking_tokens'. Use reasoning_effort"),
        (CHAT, {"cache": "1h"}, "'cache'. Mistral caches by itself"),
        (CHAT, {"dimensions": 8}, "'dimensions'"),
        (EMBEDDINGS, {"temperature": 0}, "'temperature'"),
        (MODERATIONS, {"max_output_tokens": 5}, "'max_output_tokens'"),
        (OCR, {"seed": 5}, "'seed'"),
    ],
)
def test_a_parameter_that_is_not_taken_is_an_error_with_what_to_do(
    endpoint: str, parameters: dict[str, Any], what: str
) -> None:
    assert f"{endpoint} does not take the parameter {what}" in refused(make(endpoint, **parameters))


@pytest.mark.parametrize(
    ("endpoint", "request_", "what"),
    [
        (CHAT, {**PROMPT, "documents": [{"data": "d"}]}, "data column. Chat takes documents by"),
        (EMBEDDINGS, {**PROMPT, "system": "s"}, "request.system"),
        (EMBEDDINGS, {"conversation": "c"}, "request.conversation"),
        (MODERATIONS, {**PROMPT, "output_schema": LABEL}, "request.output_schema"),
    ],
)
def test_a_feature_that_is_not_taken_is_an_error_with_what_to_do(
    endpoint: str, request_: dict[str, object], what: str
) -> None:
    assert what in refused(make(endpoint, request=request_))


@pytest.mark.parametrize(
    ("given", "what"), [({"betas": ["b"]}, "no beta flags"), ({"api_version": "v"}, "one version")]
)
def test_what_belongs_to_other_providers_batches_is_refused(
    given: dict[str, object], what: str
) -> None:
    assert what in refused(make(target=given))


def test_a_batch_s_window_is_an_option_and_no_part_of_its_lines() -> None:
    job = make(target={"timeout_hours": 48})
    assert MistralCodec().options(job, job.targets[0]) == {"timeout_hours": "48"}
    assert body(job) == body(make())
    usual = make()
    assert MistralCodec().options(usual, usual.targets[0]) == {}


def test_limits_are_the_stricter_ones_with_headroom_and_the_looser_are_named() -> None:
    codec: Codec = MistralCodec()
    for endpoint in SDK:
        strict, loose = codec.limits(endpoint), codec.capabilities.disputed[endpoint]
        assert strict == Limits(requests=100_000, bytes=512_000_000 * 95 // 100)
        assert (loose.requests, loose.bytes) == (1_000_000, strict.bytes)


def test_a_line_is_custom_id_and_body() -> None:
    line = MistralCodec().envelope(CHAT)
    assert line == Envelope(before_id='{"custom_id":', before_body=',"body":', after_body="}\n")
    assert json.loads(f'{line.before_id}"a"{line.before_body}{{}}{line.after_body}') == {
        "custom_id": "a",
        "body": {},
    }


def test_the_table_of_what_mistral_does_is_whole() -> None:
    assert CAPABILITIES.facts.keys() == set(TOPICS)
    for fact in (*CAPABILITIES.facts.values(), *CAPABILITIES.caveats):
        assert fact.link.startswith("https://")
        assert fact.checked == "2026-11-21"
    assert CAPABILITIES.takes.keys() == CAPABILITIES.endpoints.keys() == SDK.keys()
    assert set(CAPABILITIES.notes) | set().union(*CAPABILITIES.takes.values()) == set(FEATURES)
