"""Ctrl-C at whatever moment it comes: the exit code is 130, and nobody sees a traceback.

The command line imports this file before all that takes long to import: see `loading`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import NoReturn

from batch_pipeline.loading import ours

INTERRUPTED = 130


class Heed:
    """Whether somebody asked us to stop, and a sleep that ends when they do."""

    def __init__(self) -> None:
        self._asked = Event()

    @property
    def asked(self) -> bool:
        """True from the first Ctrl-C on, also of one that Python could not raise."""
        return self._asked.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait; KeyboardInterrupt as soon as somebody asks."""
        if self._asked.wait(seconds):
            raise KeyboardInterrupt

    def interrupt(self, _number: int, _frame: FrameType | None) -> NoReturn:
        """The signal's handler; a second Ctrl-C is a crash, and every crash can be gone on from."""
        if self.asked:
            os._exit(INTERRUPTED)
        self._asked.set()
        raise KeyboardInterrupt


def loading() -> None:
    """While the program loads, and once it is done, nothing is at stake: end at once.

    Only in a process of our own: whoever imports the command line keeps their own Ctrl-C.
    """
    if ours() and current_thread() is main_thread():
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


@contextmanager
def as_usual() -> Iterator[None]:
    """For a block that handles Ctrl-C itself, and begins with Python's own way."""
    if current_thread() is not main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def heeded() -> Iterator[Heed]:
    """Heed Ctrl-C in the block, also one that comes at a moment when Python cannot raise.

    An interrupt inside a finalizer or a callback from C is dropped; a `run` that waits for a day
    must not go on as if nobody had asked, nor show what was dropped.
    """
    heed = Heed()
    if current_thread() is not main_thread():  # nobody's Ctrl-C comes here
        yield heed
        return
    handler, hook = signal.signal(signal.SIGINT, heed.interrupt), sys.unraisablehook
    sys.unraisablehook = _quietly
    try:
        yield heed
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, handler)


def _quietly(dropped: sys.UnraisableHookArgs) -> None:
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


loading()
