"""A text that matches a regular expression, for the common kinds; best effort."""

import re
from collections.abc import Callable
from functools import lru_cache

# The standard library's own parse tree; `sre_parse`, its public alias, is deprecated.
from re import _parser  # type: ignore[attr-defined] # private, but stable since 3.11
from typing import Any

_FALLBACK_REPEATS = 3
_CLASSES = {"CATEGORY_DIGIT": "7", "CATEGORY_WORD": "w", "CATEGORY_SPACE": " "}
_NEGATED = {"CATEGORY_NOT_DIGIT": "x", "CATEGORY_NOT_WORD": "-", "CATEGORY_NOT_SPACE": "x"}


@lru_cache(maxsize=512)
def matching(pattern: str, min_length: int = 0) -> str | None:
    """A text of at least *min_length* characters that matches, or None when none is found."""
    try:
        tree = _parser.parse(pattern)
        compiled = re.compile(pattern)
    except (re.error, RecursionError):
        return None
    for repeats in (0, 1, _FALLBACK_REPEATS, min_length):
        text = _sequence(tree, repeats)
        if len(text) >= min_length and compiled.search(text):
            return text
    padded = _sequence(tree, 1).ljust(min_length, "x")
    return padded if compiled.search(padded) else None


def _sequence(tree: Any, repeats: int) -> str:  # noqa: ANN401 - re's parse tree has no types
    return "".join(_piece(str(kind), value, repeats) for kind, value in tree)


def _piece(kind: str, value: Any, repeats: int) -> str:  # noqa: ANN401 - as above
    writer = _WRITERS.get(kind)
    return "" if writer is None else writer(value, repeats)


def _repeat(value: Any, repeats: int) -> str:  # noqa: ANN401 - as above
    low, high, body = value
    return _sequence(body, repeats) * int(max(low, min(high, repeats)))


def _one_of(value: Any, _: int) -> str:  # noqa: ANN401 - as above
    if str(value[0][0]) == "NEGATE":
        excluded = re.compile(_class_source(value[1:]))
        return next((char for char in "abcxyzABC0189 -_.,:/" if not excluded.match(char)), "~")
    kind, first = value[0]
    if str(kind) == "RANGE":
        return chr(first[0])
    if str(kind) == "CATEGORY":
        return {**_CLASSES, **_NEGATED}.get(str(first), "x")
    return chr(first)


def _class_source(items: Any) -> str:  # noqa: ANN401 - as above
    """The source of a class that holds *items*."""
    parts = []
    for kind, value in items:
        if str(kind) == "RANGE":
            parts.append(f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}")
        elif str(kind) == "CATEGORY":
            short = {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s"}
            parts.append(short.get(str(value), ""))
        else:
            parts.append(re.escape(chr(value)))
    return f"[{''.join(parts)}]"


_WRITERS: dict[str, Callable[[Any, int], str]] = {
    "LITERAL": lambda value, _: chr(value),
    "NOT_LITERAL": lambda value, _: "x" if value != ord("x") else "y",
    "ANY": lambda _, __: "x",
    "IN": _one_of,
    "MAX_REPEAT": _repeat,
    "MIN_REPEAT": _repeat,
    "POSSESSIVE_REPEAT": _repeat,
    "SUBPATTERN": lambda value, repeats: _sequence(value[3], repeats),
    "ATOMIC_GROUP": _sequence,
    "BRANCH": lambda value, repeats: _sequence(value[1][0], repeats),
}
