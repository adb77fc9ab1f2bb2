"""The messages that Anthropic's batches answer with."""

import base64
import json
from typing import Any

import jsonschema_rs
import pytest
from anthropic import Anthropic
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.anthropic.prompts import cached_prefixes, count_prompt
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.anthropic_requests import (
    HAIKU,
    SONNET,
    TOOL,
    TRIAGE,
    Result,
    client_of,
    make_params,
    make_request,
    make_requests,
    run,
)

FORMAT = {"format": {"type": "json_schema", "schema": TRIAGE}}
LONG = " ".join(f"Rule {number}: be kind." for number in range(400))
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PDF = base64.b64encode(b"%PDF-1.7").decode()


def answered(sim: Simulator, client: Anthropic, **params: object) -> Result:
    return run(sim, client, [make_request(**params)]).message()


def kinds(message: Result) -> list[str]:
    return [block["type"] for block in message["content"]]


def cached(text: str = LONG, **control: str) -> dict[str, object]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", **control}}


def test_a_message_is_what_the_sdk_expects(shared: Simulator, shared_claude: Anthropic) -> None:
    message = answered(shared, shared_claude, system="Be brief.")
    assert Message.model_validate(message, strict=True).model_extra == {}
    assert message["model"] == "claude-haiku-4-5-20251001"
    assert message["stop_reason"] == "end_turn"
    assert message["content"][0]["text"].startswith("Simulated answer to:")
    assert message["usage"]["service_tier"] == "batch"
    assert message["usage"]["output_tokens"] == tokens.count(message["content"][0]["text"])


def test_the_same_request_gets_the_same_answer(shared: Simulator, shared_claude: Anthropic) -> None:
    first, again = (answered(shared, shared_claude, max_tokens=90) for _ in range(2))
    assert first["content"] == again["content"]
    assert first["usage"] == again["usage"]
    assert first["id"] != again["id"]


def test_a_batch_mixes_models(shared: Simulator, shared_claude: Anthropic) -> None:
    requests = [make_request("a"), make_request("b", model=SONNET)]
    results = run(shared, shared_claude, requests)
    models = {name: results.message(name)["model"] for name in results.rows}
    assert models == {"a": "claude-haiku-4-5-20251001", "b": SONNET}


def test_an_answer_satisfies_the_schema(shared: Simulator, shared_claude: Anthropic) -> None:
    message = answered(shared, shared_claude, output_config=FORMAT)
    assert kinds(message) == ["text"]
    assert jsonschema_rs.is_valid(TRIAGE, json.loads(message["content"][0]["text"]))


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "file_ticket"}])
def test_a_forced_tool_is_called_with_fitting_arguments(
    shared: Simulator, shared_claude: Anthropic, choice: object
) -> None:
    for model in (HAIKU, SONNET):
        message = answered(shared, shared_claude, model=model, tools=[TOOL], tool_choice=choice)
        (call,) = message["content"]
        assert (call["type"], call["name"]) == ("tool_use", "file_ticket")
        assert jsonschema_rs.is_valid(TRIAGE, call["input"])
        assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize("choice", [None, {"type": "auto"}, {"type": "none"}])
def test_a_tool_that_may_be_called_is_not(
    shared: Simulator, shared_claude: Anthropic, choice: object
) -> None:
    search = {"type": "web_search_20260318", "name": "web_search"}
    message = answered(shared, shared_claude, tools=[TOOL, search], tool_choice=choice)
    assert kinds(message) == ["text"]
    assert message["stop_reason"] == "end_turn"


def test_a_server_tool_that_must_be_called_is_answered_with_text(
    shared: Simulator, shared_claude: Anthropic
) -> None:
    search = {"type": "web_search_20260318", "name": "web_search"}
    message = answered(shared, shared_claude, tools=[search], tool_choice={"type": "any"})
    assert kinds(message) == ["text"]


def test_a_conversation_with_tools_pictures_and_papers_is_understood(
    shared: Simulator, shared_claude: Anthropic
) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "file_ticket", "input": {"a": 1}}
    done = {"type": "tool_result", "tool_use_id": "toolu_1"}
    sources: list[dict[str, object]] = [
        {"type": "url", "url": "https://example.com/a"},
        {"type": "file", "file_id": "file_1"},
    ]
    images = [*sources, {"type": "base64", "media_type": "image/png", "data": PNG}]
    papers = [
        *sources,
        {"type": "base64", "media_type": "application/pdf", "data": PDF},
        {"type": "text", "media_type": "text/plain", "data": "The hinge is weak."},
    ]
    blocks = [
        *({"type": "image", "source": source} for source in images),
        *({"type": "document", "source": source} for source in papers),
        {"type": "text", "text": "What broke?"},
    ]
    messages = [
        {"role": "user", "content": blocks},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{**done, "content": [{"type": "text", "text": "Filed."}]}]},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Thanks for the ticket."}]},
    ]
    message = answered(shared, shared_claude, tools=[TOOL], messages=messages)
    assert "Thanks for the ticket." in message["content"][0]["text"]
    assert message["usage"]["input_tokens"] > 9_000


def test_prefill_is_taken_by_models_that_know_it(
    shared: Simulator, shared_claude: Anthropic
) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "{"}]
    assert kinds(answered(shared, shared_claude, messages=turns)) == ["text"]


def test_an_answer_is_cut_at_its_limit(shared: Simulator, shared_claude: Anthropic) -> None:
    message = answered(shared, shared_claude, max_tokens=3)
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 3


