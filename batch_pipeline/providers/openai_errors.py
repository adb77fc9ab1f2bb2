"""What a failed OpenAI call means for us; the key stays behind.

The SDK's exceptions hold the request and so the key: they are read here and then dropped, never
chained, and what the provider said is scrubbed before it is repeated.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
)
from batch_pipeline.providers.patience import retry_after

FAILURES = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, ssl.SSLError)
"""What a call can raise: the SDK's errors, and the raw transport's while a body is streamed."""

_OUT_OF_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_QUEUE_FULL = "token_limit_exceeded"
_LONGEST_QUOTE = 500  # characters of a provider's message that we repeat
_UNCERTAIN = {408, 409}  # 4xx that say "not now" and not "no"
_NEXT: dict[type[ProviderError], str] = {
    Unauthorized: "Check OPENAI_API_KEY (OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_BASE_URL) and "
    "what the key may do; batches already sent go on without it.",
    OutOfCredit: "Add credit or raise the limit in OpenAI's billing settings, then submit again; "
    "batches already sent go on.",
    Throttled: "Nothing was done; the same call may be made again later.",
    TooLarge: "Cut the shard in two.",
    NotFound: "It may have expired, or belong to another key, project or base URL than ours.",
    Refused: "The same call would be refused again: change what the message names.",
    Unavailable: "The call costs nothing and may be made again.",
    Ambiguous: "The batch may exist: look for it before anything is sent again.",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What came back in place of an answer; *status* is None when nothing whole did."""

    message: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None


def scrubber(key: str) -> Callable[[str], str]:
    """A function that takes *key*, and what looks like one, out of a text."""

    def scrub(text: str) -> str:
        if len(key) >= 8:  # noqa: PLR2004 - a shorter one is no key, and would tear up the text
            text = text.replace(key, "<key>")
        text = re.sub(r"(?i)(api key provided:?\s+)\S+", r"\1<key>", text)
        return re.sub(r"\bsk-[\w*.-]+", "<key>", text)

    return scrub


def said(error: Exception, scrub: Callable[[str], str]) -> Said:
    """Read one of FAILURES."""
    if not isinstance(error, openai.APIStatusError):
        # only its class: a transport's own message may quote the header that holds the key
        return Said(message=f"no whole answer ({type(error).__name__})")
    body = error.body if isinstance(error.body, Mapping) else {}
    quoted = body.get("message") or (error.body if isinstance(error.body, str) else "")
    words = " ".join(scrub(str(quoted)).split())[:_LONGEST_QUOTE]
    code = body.get("code") or body.get("type")
    return Said(
        message=f"HTTP {error.status_code}: {words or 'no message'}",
        status=error.status_code,
        code=None if code is None else str(code),
        retry_after=retry_after(error.response.headers),
    )


def cut_short(received: int, headers: Mapping[str, str]) -> Said | None:
    """What to say of an answer that promised another number of bytes than came over the wire."""
    promised = headers.get("content-length", "")
    if not promised.isdecimal() or int(promised) == received:
        return None
    return Said(f"{received} of {promised} bytes came")


def failure(what: str, heard: Said) -> ProviderError:
    """The error of a call that may be made again; *what* names it."""
    return _build(_kind(heard) or Unavailable, what, heard)


def create_failure(what: str, heard: Said) -> ProviderError:
    """The error of a create: Ambiguous unless it is certain that no batch was made."""
    return _build(_kind(heard) or Ambiguous, what, heard)


def _build(kind: type[ProviderError], what: str, heard: Said) -> ProviderError:
    message = f"openai: {what} failed: {heard.message.rstrip('.')}. {_NEXT[kind]}"
    if kind is Throttled:
        return Throttled(message, retry_after=heard.retry_after)
    return kind(message)


def _kind(heard: Said) -> type[ProviderError] | None:  # noqa: PLR0911 - one line per answer
    """What a certain answer means, the first that fits; None when it is not certain."""
    status, text = heard.status, heard.message.lower()
    if status is None or not 400 <= status < 500 or status in _UNCERTAIN:  # noqa: PLR2004 - 4xx
        return None
    if status == 402 or heard.code in _OUT_OF_CREDIT:  # noqa: PLR2004 - Payment Required
        return OutOfCredit
    if status in {401, 403}:
        return Unauthorized
    if status == 429 or heard.code == _QUEUE_FULL:  # noqa: PLR2004 - Too Many Requests
        return Throttled
    if status == 413 or "too large" in text:  # noqa: PLR2004 - Content Too Large
        return TooLarge
    # a 400 about a file that was just uploaded: OpenAI's stores are eventually consistent
    if status == 404 or "cannot find file" in text:  # noqa: PLR2004 - Not Found
        return NotFound
    return Refused
