"""What OpenAI's Batch API takes and allows, and what is known of a service of its dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from batch_pipeline.model import Fault, Limits, Problem, Remedy
from batch_pipeline.providers.capabilities import TOPICS, Capabilities, Fact
from batch_pipeline.providers.faults import Faults
from batch_pipeline.providers.openai.record import CHAT, EMBEDDINGS, MODERATIONS, RECORD, RESPONSES
from batch_pipeline.providers.services import Service

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
    provider=RECORD.name,
    title=RECORD.title,
    key_variable=RECORD.key_variable,
    endpoints=RECORD.endpoints,
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


CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
QUEUE_FULL = "token_limit_exceeded"
QUEUES = frozenset({QUEUE_FULL, "request_limit_exceeded", "enqueued_token_limit_exceeded"})
QUEUE_WORDS = r"enqueued .{0,40}limit|limit .{0,60}enqueued|once some .{0,20}batches"

FAULTS = Faults(
    account=CREDIT
    | {"invalid_api_key", "invalid_organization", "account_deactivated", "access_terminated"}
    | {"organization_restricted", "unsupported_country_region_territory", "permission_denied"}
    | {"insufficient_permissions", "permission_error", "authentication_error", "unauthorized"}
    | {"payment_required", "credit_limit_reached", "billing_error", "billing_limit_user_error"}
    | {"model_not_found", "model_not_available", "model_decommissioned", "model_terms_required"}
    | {"deploymentnotfound", "deployment_not_found", "model_permission_blocked_org"}
    | {"model_permission_blocked_project", "invalid_model", "model_access_denied"},
    provider=QUEUES
    | {"rate_limit_exceeded", "rate_limit_error", "server_error", "internal_error", "timeout"}
    | {"internal_server_error", "service_unavailable", "engine_overloaded", "overloaded_error"}
    | {"request_timeout", "capacity_exceeded", "bad_gateway", "vector_store_timeout"},
    request=frozenset({"invalid_json_line", "duplicate_custom_id", "missing_required_parameter"})
    | {"mismatched_model", "model_mismatch", "invalid_url", "url_mismatch", "invalid_method"}
    | {"empty_file", "streaming_unsupported", "too_many_requests_in_file", "invalid_prompt"}
    | {"context_length_exceeded", "content_policy_violation", "invalid_value", "invalid_type"}
    | {"unknown_parameter", "unsupported_parameter", "unsupported_value", "invalid_image"}
    | {"string_above_max_length", "invalid_function_parameters", "previous_response_not_found"}
    | {"invalid_custom_id", "cyber_policy", "image_content_policy_violation"},
    usual=frozenset({"invalid_request_error", "invalid_request", "bad_request", "badrequesterror"}),
)

_EVERY_LINE = frozenset(
    {"invalid_url", "url_mismatch", "invalid_method", "empty_file", "streaming_unsupported"}
)
"""Codes that name a line but mean every line: the job decides these things once for all rows."""
_OF_THE_JOB = frozenset({"body.model", "body.stream"})
_THE_FILE = frozenset({"file_id", "input_file_id", "input_file"})
_LOST_FILE = (
    r"(cannot|can't|could not|couldn't|unable to) (find|read|open|access|download) .{0,40}file"
)
_TOO_MANY_LINES = "too_many_requests"  # said of a file: as a row's status it would be a rate limit


def sorted_problem(
    *, code: str | None, message: str, line: int | None, param: str | None
) -> Problem:
    """A problem of a whole batch with whose fault it is, and how the batch may go again."""
    fault, remedy = _judged((code or "").lower(), message.lower(), line, param)
    of_the_job = code in _EVERY_LINE or (code == "invalid_request" and param in _OF_THE_JOB)
    every_line = of_the_job or fault in {Fault.ACCOUNT, Fault.PROVIDER}
    return Problem(code, message, line, param, fault, every_line, remedy)


def _judged(
    code: str, words: str, line: int | None, param: str | None
) -> tuple[Fault, Remedy | None]:
    if code in QUEUES or re.search(QUEUE_WORDS, words):
        return Fault.PROVIDER, Remedy.ROOM
    if line is None and (param in _THE_FILE or re.search(_LOST_FILE, words)):
        return Fault.PROVIDER, Remedy.UPLOAD  # we had uploaded it: its validator did not see it
    if code in CREDIT or "billing hard limit" in words or "exceeded your current quota" in words:
        return Fault.ACCOUNT, Remedy.CREDIT
    if code == _TOO_MANY_LINES:
        return Fault.REQUEST, None
    fault = FAULTS.of(code, words)
    if code in FAULTS.usual and fault is Fault.REQUEST and line is None and not param:
        return Fault.UNKNOWN, None  # refused without a word of what is wrong in it
    return fault, None


def line_url(endpoint: str, service: Service | None) -> str:
    """The `url` of a request line."""
    if service is None or service.azure_api_version is None or endpoint == RESPONSES:
        return endpoint
    return endpoint.removeprefix("/v1")


def batch_endpoint(endpoint: str, service: Service | None) -> str:
    """The `endpoint` that a batch is created with."""
    if service is None or service.azure_api_version is None:
        return endpoint
    return (CHAT if endpoint == RESPONSES else endpoint).removeprefix("/v1")
