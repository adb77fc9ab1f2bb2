"""What every client's calls share: the provider's time, whom to trust, bytes whole on disk."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from batch_pipeline.errors import StoreError
from batch_pipeline.whole_files import written_aside

if TYPE_CHECKING:
    import httpx2  # takes a moment, and whoever made a client has it


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
def readable_error(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that names *path*."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror or error}. Nothing is lost at the provider: put the disk "
            "right and run the step again."
        ) from error
