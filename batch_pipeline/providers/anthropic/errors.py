"""What a failed Anthropic call means for us; the key stays behind.

The SDK's exceptions hold the request and so the key: they are read here and then dropped, never
chained, and what the provider said is scrubbed before it is repeated.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import anthropic
import httpx2

from batch_pipeline.errors import (
    Ambiguous,
    NotFound,
    OutOfCredit,
    ProviderError,
    Refused,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from batch_pipeline.providers.anthropic.facts import CREDIT
from batch_pipeline.providers.failed_calls import Said, Voice, quoted, redirected, unanswered
from batch_pipeline.providers.patience import retry_after

FAILURES = (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError, ssl.SSLError)
"""What a call can raise: the SDK's errors, and the raw transport's while a body is streamed."""

VOICE = Voice(
    name="anthropic",
    title="Anthropic",
    settings="ANTHROPIC_API_KEY (ANTHROPIC_BASE_URL, ANTHROPIC_WORKSPACE_ID)",
)
_NO_CREDIT = "credit balance is too low"  # said with a 400 before there was a billing_error
_TOO_LARGE = frozenset({"request_too_large", "request_body_too_large_after_decoding"})
_SEE_OTHER = 303  # the one redirect that follows a call that was made
_UNCERTAIN = frozenset({408, 409, 499})  # 4xx that say "not now" and not "no"
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
    elsewhere = redirected(error.status_code, error.response.headers)
    return Said(
        message=f"HTTP {error.status_code}: "
        f"{quoted(scrub(elsewhere or str(words))) or 'no message'}",
        status=error.status_code,
        code=scrub(str(code or told.get("type") or "")) or None,
        retry_after=retry_after(error.response.headers),
    )


def failure(what: str, heard: Said) -> ProviderError:
    """The error of a call that may be made again; *what* names it."""
    kind = Unreadable if heard.unreadable else _kind(heard) or Unavailable
    return VOICE.error(kind, what, heard)


def create_failure(what: str, heard: Said) -> ProviderError:
    """The error of a create: Ambiguous unless it is certain that no batch was made."""
    kind = Ambiguous if heard.status == _SEE_OTHER else _kind(heard) or Ambiguous
    return VOICE.error(kind, what, heard)


def _kind(heard: Said) -> type[ProviderError] | None:  # noqa: PLR0911 - one line per answer
    """What a certain answer means, the first that fits; None when it is not certain."""
    status, code = heard.status, heard.code
    # a redirect is not followed: it may lead our key to a stranger, and no batch was made
    if status is None or not 300 <= status < 500:  # noqa: PLR2004 - 3xx and 4xx
        return None
    if status in _UNCERTAIN or code == _NOT_NOW:
        return None
    if status == 402 or code in CREDIT or _NO_CREDIT in heard.message.lower():  # noqa: PLR2004
        return OutOfCredit
    if status in {401, 403}:
        return Unauthorized
    if status == 429:  # noqa: PLR2004 - Too Many Requests: calls a minute, or a full batch queue
        return Throttled
    if status == 413 or code in _TOO_LARGE:  # noqa: PLR2004 - Content Too Large
        return TooLarge
    if status == 404:  # noqa: PLR2004 - Not Found
        return NotFound
    return Refused
