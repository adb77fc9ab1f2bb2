"""What a Claude model takes, by its name: what it refuses is an error at load, not a failed row.

Rules go by version, so that a model newer than this file is read as its elders: they have only
ever come to refuse more. A name without a version is left to the provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from batch_pipeline.errors import SpecError
from batch_pipeline.request import Parameters
from batch_pipeline.spec import BatchJob, Target

API_VERSION = "2026-10-21"
"""The anthropic-version that bodies are written for, whatever the installed SDK sends by itself."""
SAMPLING_VERSION = "2023-06-01"
"""The last anthropic-version that has temperature, top_p and top_k."""
DEFAULT_MAX_TOKENS = 4096
"""The API wants a cap on every request: this one when the job says none."""

_NAME = re.compile(
    r"claude-(?:(?P<family>[a-z]+)-)?(?P<major>\d{1,2})(?:[-.](?P<minor>\d{1,2}))?(?!\d)"
)
_SAMPLING = ("temperature", "top_p", "top_k")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LEAST_BUDGET = 1024
_ALWAYS_THINKS = {"fable": (0, 0), "mythos": (0, 0), "opus": (5, 5), "sonnet": (5, 5)}
_NO_FORCED_TOOL = {"fable": (5, 1), "mythos": (5, 1)}
_Objection: TypeAlias = tuple[str, str]
"""What is refused, and what to do instead."""


@dataclass(frozen=True, slots=True)
class _Model:
    family: str
    version: tuple[int, int]

    @property
    def always_thinks(self) -> bool:
        return self.version >= _ALWAYS_THINKS.get(self.family, (99, 0))

    @property
    def efforts(self) -> tuple[str, ...]:
        if self.version >= (4, 7):
            return _EFFORTS
        if self.version == (4, 6):
            return ("low", "medium", "high", "max")
        return ("low", "medium", "high") if (self.family, self.version) == ("opus", (4, 5)) else ()


def check_model(job: BatchJob, target: Target) -> None:
    """SpecError for the first thing that the model or the API version would answer 400 to."""
    model, said = _model(target.model), job.parameters(target)
    forced = job.request.tool_choice not in {None, "auto", "none"}
    for rules in (
        _sampling(target, said, model),
        _thinking(said, model),
        _effort(said, model),
        _forced_tool(said, model) if forced else (),
        _turns(job, model),
        _native(said),
    ):
        for refused, instead in rules:
            raise SpecError(f"{job.name}: {target.model} does not take {refused}. {instead}")


def _model(name: str) -> _Model | None:
    if "claude-mythos-preview" in name:  # the one without a number; it came with 4.7's rules
        return _Model("mythos", (4, 7))
    found = _NAME.search(name)
    if found is None:
        return None
    return _Model(found["family"] or "", (int(found["major"]), int(found["minor"] or 0)))


def _sampling(target: Target, said: Parameters, model: _Model | None) -> Iterator[_Objection]:
    given = [
        name for name in _SAMPLING if name in said.extra or getattr(said, name, None) is not None
    ]
    for name in given:
        if model is not None and model.version >= (4, 7):
            yield (f"{name!r}, in any API version", "Take it out, and say it in the prompt.")
        elif target.api_version != SAMPLING_VERSION:
            yield (
                f"{name!r} in API version {API_VERSION}, not even at its default",
                f"Take it out, or set `api_version: {SAMPLING_VERSION!r}` on the target.",
            )
        elif said.thinking == "adaptive" or said.thinking_tokens is not None:
            yield (f"{name!r} while it thinks", "Keep one of the two.")
    if {"temperature", "top_p"} <= set(given):
        yield ("both 'temperature' and 'top_p'", "Keep one of them.")
    if said.temperature is not None and said.temperature > 1:
        yield (f"temperature {said.temperature}", "It goes from 0 to 1.")


def _thinking(said: Parameters, model: _Model | None) -> Iterator[_Objection]:
    budget, cap = said.thinking_tokens, said.max_output_tokens or DEFAULT_MAX_TOKENS
    if budget is not None and said.thinking is not None:
        yield ("'thinking' and 'thinking_tokens' together", "Keep one of them.")
    if budget is not None and not _LEAST_BUDGET <= budget < cap:
        yield (
            f"thinking_tokens {budget} with max_output_tokens {cap}",
            f"It is part of the output: {_LEAST_BUDGET} or more, and below max_output_tokens.",
        )
    if model is None:
        return
    if budget is not None and model.version >= (4, 7):
        yield ("'thinking_tokens'", "Use `thinking: adaptive` with reasoning_effort.")
    if said.thinking == "adaptive" and model.version < (4, 6):
        yield ("`thinking: adaptive`", "Use thinking_tokens, or a model from 4.6 on.")
    if said.thinking != "off":
        return
    if model.always_thinks:
        yield ("`thinking: off`", "Take it out and lower reasoning_effort.")
    if said.reasoning_effort in {"xhigh", "max"} and model.version >= (5, 0):
        yield (f"`thinking: off` at effort {said.reasoning_effort!r}", "Lower reasoning_effort.")


def _effort(said: Parameters, model: _Model | None) -> Iterator[_Objection]:
    taken = _EFFORTS if model is None else model.efforts
    if said.reasoning_effort is not None and said.reasoning_effort not in taken:
        instead = f"It takes {', '.join(taken)}." if taken else "Take it out."
        yield (f"reasoning_effort {said.reasoning_effort!r}", instead)


def _forced_tool(said: Parameters, model: _Model | None) -> Iterator[_Objection]:
    """Models from 5.5 on think unasked, and nothing that thinks may be forced to call."""
    thinks = said.thinking == "adaptive" or said.thinking_tokens is not None
    if model is not None and said.thinking != "off":
        thinks = thinks or model.version >= _NO_FORCED_TOOL.get(model.family, (5, 5))
    if thinks:
        yield (
            "a tool_choice that forces a call while it thinks",
            "Use `tool_choice: auto` and ask for the call in the prompt, or output_schema.",
        )


def _turns(job: BatchJob, model: _Model | None) -> Iterator[_Objection]:
    turns = job.request.messages
    if turns and turns[-1].role == "assistant" and model is not None and model.version >= (4, 6):
        yield ("a last turn of the assistant", "End with a turn of the user; use output_schema.")


def _native(said: Parameters) -> Iterator[_Objection]:
    if said.extra.get("speed") == "fast":
        yield ("extra.speed 'fast' in a batch", "Take it out.")
    if "max_tokens" in said.extra:
        yield ("extra.max_tokens", "Say parameters.max_output_tokens instead.")
