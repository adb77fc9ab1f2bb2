"""What Anthropic's Message Batches take and allow, each with where it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Limits
from batch_pipeline.providers.anthropic.record import MESSAGES, RECORD
from batch_pipeline.providers.capabilities import Capabilities, Fact
from batch_pipeline.providers.faults import Faults
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


_CHECKED = "2026-11-21"
_DOCS = "https://platform.claude.com/docs/en"
_BATCHES = f"{_DOCS}/build-with-claude/batch-processing"
RESULT_DAYS = 29
"""How long after its creation a batch's results are kept."""
_REQUESTS, _BYTES = 100_000, 256_000_000


def _fact(says: str, link: str = _BATCHES) -> Fact:
    return Fact(says, link, _CHECKED)


CAPABILITIES = Capabilities(
    provider=RECORD.name,
    title=RECORD.title,
    key_variable=RECORD.key_variable,
    endpoints=RECORD.endpoints,
    # "256 MB" may be binary: we take the smaller reading and stay 5 % below it
    limits=MappingProxyType({MESSAGES: Limits(requests=_REQUESTS, bytes=_BYTES * 95 // 100)}),
    takes=MappingProxyType(
        {
            MESSAGES: frozenset(
                {"system", "messages", "conversation", "image_url", "image_data"}
                | {"pdf_url", "pdf_data", "tools", "output_schema", "betas", "api_version"}
                | {"max_output_tokens", "temperature", "top_p", "stop", "reasoning_effort"}
                | {"thinking", "thinking_tokens", "cache"}
            )
        }
    ),
    facts=MappingProxyType(
        {
            "limits": _fact("100,000 requests or 256 MB in the body of one create."),
            "models": _fact("A batch may mix models; a shard of ours holds one."),
            "window": _fact("24 hours, fixed; what has not run by then is expired and not billed."),
            "statuses": _fact("in_progress, canceling, ended; what became of a row is in its line"),
            "validation": _fact(
                "At the create: the envelope and custom_ids, the whole batch. Later: each "
                "request's params, as an errored row that is not billed."
            ),
            "cancel": _fact("Yes; finished rows stay and are billed, the others are canceled."),
            "list": _fact("Yes, newest first, of the key's workspace."),
            "delete": _fact("Batches with their results, once ended; there are no files."),
            "retention": _fact("Results for 29 days after the batch was created, then archived."),
            "discount": _fact(
                "50 % of every kind of token; cache multipliers apply to the halved price.",
                f"{_DOCS}/about-claude/pricing",
            ),
            "rate_limits": _fact(
                "Calls per minute, and requests in the organization's batch queue, by tier.",
                f"{_DOCS}/api/rate-limits",
            ),
            "recovery": _fact(
                "Batches carry no metadata. One in doubt is looked for by time and number of "
                "requests, and is certain with the first line of its results."
            ),
        }
    ),
    caveats=(
        _fact(
            f"max_tokens is required: {DEFAULT_MAX_TOKENS} where max_output_tokens is not said. "
            "Thinking counts against it.",
            f"{_DOCS}/api/messages",
        ),
        _fact(
            f"API version {API_VERSION} has no temperature, top_p and top_k. A target with "
            f"`api_version: {SAMPLING_VERSION!r}` has them, on Claude 4.6 and before.",
            f"{_DOCS}/api/versioning",
        ),
        _fact("request_counts are trusted only once a batch has ended."),
        _fact(
            "A 5-minute cache is often gone before a batch gets to the next request: use 1h. "
            "Hits are best effort, and prefixes below a model's minimum are not cached.",
            f"{_DOCS}/build-with-claude/prompt-caching",
        ),
        _fact(
            "Bounds of a schema (minimum, maxLength, pattern and the like) go into descriptions: "
            "the model is told of them, the answer is checked against them here.",
            f"{_DOCS}/build-with-claude/structured-outputs",
        ),
        _fact("An answer that paused (pause_turn, server tools) counts as truncated: it is paid."),
        _fact("Not eligible for zero data retention; may slightly exceed the spend limit."),
    ),
    notes=MappingProxyType(
        {
            "seed": "There is none; take it out.",
            "dimensions": "Anthropic has no embeddings: choose another provider for them.",
            "timeout_hours": "The window is 24 hours, always: take it out.",
        }
    ),
)


CREDIT = frozenset(
    {"billing_error", "enforced_spend_limit_reached", "contract_spend_limit_reached"}
    | {"organization_on_hold", "linked_organization_spend_limit_reached"}
    | {"linked_organization_billing_unavailable", "workspace_spend_limit_reached"}
)
FAULTS = Faults(
    account=CREDIT | {"authentication_error", "permission_error", "not_found_error"},
    provider=frozenset({"rate_limit_error", "api_error", "overloaded_error", "timeout_error"})
    | {"ramp_limit_exceeded"},
    request=frozenset({"request_too_large", "request_body_too_large_after_decoding"}),
    usual=frozenset({"invalid_request_error"}),
)
