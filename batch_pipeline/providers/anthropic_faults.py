"""Whose fault Anthropic's problems are; it has none of whole batches, only of calls and rows."""

from __future__ import annotations

from batch_pipeline.providers.faults import Faults

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
