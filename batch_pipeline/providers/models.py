"""Which names of models are known, and which are retired: a doubt is a warning, never an error.

New models appear without us, so a name that nobody knows may be right; it is worth a look, and
with a canary one row.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from batch_pipeline.providers.retired_models import CHECKED, RETIRED

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic

_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest|preview)$")
_TUNED = re.compile(r"^ft:([^:]+):")
_NEAR = 0.6
_ALSO = {  # beside what the price list has: names of the SDKs and of the providers' own pages
    "openai": (
        *("gpt-6.2-astra", "gpt-6.2-sol", "gpt-5.1-codex", "gpt-5.1-mini", "omni-moderation"),
        *("gpt-4o-mini-search-preview", "text-moderation"),
    ),
    "anthropic": ("claude-mythos-5", "claude-mythos-5-1"),
    "mistral": (
        *("mistral-moderation", "devstral", "devstral-medium", "ministral-14b", "codestral-embed"),
        *("mistral-ocr", "mistral-medium", "mistral-small", "mistral-large", "open-mistral-nemo"),
    ),
}


def doubt(provider: str, model: str, *, on: date) -> str | None:
    """Why *model* may not be there on a day, with the nearest known name; None: it is known."""
    tuned = _TUNED.match(model)
    name = tuned[1] if tuned else model
    retired = RETIRED.get(provider, {}).get(name)
    if retired is not None:
        if retired > on:
            return None
        near = _nearest(provider, name, on)
        return (
            f"the model {model!r} is retired since {retired} (as of {CHECKED}), and each row that "
            f"asks for it would fail.{near}"
        )
    if _is_known(provider, name) or not _known(provider):  # of whom no list is, none is misspelt
        return None
    return (
        f"the model {model!r} is not known here: it may be new, or misspelled."
        f"{_nearest(provider, name, on)}"
    )


def _is_known(provider: str, name: str) -> bool:
    known = _known(provider)
    return name in known or _DATED.sub("", name) in known or f"{name}-latest" in known


def _nearest(provider: str, name: str, on: date) -> str:
    over = tuple(model for model, day in RETIRED.get(provider, {}).items() if day <= on)
    # the family's name of a dated model that is over says no more than the dated one
    names = sorted(name for name in _known(provider) if not any(o.startswith(name) for o in over))
    asked = {name, _DATED.sub("", name)}
    closest = {
        near: difflib.SequenceMatcher(None, near, one).ratio()
        for one in asked
        for near in difflib.get_close_matches(one, names, n=1, cutoff=_NEAR)
    }
    near = max(closest, key=closest.__getitem__, default=None)
    return f" The nearest known name is {near!r}." if near else ""


@cache
def _known(provider: str) -> frozenset[str]:
    """Every name that the installed price list has for a provider, and those that will retire."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - asked for by few commands

    found = {*RETIRED.get(provider, {}), *_ALSO.get(provider, ())}
    for seller in get_snapshot().providers:
        if seller.id == provider:
            for model in seller.models:
                found |= {model.id, *_names(model.match)}
    return frozenset(name for name in found if _is_name(name))


def _is_name(text: str) -> bool:
    """Whether a rule's text is a whole name, in today's order of words."""
    part = text[-1] in "-:" or text.startswith("ft:") or re.match(r"claude-(\d|v)", text)
    return len(text) > 1 and not part


def _names(match: MatchLogic) -> Iterator[str]:
    """The names that a rule of the price list spells out; patterns spell none."""
    from genai_prices.types import (  # noqa: PLC0415 - see _known
        ClauseAnd,
        ClauseContains,
        ClauseEndsWith,
        ClauseEquals,
        ClauseOr,
        ClauseRegex,
        ClauseStartsWith,
    )

    match match:
        case ClauseEquals(equals=name) | ClauseStartsWith(starts_with=name):
            yield name
        case ClauseOr(or_=parts) | ClauseAnd(and_=parts):
            for part in parts:
                yield from _names(part)
        case ClauseContains() | ClauseEndsWith() | ClauseRegex():
            return