def test_a_call_that_is_cut_has_no_arguments(shared: Simulator, shared_claude: Anthropic) -> None:
    choice = {"type": "any"}
    message = answered(shared, shared_claude, max_tokens=3, tools=[TOOL], tool_choice=choice)
    assert message["content"][0]["input"] == {}
    assert message["stop_reason"] == "max_tokens"


def test_a_stop_sequence_ends_the_answer(shared: Simulator, shared_claude: Anthropic) -> None:
    message = answered(shared, shared_claude, stop_sequences=["never", " to:"])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", " to:")
    assert message["content"][0]["text"] == "Simulated answer"


def test_new_models_think_unasked_and_keep_it_to_themselves(
    shared: Simulator, shared_claude: Anthropic
) -> None:
    message = answered(shared, shared_claude, model=SONNET)
    assert kinds(message) == ["thinking", "text"]
    assert message["content"][0]["thinking"] == ""
    assert message["content"][0]["signature"]
    usage = message["usage"]
    thought = usage["output_tokens_details"]["thinking_tokens"]
    assert 0 < thought < usage["output_tokens"]


@pytest.mark.parametrize(
    ("params", "thoughts"),
    [
        ({"model": HAIKU}, None),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
            "Simulated thoughts about the request.",
        ),
        ({"model": SONNET, "thinking": {"type": "disabled"}}, None),
        ({"model": "claude-opus-4-8"}, None),
        ({"model": "claude-opus-4-8", "thinking": {"type": "adaptive"}}, ""),
        (
            {"model": SONNET, "thinking": {"type": "adaptive", "display": "summarized"}},
            "Simulated thoughts about the request.",
        ),
        ({"model": SONNET, "output_config": {"effort": "low"}}, ""),
    ],
)
def test_thinking_depends_on_the_model_and_the_wish(
    shared: Simulator, shared_claude: Anthropic, params: dict[str, Any], thoughts: str | None
) -> None:
    message = answered(shared, shared_claude, **params)
    shown = [block["thinking"] for block in message["content"] if block["type"] == "thinking"]
    assert shown == ([] if thoughts is None else [thoughts])


def test_all_tokens_may_be_spent_on_thinking(shared: Simulator, shared_claude: Anthropic) -> None:
    message = answered(shared, shared_claude, model=SONNET, max_tokens=20)
    assert kinds(message) == ["thinking"]
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens_details"] == {"thinking_tokens": 20}


def test_the_first_row_writes_a_shared_prefix_and_the_others_read_it(
    shared: Simulator, shared_claude: Anthropic
) -> None:
    requests = make_requests(5, system=[cached(ttl="1h")])
    results = run(shared, shared_claude, requests)
    usages = {name: results.message(name)["usage"] for name in results.rows}
    first = usages.pop("row-1")
    size = first["cache_creation_input_tokens"]
    assert size == tokens.count(LONG)
    assert first["cache_creation"] == {
        "ephemeral_5m_input_tokens": 0,
        "ephemeral_1h_input_tokens": size,
    }
    for usage in usages.values():
        assert usage["cache_read_input_tokens"] == size
        assert usage["cache_creation_input_tokens"] == 0
        assert usage["input_tokens"] == first["input_tokens"]


def test_a_longer_prefix_reads_the_shorter_one_and_writes_the_rest(
    shared: Simulator, shared_claude: Anthropic
) -> None:
    more = " ".join(f"Case {number}." for number in range(400))
    requests = [
        make_request("short", system=[cached()]),
        make_request("long", system=[cached(), cached(more)]),
        make_request("other", system=[cached()], model=SONNET),
    ]
    results = run(shared, shared_claude, requests)
    usages = {name: results.message(name)["usage"] for name in results.rows}
    size = usages["short"]["cache_creation"]["ephemeral_5m_input_tokens"]
    assert usages["long"]["cache_read_input_tokens"] == size
    assert usages["long"]["cache_creation_input_tokens"] == tokens.count(more)
    assert usages["other"]["cache_creation_input_tokens"] == size


def test_a_short_prefix_is_not_cached_unless_the_limit_is_lowered() -> None:
    requests = make_requests(2, system=[cached("Be kind.")])
    for least, hits in ((1_024, 0), (1, 1)):
        limits = Limits(anthropic_cache_min_tokens=least)
        with Simulator(speed=0, limits=limits) as sim, client_of(sim) as client:
            results = run(sim, client, requests)
            read = [
                results.message(name)["usage"]["cache_read_input_tokens"] for name in results.rows
            ]
            assert sum(map(bool, read)) == hits


def test_cache_control_on_the_whole_request_marks_its_last_block() -> None:
    params = make_params(LONG, cache_control={"type": "ephemeral"})
    assert len(cached_prefixes(params)) == 1
    assert count_prompt(params, hits=0, least=1).written_5m >= tokens.count(LONG)
    assert count_prompt(params, hits=1, least=1).read >= tokens.count(LONG)


blocks = st.lists(
    st.tuples(st.text("ab ", min_size=1, max_size=30), st.sampled_from([None, "5m", "1h"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(blocks=blocks, hits=st.integers(0, 6), least=st.integers(0, 30))
def test_whatever_is_cached_the_input_adds_up_to_the_same(
    blocks: list[tuple[str, str | None]], hits: int, least: int
) -> None:
    def system(*, marked: bool) -> list[dict[str, object]]:
        return [
            {"type": "text", "text": text}
            | ({"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl and marked else {})
            for text, ttl in blocks
        ]

    plain = count_prompt(make_params(system=system(marked=False)), hits=0, least=0)
    split = count_prompt(make_params(system=system(marked=True)), hits=hits, least=least)
    assert split.total == plain.total == plain.uncached
    assert min(split.uncached, split.read, split.written_5m, split.written_1h) >= 0
