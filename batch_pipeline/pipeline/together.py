"""Many small things as few: what costs the same for one and for many is done for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def within(things: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Neighbours together while their sizes add up to *most*; a larger one stands alone."""
    some: list[T] = []
    held = 0
    for thing in things:
        if some and held + size(thing) > most:
            yield some
            some, held = [], 0
        some.append(thing)
        held += size(thing)
    if some:
        yield some
