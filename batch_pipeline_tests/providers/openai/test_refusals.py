"""What OpenAI or one of its models would not take is an error before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.openai.codec import OpenAICodec
from batch_pipeline_tests.providers.openai.jobs import (
    CHAT,
    EMBEDDINGS,
    MODERATIONS,
    PROMPT,
    RESPONSES,
    TURNS,
    body,
    known_to_sdk,
    make,
)


@pytest.mark.parametrize("endpoint", [EMBEDDINGS, MODERATIONS])
@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({**PROMPT, "system": "s"}, r"request\.system"),
        ({"messages": TURNS}, r"request\.messages"),
        ({"conversation": "turns"}, r"request\.conversation"),
    ],
)
def test_an_endpoint_of_one_text_takes_no_conversation(
    endpoint: str, request_: dict[str, object], named: str
) -> None:
    with pytest.raises(SpecError, match=f"{named}.*one text: write it as request.prompt"):
        body(make(endpoint, request=request_))
    job = make(
        endpoint,
        request={**request_, "prompt": None, "messages": TURNS[:1]} | {"conversation": None},
    )
    with pytest.raises(SpecError, match="one text and no conversation"):
        OpenAICodec().body(job, job.targets[0])


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        (EMBEDDINGS, "temperature", 0.0),
        (EMBEDDINGS, "max_output_tokens", 5),
        (MODERATIONS, "reasoning_effort", "low"),
        (RESPONSES, "stop", ["x"]),
        (RESPONSES, "seed", 0),
        (CHAT, "dimensions", 5),
        (CHAT, "thinking", "adaptive"),
        (RESPONSES, "thinking_tokens", 5),
        (CHAT, "cache", "1h"),
    ],
)
def test_a_parameter_that_an_endpoint_does_not_take_is_named(
    endpoint: str,
    name: str,
    value: Any,  # noqa: ANN401 - any parameter
) -> None:
    with pytest.raises(SpecError, match=f"openai {endpoint} does not take the parameter '{name}'"):
        body(make(endpoint, request=PROMPT, **{name: value}))


def test_caching_needs_no_parameter_and_the_error_says_so() -> None:
    with pytest.raises(SpecError, match=r"by itself.*prompt_cache_options can go into `extra`"):
        body(make(cache="5m"))
    options = {"prompt_cache_options": {"ttl": "30m"}, "prompt_cache_key": "k"}
    assert known_to_sdk(make(extra=options))["prompt_cache_key"] == "k"


@pytest.mark.parametrize("name", ["stream", "stream_options", "model", "messages", "input"])
def test_an_extra_may_not_stream_or_replace_what_the_job_says(name: str) -> None:
    with pytest.raises(SpecError, match=rf"parameters\.extra\.{name} "):
        body(make(extra={name: True}))


@pytest.mark.parametrize("said", [{"temperature": 1.0}, {"top_p": 0.5}, {"extra": {"top_p": 1}}])
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_gpt_6_samples_only_when_it_does_not_reason(endpoint: str, said: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"gpt-6-mini on .* refuses '(temperature|top_p)'"):
        body(make(endpoint, model="gpt-6-mini", **said))
    assert body(make(endpoint, model="gpt-6-mini", reasoning_effort="none", **said))
    assert body(make(endpoint, model="gpt-5-mini", **said))


@pytest.mark.parametrize(
    ("model", "said", "why"),
    [
        ("o3", {"stop": ["x"]}, "refuses 'stop'"),
        ("o4-mini-2025-04-16", {"extra": {"stop": "x"}}, "refuses 'stop'"),
        ("gpt-5-nano", {"stop": list("abcde")}, "at most 4 sequences"),
        ("gpt-4o", {"temperature": 2.5}, "temperature of at most 2"),
        ("gpt-5-nano", {"reasoning_effort": "hard"}, "'hard' is not one of none, minimal"),
    ],
)
def test_what_a_model_would_refuse_row_by_row_is_refused_before(
    model: str, said: dict[str, Any], why: str
) -> None:
    with pytest.raises(SpecError, match=f"{model} on /v1/chat/completions: .*{why}"):
        body(make(model=model, **said))


def test_o3_mini_is_another_model_than_o3() -> None:
    assert body(make(model="o3-mini", stop=["x"]))


def test_an_old_embedding_has_one_length() -> None:
    with pytest.raises(SpecError, match="has one length"):
        body(make(EMBEDDINGS, model="text-embedding-ada-002", dimensions=256))
