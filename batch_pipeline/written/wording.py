"""What pydantic finds wrong in a file of ours, in words that say what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pydantic_core import ErrorDetails

_MAPPINGS = frozenset({"model_type", "model_attributes_type", "dict_type"})
_LONGEST = 60


def said(detail: ErrorDetails) -> str:
    """One problem as a phrase; pydantic's own where it is clear enough."""
    kind, value = detail["type"], detail["input"]
    if kind in _MAPPINGS:
        return f"lines of `key: value` are wanted here, and this is {_what(value)}"
    if kind == "list_type":
        return (
            f"a list is wanted here ([a, b], or a line with - for each), and this is {_what(value)}"
        )
    if kind == "string_type":
        quote = ": write it in quotes" if isinstance(value, int | float | date) else ""
        return f"text is wanted here, and this is {_what(value)}{quote}"
    return detail["msg"].removeprefix("Value error, ")


def _what(value: object) -> str:
    match value:
        case None:
            what = "empty"
        case Mapping():
            what = f"a mapping ({', '.join(map(str, value))})"[:_LONGEST]
        case list():
            what = f"a list of {len(value)}"
        case bool():
            what = str(value).lower()
        case date():
            what = f"the date {value}"
        case int() | float():
            what = f"the number {value}"
        case _:
            what = f"the text {str(value)[:_LONGEST]!r}"
    return what
