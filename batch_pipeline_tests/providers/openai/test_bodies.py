from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Cell, Form, Limits
from batch_pipeline.providers.capabilities import FEATURES, TOPICS
from batch_pipeline.providers.openai.codec import OpenAICodec
from batch_pipeline.providers.openai.facts import CAPABILITIES
from batch_pipeline.providers.openai.record import RECORD
from batch_pipeline.providers.protocol import Codec
from batch_pipeline_tests.providers.openai.jobs import (
    CHAT,
    EMBEDDINGS,
    EXAMPLES,
    LABEL,
    LOOK_UP,
    MODERATIONS,
    NOTE,
    PROMPT,
    RESPONSES,
    STRICT_LABEL,
    TURNS,
    body,
    known_to_sdk,
    make,
)

# --- the whole of a body -----------------------------------------------------------------------


def test_a_chat_body_has_everything_in_a_fixed_order() -> None:
    job = make(
        request={
            **PROMPT,
            "system": "Be brief.",
            "output_schema": LABEL,
            "tools": [LOOK_UP, NOTE],
            "tool_choice": "auto",
        },
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        stop=["END"],
        seed=7,
        reasoning_effort="low",
        extra={"verbosity": "low", "metadata": {"a": "b"}},
    )
    found = known_to_sdk(job)
    shape = {"name": "label_mail", "strict": True, "schema": STRICT_LABEL}
    nothing = {"type": "object", "properties": {}}
    tools = [
        {"type": "function", "function": {**LOOK_UP, "parameters": STRICT_LABEL}},
        {"type": "function", "function": {"name": "note", "parameters": nothing}},
    ]
    assert json.dumps(found) == json.dumps(
        {
            "model": "gpt-5-nano",
            "messages": [
                {"role": "system", "content": "<Be brief.>"},
                {"role": "user", "content": "<{{ text }}>"},
            ],
            "tools": tools,
            "tool_choice": "auto",
            "response_format": {"type": "json_schema", "json_schema": shape},
            "max_completion_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "seed": 7,
            "reasoning_effort": "low",
            "verbosity": "low",
            "metadata": {"a": "b"},
        }
    )


def test_a_responses_body_speaks_that_endpoints_words() -> None:
    job = make(
        RESPONSES,
        request={
            **PROMPT,
            "system": "Be brief.",
            "output_schema": LABEL,
            "tools": [LOOK_UP, NOTE],
            "tool_choice": "required",
        },
        max_output_tokens=100,
        temperature=0.5,
        top_p=0.9,
        reasoning_effort="low",
        extra={"text": {"verbosity": "low"}, "store": False},
    )
    shape = {"name": "label_mail", "strict": True, "schema": STRICT_LABEL}
    nothing = {"type": "object", "properties": {}}
    assert json.dumps(known_to_sdk(job)) == json.dumps(
        {
            "model": "gpt-5-nano",
            "instructions": "<Be brief.>",
            "input": [{"role": "user", "content": "<{{ text }}>"}],
            "tools": [
                {"type": "function", **LOOK_UP, "parameters": STRICT_LABEL},
                {"type": "function", "name": "note", "parameters": nothing, "strict": False},
            ],
            "tool_choice": "required",
            "text": {"format": {"type": "json_schema", **shape}, "verbosity": "low"},
            "max_output_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "reasoning": {"effort": "low"},
            "store": False,
        }
    )


def test_what_is_not_said_is_not_sent() -> None:
    assert known_to_sdk(make()).keys() == {"model", "messages"}
    for endpoint in (RESPONSES, EMBEDDINGS, MODERATIONS):
        assert known_to_sdk(make(endpoint)).keys() == {"model", "input"}
    assert known_to_sdk(make(temperature=0))["temperature"] == 0


# --- turns, images, documents ------------------------------------------------------------------


