"""A provider's own time, as the Date header of its answers tells it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2  # takes a moment, and whoever made a client has it


@dataclass(slots=True)
class Clock:
    """Set by every answer; runs on between them. Threads may share it."""

    running: Callable[[], float] = time.monotonic
    _heard: tuple[datetime, float] | None = field(default=None)

    def now(self) -> datetime | None:
        """The provider's time; None before its first answer, and while it does not tell."""
        if self._heard is None:
            return None
        said, then = self._heard
        return said + timedelta(seconds=self.running() - then)

    def hear(self, headers: Mapping[str, str]) -> None:
        """Set the clock by an answer's headers; one without a date leaves it as it is."""
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
