"""Whose fault Mistral's problems are; of a whole job it says only words, with an HTTP status."""

from __future__ import annotations

import re

from batch_pipeline.model import BatchProblem, Fault, Remedy
from batch_pipeline.providers.faults import Faults

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


def sorted_problem(message: str, *, answered: bool) -> BatchProblem:
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
    return BatchProblem(code, message, fault=fault, remedy=remedy)