def test_a_conversation_keeps_its_turns() -> None:
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "{{ text }}")]
    messages = [{"role": role, "content": content} for role, content in turns]
    said = [{"role": role, "content": f"<{content}>"} for role, content in turns]
    assert known_to_sdk(make(request={"messages": messages}))["messages"] == said
    assert known_to_sdk(make(RESPONSES, request={"messages": messages}))["input"] == said


@pytest.mark.parametrize(("endpoint", "name"), [(CHAT, "messages"), (RESPONSES, "input")])
def test_a_column_of_turns_stands_in_the_list_after_the_system_prompt(
    endpoint: str, name: str
) -> None:
    job = make(endpoint, request={"system": "s", "conversation": "turns"})
    head = [{"role": "system", "content": "<s>"}] if endpoint == CHAT else []
    assert known_to_sdk(job)[name] == [*head, *TURNS]
    cells = [turn for turn in body(job)[name] if isinstance(turn, Cell)]  # type: ignore[union-attr]
    assert cells == [Cell("turns", Form.TURNS)]


ATTACHED: Mapping[str, object] = {
    "images": [{"url": "photo_url"}, {"data": "photo"}],
    "documents": [{"data": "contract"}],
}


def test_chat_takes_documents_as_data_before_the_text_and_images_after_it() -> None:
    (turn,) = known_to_sdk(make(request={**PROMPT, **ATTACHED}))["messages"]
    file = {"filename": "document-1.pdf", "file_data": EXAMPLES[Form.DATA_URL, "pdf"]}
    assert turn["content"] == [
        {"type": "file", "file": file},
        {"type": "text", "text": "<{{ text }}>"},
        {"type": "image_url", "image_url": {"url": EXAMPLES[Form.LINK, "image"]}},
        {"type": "image_url", "image_url": {"url": EXAMPLES[Form.DATA_URL, "image"]}},
    ]


def test_responses_take_documents_by_url_too() -> None:
    attached = {**ATTACHED, "documents": [{"url": "contract_url"}, {"data": "contract"}]}
    (turn,) = known_to_sdk(make(RESPONSES, request={**PROMPT, **attached}))["input"]
    data = {"filename": "document-2.pdf", "file_data": EXAMPLES[Form.DATA_URL, "pdf"]}
    links = [EXAMPLES[Form.LINK, "image"], EXAMPLES[Form.DATA_URL, "image"]]
    assert turn["content"] == [
        {"type": "input_file", "file_url": EXAMPLES[Form.LINK, "pdf"]},
        {"type": "input_file", **data},
        {"type": "input_text", "text": "<{{ text }}>"},
        *({"type": "input_image", "image_url": link, "detail": "auto"} for link in links),
    ]


@pytest.mark.parametrize(("endpoint", "name"), [(CHAT, "messages"), (RESPONSES, "input")])
def test_what_is_attached_belongs_to_the_users_last_turn(endpoint: str, name: str) -> None:
    images = {"images": [{"url": "photo_url"}]}
    turns = known_to_sdk(make(endpoint, request={"messages": TURNS, **images}))[name]
    assert [type(turn["content"]) for turn in turns] == [str, str, list]
    first = known_to_sdk(make(endpoint, request={"messages": TURNS[:2], **images}))[name]
    assert [type(turn["content"]) for turn in first] == [list, str]
    alone = known_to_sdk(make(endpoint, request={"system": "s", **images}))[name]
    assert (alone[-1]["role"], len(alone[-1]["content"])) == ("user", 1)


def test_chat_takes_no_document_by_url_and_says_what_does() -> None:
    request = {**PROMPT, "documents": [{"url": "contract_url"}]}
    with pytest.raises(SpecError, match=r"request\.documents with a url.*Use /v1/responses"):
        body(make(request=request))


