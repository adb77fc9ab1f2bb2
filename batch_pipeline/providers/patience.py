"""How long a call that may be made again is made again, and what a server's Retry-After says."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from batch_pipeline.errors import Throttled, Unavailable

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """The retry policy of calls whose repetition costs nothing; all times are seconds.

    A create is never among them. Who must answer soon (a sensor's tick) takes
    `Patience(tries=1, answer=10)`.
    """

    tries: int = 6  # calls in all
    first: float = 0.5  # the wait before the second call; it doubles from there
    longest: float = 30.0  # one wait; a server that asks for a longer one is not waited for
    answer: float = 60.0  # silence on a connection after which we no longer expect an answer
    sleep: Callable[[float], None] = time.sleep
    spread: Callable[[], float] = random.random  # 0..1: so that many workers do not come at once

    def call(self, ask: Callable[[], _Answer]) -> _Answer:
        """The answer of *ask*, which is called again while it raises Throttled or Unavailable."""
        for again in range(self.tries - 1):
            try:
                return ask()
            except (Throttled, Unavailable) as error:
                wait = self._wait(error, again)
                if wait > self.longest:
                    raise
                _log.warning("provider call failed, made again in %.1f s: %s", wait, error)
            self.sleep(wait)
        return ask()

    def _wait(self, error: Throttled | Unavailable, again: int) -> float:
        if isinstance(error, Throttled) and error.retry_after is not None:
            return error.retry_after
        return float(min(self.first * 2**again, self.longest)) * (1 - 0.25 * self.spread())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks us to wait, None when it does not say; header names lowercase.

    A date is read against the answer's own Date, so our clock may be wrong.
    """
    for header, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(header, ""))
        if seconds is not None:
            return seconds / divisor
    try:
        until = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (until - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, ValueError, TypeError):  # TypeError: one date has a zone, the other has none
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
