"""What Anthropic's Message Batches take and allow, each with where it is written."""

from __future__ import annotations

from types import MappingProxyType

from batch_pipeline.model import Limits
from batch_pipeline.providers.anthropic_models import (
    API_VERSION,
    DEFAULT_MAX_TOKENS,
    SAMPLING_VERSION,
)
from batch_pipeline.providers.capabilities import Capabilities, Fact

MESSAGES = "/v1/messages"
_CHECKED = "2026-11-21"
_DOCS = "https://platform.claude.com/docs/en"
_BATCHES = f"{_DOCS}/build-with-claude/batch-processing"
RESULT_DAYS = 29
"""How long after its creation a batch's results are kept."""
_REQUESTS, _BYTES = 100_000, 256_000_000


def _fact(says: str, link: str = _BATCHES) -> Fact:
    return Fact(says, link, _CHECKED)


CAPABILITIES = Capabilities(
    provider="anthropic",
    title="Anthropic",
    key_variable="ANTHROPIC_API_KEY",
    endpoints=MappingProxyType({MESSAGES: "chat, vision, PDFs, tools, structured output"}),
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
