"""What a failed call of Mistral's SDK means for us."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping

import httpx2
import msgspec
from mistralai.client.errors import MistralError, NoResponseError

from batch_pipeline.errors import BadLines, ProviderError
from batch_pipeline.providers.failed_calls import (
    Said,
    Voice,
    answered,
    certain_no,
    quoted,
    unanswered,
)
from batch_pipeline.providers.mistral.record import RECORD

FAILURES: tuple[type[Exception], ...] = (
    *(MistralError, NoResponseError),
    *(httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, ssl.SSLError),
)
"""What a call can raise: the SDK's errors, and the transport's, which it lets through."""

OTHER_SHAPE = "an answer that is not Mistral's"
VOICE = Voice(name=RECORD.name, title=RECORD.title, settings=RECORD.variables)
_TOO_LARGE = re.compile(
    r"too large|too many (requests|lines)|exceed\w*\b.{0,60}\b(requests|lines|size|bytes|mb)\b"
)
_NAMED_LINES = 3  # bad lines that a message names; the error itself has all of them


class _Line(msgspec.Struct):
    line_number: int
    message: str = ""


class _BadFile(msgspec.Struct):
    errors: list[_Line]


def said(error: Exception, scrub: Callable[[str], str]) -> Said:
    """Read one of FAILURES."""
    if not isinstance(error, MistralError):
        return Said(message=unanswered(error))
    body = _object(error.body)
    return answered(
        error.status_code,
        error.headers,
        scrub,
        words=_message(body) or error.body,
        code=body.get("code") or body.get("type"),
    )


def certain(heard: Said) -> type[ProviderError] | None:
    """What a certain answer means, the first that fits; None when it is not certain."""
    text = heard.message.lower()
    return certain_no(
        heard,
        credit=False,
        throttled="exceed" in text and "pending" in text,
        too_large=_TOO_LARGE.search(text) is not None,
    )


def bad_lines(error: Exception, scrub: Callable[[str], str]) -> dict[int, str]:
    """The lines that a refused upload names, from 1, and what is wrong with each."""
    if not isinstance(error, MistralError) or error.status_code != 422:  # noqa: PLR2004 - HTTP's
        return {}
    try:
        named = msgspec.json.decode(error.body, type=_BadFile).errors
    except msgspec.MsgspecError:
        return {}
    lines: dict[int, str] = {}
    for one in named:
        lines.setdefault(one.line_number, quoted(scrub(one.message)) or "no message")
    return {number: message for number, message in lines.items() if number > 0}


def refused_lines(what: str, lines: Mapping[int, str]) -> BadLines:
    """The error of an upload whose lines Mistral read and will not take."""
    first = [f"line {number}: {lines[number]}" for number in sorted(lines)[:_NAMED_LINES]]
    more = f" (and {len(lines) - _NAMED_LINES} more)" if len(lines) > _NAMED_LINES else ""
    return BadLines(
        f"mistral: {what} failed: {'; '.join(first)}{more}. Nothing was billed: change the request "
        "or the rows that these lines were made from.",
        lines=lines,
    )


def _object(body: str) -> Mapping[str, object]:
    try:
        found: object = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _message(body: Mapping[str, object]) -> str:
    """`message` or `detail`: a text, an object with a `detail`, or a list of what is wrong."""
    found = body.get("message") or body.get("detail") or ""
    if isinstance(found, Mapping):
        found = found.get("detail", found)
    if isinstance(found, list):
        return "; ".join(_flaw(one) for one in found)
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    about = body.get("description")
    return f"{text} {about}" if isinstance(about, str) else text


def _flaw(flaw: object) -> str:
    """What is wrong and where, without the value: that may be a prompt."""
    if not isinstance(flaw, Mapping):
        return str(flaw)
    where = flaw.get("loc")
    path = ".".join(str(step) for step in where) if isinstance(where, list) else ""
    return f"{path}: {flaw.get('msg', 'no message')}".removeprefix(": ")
