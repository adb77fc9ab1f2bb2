"""The simulated clock: it runs at a chosen speed, can be pushed forward, and survives a restart."""

import threading
import time
from collections.abc import Callable

from batch_pipeline.simulator.state import State


class Clock:
    """Simulated seconds since the epoch.

    Now is `anchor_sim + (wall - anchor_wall) * speed`; the anchor is on disk, so a simulator that
    was killed finds that time went on without it, as it would at a provider. With speed 0 the
    clock stands still and only `advance` moves it: what tests want.
    """

    def __init__(
        self, state: State, *, speed: float, wall: Callable[[], float] = time.time
    ) -> None:
        if speed < 0:
            raise ValueError(f"speed is {speed}; time runs forward: give 0 (frozen) or more.")
        self.speed = speed
        self._state = state
        self._wall = wall
        self._lock = threading.Lock()
        self._anchor_wall = wall()
        self._anchor_sim = self._resumed(state.read_clock())
        self._save()

    def now(self) -> float:
        """The simulated time."""
        with self._lock:
            return self._now()

    def advance(self, seconds: float) -> float:
        """Push the clock forward; returns the new time."""
        if seconds < 0:
            raise ValueError(f"cannot advance by {seconds} seconds: time runs forward only.")
        with self._lock:
            wall = self._wall()
            self._anchor_sim += max(0.0, wall - self._anchor_wall) * self.speed + seconds
            self._anchor_wall = wall
            self._save()
            return self._anchor_sim

    def _now(self) -> float:
        return self._anchor_sim + max(0.0, self._wall() - self._anchor_wall) * self.speed

    def _resumed(self, saved: tuple[float, float, float] | None) -> float:
        if saved is None:
            return self._anchor_wall
        anchor_wall, anchor_sim, speed = saved
        return anchor_sim + max(0.0, self._anchor_wall - anchor_wall) * speed

    def _save(self) -> None:
        self._state.write_clock(self._anchor_wall, self._anchor_sim, self.speed)
