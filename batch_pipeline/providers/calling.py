"""What every client's calls share: whose they are, how one is asked, repeated, read and logged.

Wherever a provider refuses or breaks off, its SDK's exception is read and dropped before ours is
raised: it holds the key, and must not be the context of what we show.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, Protocol, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

from batch_pipeline.errors import (
    NotFound,
    ProviderError,
    Refused,
    StoreError,
    Unauthorized,
    Unavailable,
    UsageError,
)
from batch_pipeline.model import TERMINAL, Observation, RemoteStatus, Shard
from batch_pipeline.providers.failed_calls import Said, Voice, cut_short, meaning, scrubber
from batch_pipeline.providers.listing import Named, read
from batch_pipeline.providers.patience import Patience
from batch_pipeline.whole_files import written_aside

if TYPE_CHECKING:
    import httpx2  # takes a moment, and whoever made a client has it

CLOCK_MARGIN = timedelta(minutes=10)  # how far a provider's clock and ours may be apart
LONG_SILENCE = 600.0  # seconds: after its last byte a large file is read and checked in silence
PIECE = 1 << 20  # bytes of a body or a download in memory at a time
FILE_LAG = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)  # 60 s: how long an upload may stay unseen
CONNECT_SECONDS = 5.0  # a host that is not there is not waited for as long as an answer
_LONGEST_VALUE = 512  # characters of a metadata value

_log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed", bound=msgspec.Struct)
_Failure: TypeAlias = Callable[[Said], type[ProviderError]]
_Opened: TypeAlias = "Callable[[], AbstractContextManager[httpx2.Response]]"
"""A call whose answer is a file, unread."""


class Errors(Protocol):
    """A provider's `errors.py`: what its SDK raises, and what that means.

    OTHER_SHAPE is what to call an answer that is none of the provider's.
    """

    FAILURES: tuple[type[Exception], ...]
    OTHER_SHAPE: str

    def said(self, error: Exception, scrub: Callable[[str], str]) -> Said:
        """Read one of FAILURES."""
        ...

    def certain(self, heard: Said) -> type[ProviderError] | None:
        """What a certain answer means, the first that fits; None when it is not certain."""
        ...


class _Line(msgspec.Struct):
    custom_id: str


_SIMULATED = "x-simulated-by"


@dataclass(slots=True)
class Clock:
    """Set by every answer; runs on between them. Threads may share it."""

    running: Callable[[], float] = time.monotonic
    simulated: bool = False
    """True once an answer said that it is the bundled simulator's."""
    _heard: tuple[datetime, float] | None = field(default=None)

    def now(self) -> datetime | None:
        """The provider's time; None before its first answer, and while it does not tell."""
        if self._heard is None:
            return None
        said, then = self._heard
        return said + timedelta(seconds=self.running() - then)

    def hear(self, headers: Mapping[str, str]) -> None:
        """Set the clock by an answer's headers; one without a date leaves it as it is."""
        self.simulated = self.simulated or _SIMULATED in headers
        try:
            said = parsedate_to_datetime(headers.get("date", ""))
        except (TypeError, ValueError):
            return
        said = said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
        self._heard = said, self.running()

    def listen(self, http: httpx2.Client) -> None:
        """Hear every answer that comes through *http*."""
        hooks = http.event_hooks
        hooks["response"] = [*hooks["response"], lambda answer: self.hear(answer.headers)]
        http.event_hooks = hooks


@cache
def certificates() -> ssl.SSLContext:
    """The authorities of the installed bundle, or of SSL_CERT_FILE and SSL_CERT_DIR."""
    import httpx2  # noqa: PLC0415 - as above

    return httpx2.create_ssl_context()


@contextmanager
def landing(into: Path) -> Iterator[BinaryIO]:
    """A file beside *into* that becomes *into*, durably, if the block ends well, else vanishes.

    Raises StoreError when the disk will not take it.
    """
    with written_aside(into) as part, part.open("wb") as out:
        yield out


@contextmanager
def opened(lines: Path) -> Iterator[BinaryIO]:
    """The file from its first byte; StoreError when it cannot be read."""
    try:
        with lines.open("rb") as handle:
            yield handle
    except OSError as error:
        raise StoreError(
            f"{lines}: {error.strerror or error}. Nothing is lost at the provider: put the disk "
            "right and run the step again."
        ) from error