# --- tools -------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["auto", "none", "required", "note"])
def test_a_tool_is_chosen_in_each_endpoints_way(choice: str) -> None:
    request = {**PROMPT, "tools": [NOTE], "tool_choice": choice}
    chat = known_to_sdk(make(request=request))["tool_choice"]
    responses = known_to_sdk(make(RESPONSES, request=request))["tool_choice"]
    if choice == "note":
        assert chat == {"type": "function", "function": {"name": "note"}}
        assert responses == {"type": "function", "name": "note"}
    else:
        assert chat == responses == choice


def test_a_tool_that_cannot_be_strict_is_named() -> None:
    tool = {**LOOK_UP, "parameters": {**LABEL, "required": []}}
    with pytest.raises(SpecError, match=r"^request\.tools\.look_up\.parameters at #/properties"):
        body(make(request={**PROMPT, "tools": [tool]}))


def test_native_tools_come_through_extra_where_the_job_names_none() -> None:
    native = {"tools": [{"type": "web_search"}]}
    assert known_to_sdk(make(RESPONSES, extra=native))["tools"] == native["tools"]
    with pytest.raises(SpecError, match=r"parameters\.extra\.tools would replace"):
        body(make(RESPONSES, request={**PROMPT, "tools": [NOTE]}, extra=native))


# --- embeddings and moderations ----------------------------------------------------------------


def test_an_embedding_takes_one_text_and_a_length() -> None:
    model = "text-embedding-3-small"
    job = make(EMBEDDINGS, model=model, dimensions=256, extra={"encoding_format": "float"})
    assert known_to_sdk(job) == {
        "model": model,
        "input": "<{{ text }}>",
        "dimensions": 256,
        "encoding_format": "float",
    }


def test_a_moderation_takes_a_text_or_pictures_with_it() -> None:
    model = "omni-moderation-latest"
    text = make(MODERATIONS, model=model)
    assert known_to_sdk(text) == {"model": model, "input": "<{{ text }}>"}
    images = make(MODERATIONS, model=model, request={**PROMPT, "images": [{"url": "photo_url"}]})
    link = {"url": EXAMPLES[Form.LINK, "image"]}
    assert known_to_sdk(images)["input"] == [
        {"type": "text", "text": "<{{ text }}>"},
        {"type": "image_url", "image_url": link},
    ]


# --- around the body ---------------------------------------------------------------------------


def test_a_line_is_an_envelope_around_id_and_body() -> None:
    envelope = OpenAICodec().envelope(EMBEDDINGS)
    line = f'{envelope.before_id}"a-1"{envelope.before_body}{{"model":"m"}}{envelope.after_body}'
    wanted = {"custom_id": "a-1", "method": "POST", "url": EMBEDDINGS, "body": {"model": "m"}}
    assert json.loads(line) == wanted
    assert line.endswith("}\n")


def test_limits_are_below_the_stricter_reading_of_200_mb() -> None:
    for endpoint in RECORD.endpoints:
        assert OpenAICodec().limits(endpoint) == Limits(50_000, 190_000_000)


def test_it_is_a_codec_without_options_of_a_batch() -> None:
    codec: Codec = OpenAICodec()
    job = make()
    assert codec.name == "openai"
    assert codec.options(job, job.targets[0]) == {}
    for endpoint in RECORD.endpoints:
        assert "SELECT" in codec.decode_sql(endpoint)


def test_every_topic_is_told_with_a_link_and_every_refusal_with_a_way_out() -> None:
    assert CAPABILITIES.facts.keys() == set(TOPICS)
    for fact in (*CAPABILITIES.facts.values(), *CAPABILITIES.caveats):
        assert fact.link.startswith("https://")
        assert fact.checked == "2026-11-21"
    everywhere = frozenset.intersection(*CAPABILITIES.takes.values())
    nowhere = set(FEATURES) - frozenset.union(*CAPABILITIES.takes.values())
    assert not everywhere
    assert nowhere <= CAPABILITIES.notes.keys()
    assert CAPABILITIES.takes.keys() == set(RECORD.endpoints) == CAPABILITIES.limits.keys()
