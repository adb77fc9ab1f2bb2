"""What Mistral's batches take and allow, where it is written, and when somebody last looked."""

from __future__ import annotations

import re
from types import MappingProxyType

from batch_pipeline.model import Fault, Limits, Problem, Remedy
from batch_pipeline.providers.capabilities import Capabilities, Fact
from batch_pipeline.providers.faults import Faults
from batch_pipeline.providers.mistral.record import CHAT, EMBEDDINGS, MODERATIONS, OCR, RECORD

USUAL_HOURS = 24
"""The window of a batch whose target says none."""
RESULT_HOURS = 24
"""How long after its end a batch's answers can be fetched, read strictly."""
HIGHEST_TEMPERATURE = 1.5
"""The upload refuses the whole file above it."""

_CHECKED = "2026-11-21"
_BATCH = "https://docs.mistral.ai/capabilities/batch"
_LIMITS = "https://docs.mistral.ai/resources/known-limitations"
_API = "https://docs.mistral.ai/api"
_CLIENT = "https://github.com/mistralai/client-python"

# "512 MB" is read as 512,000,000 bytes, and 5 % kept free: a file that is found too large costs
# its whole transfer.
_STRICT = Limits(requests=100_000, bytes=486_400_000)
_LOOSE = Limits(requests=1_000_000, bytes=486_400_000)


def _fact(says: str, link: str = _BATCH) -> Fact:
    return Fact(says=says, link=link, checked=_CHECKED)


CAPABILITIES = Capabilities(
    provider=RECORD.name,
    title=RECORD.title,
    key_variable=RECORD.key_variable,
    endpoints=RECORD.endpoints,
    limits=MappingProxyType(dict.fromkeys((CHAT, EMBEDDINGS, MODERATIONS, OCR), _STRICT)),
    disputed=MappingProxyType(dict.fromkeys((CHAT, EMBEDDINGS, MODERATIONS, OCR), _LOOSE)),
    takes=MappingProxyType(
        {
            CHAT: frozenset(
                {"system", "messages", "conversation", "image_url", "image_data", "pdf_url"}
                | {"tools", "output_schema", "max_output_tokens", "temperature", "top_p", "stop"}
                | {"seed", "reasoning_effort", "timeout_hours"}
            ),
            EMBEDDINGS: frozenset({"dimensions", "timeout_hours"}),
            MODERATIONS: frozenset({"timeout_hours"}),
            OCR: frozenset(
                {"image_url", "image_data", "pdf_url", "pdf_data", "output_schema"}
                | {"timeout_hours"}
            ),
        }
    ),
    facts=MappingProxyType(
        {
            "limits": _fact(
                "100,000 requests and 512 MB a file by the page of known limitations; the guide "
                "says 1,000,000. We keep to the smaller unless shard.max_requests says more.",
                _LIMITS,
            ),
            "models": _fact("One model a batch: the job's. A line's own model is ignored."),
            "window": _fact("timeout_hours, 1 to 167, 24 if the target says none.", _API),
            "statuses": _fact(
                "QUEUED, RUNNING, SUCCESS, FAILED, TIMEOUT_EXCEEDED, CANCELLATION_REQUESTED, "
                "CANCELLED; SUCCESS may hold failed rows, CANCELLED a whole output file.",
                _API,
            ),
            "validation": _fact(
                "The upload reads every line and refuses the whole file with the numbers of the "
                "bad ones; nothing has been billed then. What a model refuses is an error row."
            ),
            "cancel": _fact("A batch can be cancelled; finished rows are kept and billed.", _API),
            "list": _fact(
                "Newest first, by pages; its filter by metadata is not relied on.",
                _API,
            ),
            "delete": _fact("Files and batches can both be deleted.", _API),
            "retention": _fact(
                "Answers for 24 hours after the end of the batch by the page of known "
                "limitations, files 30 days; the guide names no end. Collect at once.",
                _LIMITS,
            ),
            "discount": _fact("50 % on every model."),
            "rate_limits": _fact("Batches do not count against the rate limits.", _LIMITS),
            "recovery": _fact(
                "A batch carries metadata: one that was made without an answer is found by it.",
                _API,
            ),
        }
    ),
    caveats=(
        _fact(
            "A document URL that Mistral cannot fetch may be answered anyway, with an invention, "
            "and is billed; an image URL that it cannot fetch is an error row (code 3310)."
        ),
        _fact("A custom_id that comes twice or not at all is accepted: we see to it ourselves."),
        _fact("A new batch may be unknown (404) for some seconds after its creation.", _CLIENT),
        _fact("The request count is 0 in the answer to the create; the first look fills it.", _API),
        _fact("Failed rows carry no token counts. OCR counts pages, and is priced by them.", _API),
        _fact("The time to an answer depends on the model: minutes for a small one, else hours."),
        _fact("Batches are refused with 402 until billing is set up for the workspace."),
        _fact("max_tokens beyond the model's own limit is lowered to it without a word.", _API),
    ),
    notes=MappingProxyType(
        {
            "thinking": "Use reasoning_effort: `high` thinks first, `none` does not.",
            "thinking_tokens": "Use reasoning_effort; max_output_tokens covers thinking as well.",
            "cache": "Mistral caches by itself; extra.prompt_cache_key may help it.",
            "betas": "Mistral has no beta flags.",
            "api_version": "Mistral's API has one version.",
            "dimensions": "Only embeddings have a length.",
            "pdf_data": "Chat takes documents by URL: name a url column, or read them with "
            f"{OCR} first, which takes data.",
            "output_schema": f"{CHAT} answers to a schema; {OCR} annotates the document by it "
            "(document_annotation_format), beside its text. Annotations of images are asked for by "
            "bbox_annotation_format in parameters.extra and land in the column `annotations`.",
        }
    ),
)
"""Mistral's limits in the strict reading; `disputed` has the loose one."""


FAULTS = Faults(
    account=frozenset({"invalid_model", "1500", "unauthorized", "payment_required", "forbidden"}),
    provider=frozenset({"rate_limited", "1300", "3505", "unreachable_backend", "1100", "1101"})
    | {"internal_server_error", "1000", "service_tier_capacity_exceeded", "request_timeout"},
    request=frozenset({"invalid_request_file", "3310", "content_policy_violation"}),
    usual=frozenset({"invalid_request_error", "invalid_request"}),
)
PENDING = r"exceed.{0,80}pending|pending.{0,80}(exceed|limit)"
"""How a full queue is said."""
_HTTP = re.compile(r"status code: (\d{3})")
_LOST_FILE = r"file\b.{0,80}(not found|could not be (found|read)|does not exist)"
_UNPAID = 402


def sorted_problem(message: str, *, answered: bool) -> Problem:
    """A problem of a whole job.

    An unpaid bill sends it again, once paid, only while there is nothing to fetch: what was
    *answered* before counts more.
    """
    words, found = message.lower(), _HTTP.search(message)
    status = int(found[1]) if found else None
    code = None if status is None else f"http_{status}"
    fault, remedy = FAULTS.of(None, words, status=status), None
    if re.search(PENDING, words):
        fault, remedy = Fault.PROVIDER, Remedy.ROOM
    elif re.search(_LOST_FILE, words):
        fault, remedy = Fault.PROVIDER, Remedy.UPLOAD
    elif status == _UNPAID and not answered:
        remedy = Remedy.CREDIT
    return Problem(code, message, fault=fault, remedy=remedy)