def silence(seconds: float) -> httpx2.Timeout:
    """The timeout of a call that may be silent for so long; a host that is there connects soon."""
    import httpx2  # noqa: PLC0415 - as above

    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def key_in(env: Mapping[str, str], variable: str, name: str) -> str:
    """The key in *variable*; Unauthorized when it is missing or cannot be one."""
    key = env.get(variable, "").strip()  # keys mounted as files end in a newline
    if not key:
        raise Unauthorized(
            f"{name}: {variable} is not set or empty, so nothing can be sent or looked up. "
            "Set it in the environment (a .env file of the project will do)."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Unauthorized(
            f"{name}: {variable} holds characters that no key has (a blank, a line break, a "
            "quotation mark of a word processor?). Copy the key again."
        )
    return key


def base_url_in(env: Mapping[str, str], variable: str, default: str, *, title: str) -> str:
    """The URL in *variable*, or the provider's own; UsageError when it is no URL."""
    url = (env.get(variable) or "").strip() or default
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
        path = "/v1" if default.endswith("/v1") else ", without /v1"
        raise UsageError(
            f"{variable} is not an http(s) URL. Leave it unset for {title} itself, or give one "
            f"such as http://127.0.0.1:8000{path}."
        )
    return url


def carried_by(shard: Shard) -> dict[str, str]:
    """The metadata of the shard's batch, by which it is found again."""
    if not shard.intent:
        raise ValueError(
            f"shard {shard.shard_id} has no intent: record one in the ledger before it is sent."
        )
    carried = {
        "intent": shard.intent,
        "job": shard.job,
        "shard": shard.shard_id,
        "attempt": str(shard.attempt),
    }
    return {name: value[:_LONGEST_VALUE] for name, value in carried.items()}


class Caller:
    """One account's calls; *voice* says whose, *errors* what its SDK's failures mean.

    An account is a key at a URL, and *whose* else it is. Calls that cost nothing are repeated with
    patience; one that costs money never is.
    """

    def __init__(
        self,
        voice: Voice,
        errors: Errors,
        patience: Patience,
        key: str,
        url: str,
        *whose: str | None,
    ) -> None:
        self.voice, self.patience = voice, patience
        self.clock = Clock()
        self.scrub = scrubber(key)
        self.host = urlsplit(url).hostname or ""
        parts = "\x1f".join(part or "" for part in (key, url, *whose))
        self.account = hashlib.sha256(parts.encode()).hexdigest()[:16]
        self._errors = errors

    def ask(
        self,
        what: str,
        call: Callable[[], bytes],
        kind: type[_Parsed],
        *,
        costs: bool = False,
    ) -> _Parsed:
        """The answer of *call*, made once and parsed; *costs* says that it spends money."""
        try:
            return read(call(), kind)[0]
        except self._errors.FAILURES as error:
            heard = self._errors.said(error, self.scrub)
        except (msgspec.MsgspecError, UnicodeError) as error:
            said = f"{self._errors.OTHER_SHAPE} ({self.scrub(str(error))})"
            heard = Said(said, unreadable=True)
        raise self.voice.error(self.meaning(heard, costs=costs), what, heard)

    def again(self, what: str, call: Callable[[], bytes], kind: type[_Parsed]) -> _Parsed:
        """The same of a call that costs nothing, with patience."""
        return self.patience.call(lambda: self.ask(what, call, kind))

    def meaning(self, heard: Said, *, costs: bool = False) -> type[ProviderError]:
        """The error of a call that was answered so."""
        return meaning(heard, self._errors.certain(heard), costs=costs)

    def when_seen(self, create: Callable[[], Observation]) -> Observation:
        """What *create* makes of a file that is up; for a minute it may not be seen there yet."""
        for wait in FILE_LAG:
            try:
                return create()
            except NotFound:
                pass
            self.patience.sleep(wait)
        return create()

    def cancel(
        self, batch_id: str, stop: Callable[[], Observation], look: Callable[[], Observation]
    ) -> Observation:
        """What *stop* answers; where it is refused, a *look* tells whether it is too late."""

        def once() -> Observation:
            try:
                return stop()
            except (Refused, Unavailable):
                seen = look()
                if seen.status in TERMINAL or seen.status is RemoteStatus.ENDING:
                    return seen
                raise

        seen = self.patience.call(once)
        self.event("batch cancel asked", batch_id=batch_id, remote_status=seen.raw_status)
        return seen

    def delete(self, noun: str, name: str, call: Callable[[], bytes]) -> None:
        """Delete the file or batch *name*; no error if it is gone already."""
        try:
            self.again(f"delete of {noun} {name}", call, Named)
        except NotFound:
            return
        self.event(f"{noun} deleted", **{f"{noun}_id": name})

    def download(
        self, what: str, into: Path, content: _Opened, *, failure: _Failure | None = None
    ) -> int:
        """Stream the answer of *content* to *into*, whole or not at all; returns the bytes."""

        def once() -> int:
            with landing(into) as out:
                cut = self._stream(content, out)
                if cut is not None:
                    raise self.voice.error((failure or self.meaning)(cut), what, cut)
                return out.tell()

        return self.patience.call(once)

    def first_id(self, what: str, content: _Opened) -> str | None:
        """The custom_id of a result file's first line; None when nobody can read it."""
        try:
            line = self.patience.call(lambda: self._first_line(what, content))
            return msgspec.json.decode(line, type=_Line).custom_id
        except (NotFound, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def created(self, shard: Shard, seen: Observation, **fields: object) -> Observation:
        """Log the batch of *shard*, and return it."""
        self.event(
            "batch created",
            shard=shard.shard_id,
            job=shard.job,
            attempt=shard.attempt,
            batch_id=seen.batch_id,
            **fields,
        )
        return seen

    def event(self, message: str, **fields: object) -> None:
        """Log one change of state, with its ids."""
        _log.info(message, extra={"provider": self.voice.name, "account": self.account, **fields})

    def _stream(self, content: _Opened, out: BinaryIO) -> Said | None:
        """Write the file's bytes to *out*; returns what went wrong, None if all came."""
        try:
            with content() as answer:
                out.writelines(answer.iter_bytes(PIECE))
                return cut_short(answer.num_bytes_downloaded, answer.headers)
        except self._errors.FAILURES as error:
            return self._errors.said(error, self.scrub)

    def _first_line(self, what: str, content: _Opened) -> bytes:
        line = bytearray()
        try:
            with content() as answer:
                for piece in answer.iter_bytes():
                    line += piece
                    if b"\n" in piece:  # the rest is not ours to pay for: hang up
                        break
        except self._errors.FAILURES as error:
            cut = self._errors.said(error, self.scrub)
        else:
            return bytes(line.split(b"\n", 1)[0])
        raise self.voice.error(self.meaning(cut), what, cut)


class Keyed:
    """What calls with a key: shown without it, and never serialised."""

    _calls: Caller

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(account={self._calls.account!r}, host={self._calls.host!r})"

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(
            f"{'an' if name[0] in 'AEIOU' else 'a'} {name} holds a key and is never serialised: "
            "build it from the environment where it is used."
        )
