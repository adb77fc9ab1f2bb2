"""What a failed call of OpenAI's SDK means for us."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping

import httpx2
import openai

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
from batch_pipeline.providers.failed_calls import Said, is_redirect, quoted, redirected, unanswered
from batch_pipeline.providers.openai.facts import CREDIT, QUEUE_WORDS, QUEUES
from batch_pipeline.providers.patience import retry_after

FAILURES = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, ssl.SSLError)
"""What a call can raise: the SDK's errors, and the raw transport's while a body is streamed."""

_SEE_OTHER = 303  # the one redirect that follows a call that was made
_UNCERTAIN = {408, 409}  # 4xx that say "not now" and not "no"


def said(error: Exception, scrub: Callable[[str], str]) -> Said:
    """Read one of FAILURES."""
    if not isinstance(error, openai.APIStatusError):
        return Said(message=unanswered(error))
    body = error.body if isinstance(error.body, Mapping) else {}
    message = body.get("message") or (error.body if isinstance(error.body, str) else "")
    code = body.get("code") or body.get("type")
    elsewhere = redirected(error.status_code, error.response.headers)
    return Said(
        message=f"HTTP {error.status_code}: "
        f"{quoted(scrub(elsewhere or str(message))) or 'no message'}",
        status=error.status_code,
        code=None if code is None else scrub(str(code)),
        retry_after=retry_after(error.response.headers),
    )


def failure(heard: Said) -> type[ProviderError]:
    """The error of a call that may be made again."""
    return Unreadable if heard.unreadable else _kind(heard) or Unavailable


def create_failure(heard: Said) -> type[ProviderError]:
    """The error of a create: Ambiguous unless it is certain that no batch was made."""
    if heard.status == _SEE_OTHER:
        return Ambiguous
    return _kind(heard) or Ambiguous


def _kind(heard: Said) -> type[ProviderError] | None:  # noqa: PLR0911 - one line per answer
    """What a certain answer means, the first that fits; None when it is not certain."""
    status, text = heard.status, heard.message.lower()
    if status is not None and is_redirect(status):
        return Refused
    if status is None or not 400 <= status < 500 or status in _UNCERTAIN:  # noqa: PLR2004 - 4xx
        return None
    if status == 402 or heard.code in CREDIT:  # noqa: PLR2004 - Payment Required
        return OutOfCredit
    if status in {401, 403}:
        return Unauthorized
    if status == 429 or heard.code in QUEUES or re.search(QUEUE_WORDS, text):  # noqa: PLR2004 - Too Many Requests
        return Throttled
    if status == 413 or "too large" in text:  # noqa: PLR2004 - Content Too Large
        return TooLarge
    # a 400 about a file that was just uploaded: OpenAI's stores are eventually consistent
    if status == 404 or "cannot find file" in text:  # noqa: PLR2004 - Not Found
        return NotFound
    return Refused
