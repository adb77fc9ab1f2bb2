"""What a failed call of Anthropic's SDK means for us."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import anthropic
import httpx2

from batch_pipeline.errors import OutOfCredit, ProviderError, Refused
from batch_pipeline.providers.anthropic.facts import CREDIT
from batch_pipeline.providers.anthropic.record import RECORD
from batch_pipeline.providers.failed_calls import Said, Voice, answered, certain_no, unanswered

FAILURES: tuple[type[Exception], ...] = (
    *(anthropic.AnthropicError, httpx2.HTTPError),
    *(httpx2.StreamError, ssl.SSLError),
)
"""What a call can raise: the SDK's errors, and the raw transport's while a body is streamed."""

OTHER_SHAPE = "an answer that is not Anthropic's"
VOICE = Voice(name=RECORD.name, title=RECORD.title, settings=RECORD.variables)
_NO_CREDIT = "credit balance is too low"  # said with a 400 before there was a billing_error
_TOO_LARGE = frozenset({"request_too_large", "request_body_too_large_after_decoding"})
_UNCERTAIN = 499  # a 4xx that says "not now" and not "no"
_NOT_NOW = "request_body_timeout"  # a 400 that does


def said(error: Exception, scrub: Callable[[str], str]) -> Said:
    """Read one of FAILURES."""
    if not isinstance(error, anthropic.APIStatusError):
        return Said(message=unanswered(error))
    body = error.body if isinstance(error.body, Mapping) else {}
    inner = body.get("error")
    told = inner if isinstance(inner, Mapping) else body
    details = told.get("details")
    code = details.get("error_code") if isinstance(details, Mapping) else None
    words = told.get("message") or (error.body if isinstance(error.body, str) else "")
    return answered(
        error.status_code,
        error.response.headers,
        scrub,
        words=words,
        code=code or told.get("type"),
    )


def certain(heard: Said) -> type[ProviderError] | None:
    """What a certain answer means, the first that fits; None when it is not certain."""
    if heard.status == _UNCERTAIN or heard.code == _NOT_NOW:
        return None
    credit = heard.code in CREDIT or _NO_CREDIT in heard.message.lower()
    if heard.status is not None and 300 <= heard.status < 400:  # noqa: PLR2004 - 3xx
        # not followed: it may lead our key to a stranger, and no batch was made
        return OutOfCredit if credit else Refused
    too_large = heard.code in _TOO_LARGE
    return certain_no(heard, credit=credit, throttled=False, too_large=too_large)
