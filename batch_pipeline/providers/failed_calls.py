"""What came back in place of an answer, in no provider's words, and the error it becomes.

The SDKs' exceptions hold the request and so the key: they are read and then dropped, never
chained, and what a provider said is scrubbed before it is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from batch_pipeline.errors import (
    Ambiguous,
    NotFound,
    OtherApi,
    OutOfCredit,
    ProviderError,
    Refused,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from batch_pipeline.providers.patience import retry_after

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
LONGEST_QUOTE = 500  # characters of a provider's message that we repeat
_SEE_OTHER = 303  # the one redirect that follows a call that was made
_UNCERTAIN = frozenset({408, 409})  # 4xx that say "not now" and not "no"
_NEXT: dict[type[ProviderError], str] = {
    Unauthorized: "Check {settings} and what the key may do; batches already sent go on without "
    "it.",
    OutOfCredit: "Add credit or raise the limit in {title}'s billing settings, then submit again; "
    "batches already sent go on.",
    Throttled: "Nothing was done; the same call may be made again later.",
    TooLarge: "Cut the shard in two.",
    NotFound: "It may have expired, or belong to another key, project or base URL than ours.",
    OtherApi: "Nothing was sent or billed, and nothing will be: docs/services.md says what a "
    "service has to answer.",
    Refused: "The same call would be refused again: change what the message names.",
    Unavailable: "The call costs nothing and may be made again.",
    Unreadable: "The provider, or a proxy, answers otherwise than documented; nothing is lost.",
    Ambiguous: "The batch may exist: look for it before anything is sent again.",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What came back in place of an answer; *status* is None when nothing whole did."""

    message: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    unreadable: bool = False  # whole, and of another shape than the provider's


@dataclass(frozen=True, slots=True)
class Voice:
    """Whose errors they are: a service's name, its title, and the variables that set it up."""

    name: str
    title: str
    settings: str

    def then(self, kind: type[ProviderError]) -> str:
        """What to do about an error of class *kind*."""
        return _NEXT[kind].format(settings=self.settings, title=self.title)

    def error(self, kind: type[ProviderError], what: str, heard: Said) -> ProviderError:
        """The error of class *kind* about the call *what*."""
        then = self.then(kind)
        message = f"{self.name}: {what} failed: {heard.message.rstrip('.')}. {then}"
        if kind is Throttled:
            return Throttled(message, retry_after=heard.retry_after)
        return kind(message)


def answered(
    status: int,
    headers: Mapping[str, str],
    scrub: Callable[[str], str],
    *,
    words: object,
    code: object,
) -> Said:
    """What an answer of this *status* said: its *words*, or where it sends us."""
    elsewhere = redirected(status, headers)
    return Said(
        message=f"HTTP {status}: {quoted(scrub(elsewhere or str(words))) or 'no message'}",
        status=status,
        code=scrub(str(code)) if code else None,
        retry_after=retry_after(headers),
    )


def meaning(
    heard: Said, certain: type[ProviderError] | None, *, costs: bool
) -> type[ProviderError]:
    """The error of a call, where *certain* is what its answer surely says, if anything.

    One that *costs* money is Ambiguous unless it is certain that nothing was made.
    """
    if costs:
        return Ambiguous if heard.status == _SEE_OTHER else certain or Ambiguous
    return Unreadable if heard.unreadable else certain or Unavailable


def certain_no(
    heard: Said, *, credit: bool, throttled: bool, too_large: bool, missing: bool = False
) -> type[ProviderError] | None:
    """What a refusal means by its status, or by what the provider's own words say it is.

    None of an answer that is not certain.
    """
    if heard.status is None:
        return None
    if is_redirect(heard.status):
        return Refused
    if not 400 <= heard.status < 500 or heard.status in _UNCERTAIN:  # noqa: PLR2004 - 4xx
        return None
    signs: tuple[tuple[type[ProviderError], set[int], bool], ...] = (
        (OutOfCredit, {402}, credit),
        (Unauthorized, {401, 403}, False),
        (Throttled, {429}, throttled),
        (TooLarge, {413}, too_large),
        (NotFound, {404}, missing),
    )
    return next((kind for kind, by, said in signs if said or heard.status in by), Refused)


def scrubber(key: str) -> Callable[[str], str]:
    """A function that takes *key*, and what looks like one, out of a text."""

    def scrub(text: str) -> str:
        if len(key) >= 8:  # noqa: PLR2004 - a shorter one is no key, and would tear up the text
            text = text.replace(key, "<key>")
        text = re.sub(r"(?i)(api key provided:?\s+)\S+", r"\1<key>", text)
        return re.sub(r"\bsk-[\w*.-]+", "<key>", text)

    return scrub


def quoted(text: object) -> str:
    """A provider's words on one line, and not too many of them."""
    return " ".join(str(text).split())[:LONGEST_QUOTE]


def unanswered(error: Exception) -> str:
    """What to say of a call that nobody answered: the address, and no more of the request.

    A transport's own message may quote the header that holds the key.
    """
    try:
        url = error.request.url  # type: ignore[attr-defined]  # of the transport's, and the SDKs'
        port = f":{url.port}" if url.port else ""
        where = f" from {url.scheme}://{url.host}{port}"
    except (AttributeError, RuntimeError):  # an error that was made without a request
        where = ""
    return f"no whole answer{where} ({type(error).__name__})"


def redirected(status: int, headers: Mapping[str, str]) -> str | None:
    """What to say of an answer that sends the call elsewhere; None of any other.

    Our key goes to nobody but whom it was set up for, and what another host says is no answer.
    """
    if not is_redirect(status):
        return None
    to = urlsplit(headers.get("location", ""))
    port = f":{to.port}" if to.port else ""
    host = (
        f"{to.scheme or 'http'}://{to.hostname}{port}" if to.hostname else ""
    )  # no user, no query
    where = f"to {quoted(host + to.path)}" if host or to.path else "that does not say where to"
    return f"a redirect {where}, and no redirect is followed"


def is_redirect(status: int) -> bool:
    """True when another address is to be asked."""
    return status in {301, 302, 303, 307, 308}


def cut_short(received: int, headers: Mapping[str, str]) -> Said | None:
    """What to say of a file that is a web page, or not of as many bytes as were promised."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() in _PAGES:
        return Said("a web page came in place of the file: a proxy's, perhaps")
    promised = headers.get("content-length", "")
    if not promised.isdecimal() or int(promised) == received:
        return None
    return Said(f"{received} of {promised} bytes came")
