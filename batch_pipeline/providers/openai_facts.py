"""What OpenAI's Batch API takes and allows, and what is known of a service of its dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from batch_pipeline.model import Limits
from batch_pipeline.providers.capabilities import TOPICS, Capabilities, Fact
from batch_pipeline.providers.services import Service

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
EMBEDDINGS, MODERATIONS = "/v1/embeddings", "/v1/moderations"
_CHECKED = "2026-11-21"
_DOCS = "https://developers.openai.com/api/docs/guides"
_API = "https://developers.openai.com/api/reference/resources"
_BATCH = f"{_DOCS}/batch"

LIMITS = Limits(requests=50_000, bytes=190_000_000)
"""50,000 lines. "200 MB" may mean 200,000,000 or 209,715,200 bytes: we take the smaller, and stay
5 % below it because an upload that is found too large costs its whole transfer."""
RESULT_DAYS = 30
"""How long result files are kept, from when they were made."""
_LARGER = Limits(requests=50_000, bytes=199_229_440)  # 5 % below the larger reading

_ASKED = frozenset({"system", "messages", "conversation", "image_url", "image_data", "pdf_data"})
_ANSWERED = frozenset({"tools", "output_schema", "max_output_tokens", "temperature", "top_p"})
_REASONED = frozenset({"reasoning_effort"})
_TAKES: Mapping[str, frozenset[str]] = {
    CHAT: _ASKED | _ANSWERED | _REASONED | {"stop", "seed"},
    RESPONSES: _ASKED | _ANSWERED | _REASONED | {"pdf_url"},
    EMBEDDINGS: frozenset({"dimensions"}),
    MODERATIONS: frozenset({"image_url", "image_data"}),
}
_TEXT_ALONE = "Embeddings and moderations take one text: write it as request.prompt."
_NOTES = {
    "system": _TEXT_ALONE,
    "messages": _TEXT_ALONE,
    "conversation": _TEXT_ALONE,
    "pdf_url": f"Use {RESPONSES}, or a column with the document's data.",
    "stop": f"Only {CHAT} has it.",
    "seed": f"Only {CHAT} has it.",
    "dimensions": f"It is the length of an embedding: only {EMBEDDINGS} has it.",
    "thinking": "Say reasoning_effort instead (`none` where the model can).",
    "thinking_tokens": "Say reasoning_effort instead; max_output_tokens includes the reasoning.",
    "cache": "OpenAI caches long common beginnings by itself: let what all "
    "rows share come first. prompt_cache_key and prompt_cache_options can go into `extra`.",
    "betas": "OpenAI's batches have no beta flags: new parameters go into `extra`.",
    "timeout_hours": "OpenAI's window is always 24 hours.",
    "api_version": "Azure OpenAI's is said as azure_api_version of the service.",
}


def _fact(says: str, link: str = _BATCH) -> Fact:
    return Fact(says=says, link=link, checked=_CHECKED)


_FACTS = {
    "limits": _fact(
        "50,000 requests and 200 MB a file; embeddings 50,000 inputs in a batch, and a request "
        "of ours is one input. Prompt tokens that wait are limited per model.",
        f"{_BATCH}#rate-limits",
    ),
    "models": _fact(
        "One model a batch. Some models can be called live but not in a batch: send a small "
        "shard first.",
    ),
    "window": _fact("24 hours, no other.", f"{_API}/batches/methods/create"),
    "statuses": _fact(
        "validating, in_progress, finalizing, completed, failed, expired, cancelling, cancelled. "
        "Completed may still mean that every row failed.",
        f"{_BATCH}#4-check-the-status-of-a-batch",
    ),
    "validation": _fact(
        "After the create: a bad line makes the whole batch `failed`, with line numbers, and "
        "nothing is run or billed. Bad parameters fail row by row.",
    ),
    "cancel": _fact(
        "Up to 10 minutes in `cancelling`; finished rows are kept and billed.",
        f"{_API}/batches/methods/cancel",
    ),
    "list": _fact(
        "Newest first, 100 a page; not filtered by metadata.", f"{_API}/batches/methods/list"
    ),
    "delete": _fact("Files can be deleted, batches cannot.", f"{_API}/files/methods/delete"),
    "retention": _fact(
        "Input and result files are kept for 30 days.", f"{_API}/files/methods/create"
    ),
    "discount": _fact("50 % off input and output tokens.", _BATCH),
    "rate_limits": _fact(
        "Apart from live calls: 2,000 batches an hour, and waiting prompt tokens per model.",
        f"{_BATCH}#rate-limits",
    ),
    "recovery": _fact(
        "A batch carries metadata: ours is found by its intent after a create without an answer.",
        f"{_API}/batches/methods/create",
    ),
}
_CAVEATS = (
    _fact("The discount on cached input differs by model; older ones give none in a batch."),
    _fact("Finished rows of an expired batch are billed; the others go again."),
    _fact("A cancelled batch may lose rows that had finished: their cost is unknown."),
    _fact("A completed batch may name its result files a little later."),
    _fact("A cancelled batch may deliver rows some 25 minutes after its end."),
    _fact("Uploads below 200 MB were refused for their size: such a shard is cut in two."),
    _fact("A batch is seen only by the key's own project: another key gets 404."),
    _fact("GPT-6 refuses temperature and top_p while it reasons.", f"{_DOCS}/reasoning"),
    _fact("o3 and o4-mini refuse `stop`.", f"{_API}/chat/subresources/completions/methods/create"),
)

CAPABILITIES = Capabilities(
    provider="openai",
    title="OpenAI",
    key_variable="OPENAI_API_KEY",
    endpoints={
        CHAT: "chat completions: text, images, PDFs as data, tools, structured output",
        RESPONSES: "responses: as chat, and PDFs by URL",
        EMBEDDINGS: "a vector of one text",
        MODERATIONS: "whether a text or an image may harm",
    },
    limits=dict.fromkeys(_TAKES, LIMITS),
    takes=_TAKES,
    facts=_FACTS,
    caveats=_CAVEATS,
    disputed=dict.fromkeys(_TAKES, _LARGER),
    notes=_NOTES,
)


def of_service(service: Service) -> Capabilities:
    """What the services file says of *service*; nothing of OpenAI's own conditions holds for it."""
    endpoints = service.endpoints or list(_TAKES)
    limits = service.limits
    unknown = _of(service, "Nothing is known here: see the service's own documents.")
    said = {
        "limits": _of(
            service,
            f"{limits.requests:,} requests and {service.max_bytes:,} bytes a file, as the "
            "services file says.",
        ),
        "recovery": _of(
            service,
            "A batch is found again by its metadata; if the service keeps none, a create without "
            "an answer stays in doubt until a person decides.",
        ),
    }
    return replace(
        CAPABILITIES,
        title=urlsplit(service.base_url).hostname or service.base_url,
        key_variable=service.key_variable,
        endpoints={name: CAPABILITIES.endpoints[name] for name in endpoints},
        limits=dict.fromkeys(endpoints, limits),
        takes={name: _TAKES[name] for name in endpoints},
        facts=dict.fromkeys(TOPICS, unknown) | said,
        disputed={},
        caveats=(
            _of(service, "The words are OpenAI's; which of them it takes, the service decides."),
        ),
    )


def _of(service: Service, says: str) -> Fact:
    return Fact(says=says, link=service.base_url, checked="")
