"""Whose fault OpenAI's problems are, and those of the services that speak its dialect."""

from __future__ import annotations

import re

from batch_pipeline.model import BatchProblem, Fault, Remedy
from batch_pipeline.providers.faults import Faults

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
) -> BatchProblem:
    """A problem of a whole batch with whose fault it is, and how the batch may go again."""
    fault, remedy = _judged((code or "").lower(), message.lower(), line, param)
    of_the_job = code in _EVERY_LINE or (code == "invalid_request" and param in _OF_THE_JOB)
    every_line = of_the_job or fault in {Fault.ACCOUNT, Fault.PROVIDER}
    return BatchProblem(code, message, line, param, fault, every_line, remedy)


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
