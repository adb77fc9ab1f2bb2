"""What gates say of rows that ask to be sent, and what they come to together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batch_pipeline.model import HoldKind


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one gate says: at most so many rows of each target go now, the others later.

    With a *reason* the others are held in the gate's name; else they come when it opens. *ahead*:
    what goes now is looked at before the rest follows.
    """

    kind: HoldKind
    at_most: tuple[int, ...] | None = None  # a number per target; None: all of them
    reason: str | None = None
    ahead: bool = False


def at_most(rulings: Iterable[Ruling]) -> tuple[int, ...] | None:
    """The strictest of the rulings, target by target; None when all rows go."""
    bounds = [ruling.at_most for ruling in rulings if ruling.at_most is not None]
    return tuple(min(each) for each in zip(*bounds, strict=True)) if bounds else None
