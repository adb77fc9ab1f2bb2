"""What a model or an API version refuses is refused at load, with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.anthropic.codec import AnthropicCodec
from batch_pipeline.providers.capabilities import check_taken
from batch_pipeline_tests.providers.anthropic.jobs import (
    LABEL,
    LOOK_UP,
    known_to_sdk,
    make,
    refusal,
)

OLDER = {"api_version": "2023-06-01"}


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_sampling_is_refused_with_the_version_that_takes_it(name: str) -> None:
    given: dict[str, Any] = {name: 1}
    said = refusal(make(**given))
    assert name in said
    assert "2026-10-21" in said
    assert "`api_version: '2023-06-01'`" in said
    assert known_to_sdk(make(target=OLDER, **given))[name] == 1


def test_sampling_in_extra_is_sampling() -> None:
    assert "'top_k'" in refusal(make(extra={"top_k": 5}))
    assert known_to_sdk(make(target=OLDER, extra={"top_k": 5}))["top_k"] == 5


@pytest.mark.parametrize(
    "model", ["claude-opus-4-7", "claude-sonnet-5", "claude-mythos-preview", "claude-haiku-9"]
)
def test_newer_models_take_no_sampling_in_any_version(model: str) -> None:
    assert "in any API version" in refusal(make(model=model, target=OLDER, temperature=0.5))


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"temperature": 0.5, "top_p": 0.5}, "both"),
        ({"temperature": 1.5}, "0 to 1"),
        ({"temperature": 0.5, "thinking": "adaptive"}, "while it thinks"),
        ({"top_p": 0.5, "thinking_tokens": 2000}, "while it thinks"),
    ],
)
def test_sampling_that_the_older_version_refuses_is_refused(
    parameters: dict[str, Any], why: str
) -> None:
    assert why in refusal(make(target=OLDER, **parameters))


@pytest.mark.parametrize(
    ("model", "parameters", "native"),
    [
        ("claude-opus-4-6", {"thinking": "adaptive"}, {"type": "adaptive"}),
        ("claude-opus-5-5", {"thinking": "adaptive"}, {"type": "adaptive"}),
        ("claude-opus-5", {"thinking": "off"}, {"type": "disabled"}),
        (
            "claude-haiku-4-5-20251001",
            {"thinking_tokens": 2000},
            {"type": "enabled", "budget_tokens": 2000},
        ),
        ("claude-x", {"thinking": "adaptive"}, {"type": "adaptive"}),
    ],
)
def test_thinking_is_said_as_the_model_knows_it(
    model: str, parameters: dict[str, Any], native: dict[str, object]
) -> None:
    assert known_to_sdk(make(model=model, **parameters))["thinking"] == native


@pytest.mark.parametrize(
    ("model", "parameters", "why"),
    [
        ("claude-sonnet-4-5", {"thinking": "adaptive"}, "thinking_tokens"),
        ("claude-3-7-sonnet-20250219", {"thinking": "adaptive"}, "thinking_tokens"),
        ("claude-opus-4-20250514", {"thinking": "adaptive"}, "thinking_tokens"),
        ("claude-opus-4-7", {"thinking_tokens": 2000}, "`thinking: adaptive`"),
        ("claude-mythos-preview", {"thinking_tokens": 2000}, "`thinking: adaptive`"),
        ("claude-opus-5-5", {"thinking": "off"}, "lower reasoning_effort"),
        ("claude-fable-5", {"thinking": "off"}, "lower reasoning_effort"),
        ("claude-opus-5", {"thinking": "off", "reasoning_effort": "max"}, "Lower"),
        ("claude-haiku-4-5", {"thinking_tokens": 1000}, "1024 or more"),
        ("claude-haiku-4-5", {"thinking_tokens": 4096}, "below max_output_tokens"),
        ("claude-x", {"thinking_tokens": 2000, "thinking": "adaptive"}, "together"),
    ],
)
def test_thinking_that_the_model_answers_400_to_is_refused(
    model: str, parameters: dict[str, Any], why: str
) -> None:
    assert why in refusal(make(model=model, **parameters))


@pytest.mark.parametrize(
    ("model", "effort", "taken"),
    [
        ("claude-opus-4-5", "high", True),
        ("claude-opus-4-5", "max", False),
        ("claude-sonnet-4-5", "low", False),
        ("claude-sonnet-4-6", "max", True),
        ("claude-sonnet-4-6", "xhigh", False),
        ("claude-opus-4-7", "xhigh", True),
        ("claude-x", "minimal", False),
    ],
)
def test_an_effort_is_one_that_the_model_knows(model: str, effort: str, *, taken: bool) -> None:
    job = make(model=model, reasoning_effort=effort)
    if taken:
        assert known_to_sdk(job)["output_config"] == {"effort": effort}
    else:
        assert f"reasoning_effort {effort!r}" in refusal(job)


@pytest.mark.parametrize("name", ["seed", "dimensions"])
def test_what_anthropic_has_not_is_refused_by_name(name: str) -> None:
    given: dict[str, Any] = {name: 7}
    job = make(**given)
    with pytest.raises(SpecError, match=name):
        check_taken(job, job.targets[0], AnthropicCodec.capabilities)


def test_everything_neutral_that_there_is_a_body_for_is_taken() -> None:
    job = make(
        {
            "system": "s",
            "messages": [{"role": "user", "content": "u"}],
            "images": [{"url": "a"}, {"data": "b"}],
            "documents": [{"url": "a"}, {"data": "b"}],
            "tools": [LOOK_UP],
            "output_schema": LABEL,
        },
        target={"betas": ["a"], "api_version": "2023-06-01"},
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.5,
        stop=["a"],
        reasoning_effort="low",
        thinking="off",
        thinking_tokens=9,
        cache="1h",
    )
    check_taken(job, job.targets[0], AnthropicCodec.capabilities)


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"stream": True}, "do not stream"),
        ({"model": "x"}, "target.model"),
        ({"system": "x"}, "request"),
        ({"speed": "fast"}, "speed"),
        ({"max_tokens": 0}, "max_output_tokens"),
    ],
)
def test_extra_cannot_say_what_a_batch_or_the_job_says(extra: dict[str, Any], why: str) -> None:
    assert why in refusal(make(extra=extra))


def test_extra_is_merged_last_and_objects_by_key() -> None:
    job = make(reasoning_effort="low", extra={"output_config": {"effort": "high"}})
    assert known_to_sdk(job)["output_config"] == {"effort": "high"}
    job = make(extra={"thinking": {"type": "between_tools"}}, model="claude-sonnet-5-5")
    assert known_to_sdk(job)["thinking"] == {"type": "between_tools"}
