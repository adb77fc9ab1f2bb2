"""What Anthropic's models can do, as far as it decides whether a request is refused."""

import re
from dataclasses import dataclass, replace

_DATED = re.compile(r"^(.+?)(-\d{8})?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model; the defaults are those of the newest."""

    name: str  # as answers name it
    context: int = 1_000_000
    max_output: int = 128_000
    manual_thinking: bool = False  # takes thinking.type enabled, with a budget
    adaptive_thinking: bool = True
    thinks_unasked: bool = True
    may_stop_thinking: bool = True  # takes thinking.type disabled
    sampling: bool = False  # takes temperature and the like (API version 2023-06-01)
    prefill: bool = False
    effort: bool = True


_NEWEST = Model(name="")
_ALWAYS_THINKS = replace(_NEWEST, may_stop_thinking=False)
_THINKS_WHEN_ASKED = replace(_NEWEST, thinks_unasked=False)
_FIRST_ADAPTIVE = replace(_THINKS_WHEN_ASKED, manual_thinking=True, sampling=True)
_OLDEST = Model(
    name="",
    context=200_000,
    max_output=64_000,
    manual_thinking=True,
    adaptive_thinking=False,
    thinks_unasked=False,
    sampling=True,
    prefill=True,
    effort=False,
)
_KINDS = {
    "claude-haiku-4-5": replace(_OLDEST, name="claude-haiku-4-5-20251001"),
    "claude-sonnet-4-5": replace(_OLDEST, name="claude-sonnet-4-5-20250929"),
    "claude-opus-4-5": replace(_OLDEST, name="claude-opus-4-5-20251101", effort=True),
    "claude-sonnet-4-6": _FIRST_ADAPTIVE,
    "claude-opus-4-6": _FIRST_ADAPTIVE,
    "claude-opus-4-7": _THINKS_WHEN_ASKED,
    "claude-opus-4-8": _THINKS_WHEN_ASKED,
    "claude-opus-5": _NEWEST,
    "claude-sonnet-5": _NEWEST,
    "claude-sonnet-5-5": _NEWEST,
    "claude-haiku-5-5": _NEWEST,
    "claude-opus-5-5": _ALWAYS_THINKS,
    "claude-fable-5": _ALWAYS_THINKS,
    "claude-fable-5-1": _ALWAYS_THINKS,
    "claude-fable-5-2": _ALWAYS_THINKS,
    "claude-mythos-preview": _ALWAYS_THINKS,
    "claude-mythos-5": _ALWAYS_THINKS,
    "claude-mythos-5-1": _ALWAYS_THINKS,
    "claude-mythos-5-2": _ALWAYS_THINKS,
}


def find_model(name: str, extra: tuple[str, ...]) -> Model | None:
    """The model of that name; a dated name must be one that exists where dates are known."""
    if name in extra:
        return replace(_NEWEST, name=name)
    dated = _DATED.match(name)
    kind = None if dated is None else _KINDS.get(dated[1])
    if dated is None or kind is None:
        return None
    if kind.name:
        return kind if name in {dated[1], kind.name} else None
    return None if dated[2] else replace(kind, name=name)
