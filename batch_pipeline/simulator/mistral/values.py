"""Checks of single values, with complaints worded like pydantic's."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

Check: TypeAlias = Callable[[object, str], None]
_SHOWN = 50
_NAMES = {
    str: ("string_type", "a valid string"),
    bool: ("bool_type", "a valid boolean"),
    int: ("int_type", "a valid integer"),
    float: ("float_type", "a valid number"),
    list: ("list_type", "a valid list"),
    dict: ("dict_type", "a valid dictionary"),
}


class FlawError(Exception):
    """One value is wrong."""

    def __init__(self, where: str, message: str, kind: str, given: object) -> None:
        super().__init__(message)
        self.where, self.message, self.kind, self.given = where, message, kind, given

    def told(self, title: str) -> str:
        """The complaint about a *title*, on one line as the service sends it."""
        shown = repr(self.given)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:25]}...{shown[-24:]}"
        return (
            f"1 validation error for {title} {self.where}   {self.message} [type={self.kind}, "
            f"input_value={shown}, input_type={type(self.given).__name__}]"
        )


def wrong_type(where: str, expected: type, given: object) -> FlawError:
    """The complaint about a value of another type."""
    kind, name = _NAMES[expected]
    return FlawError(where, f"Input should be {name}", kind, given)


def any_of(*types: type) -> Check:
    """A value of one of some types."""

    def check(value: object, where: str) -> None:
        if not isinstance(value, types):
            raise wrong_type(where, types[0], value)

    return check


text = any_of(str)
boolean = any_of(bool)
mapping = any_of(dict)


def free(_value: object, _where: str) -> None:
    """A value that nobody looks at."""


def texts(value: object, where: str) -> None:
    """A list of texts."""
    if not isinstance(value, list):
        raise wrong_type(where, list, value)
    for number_, each in enumerate(value):
        text(each, f"{where}.{number_}")


def one_of(*allowed: str) -> Check:
    """One of some words."""
    words = [f"'{word}'" for word in allowed]
    listed = " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)

    def check(value: object, where: str) -> None:
        if value not in allowed:
            raise FlawError(where, f"Input should be {listed}", "enum", value)

    return check


def number(low: float | None, high: float | None, *, whole: bool = False) -> Check:
    """A number within bounds, both allowed."""

    def check(value: object, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise wrong_type(where, int if whole else float, value)
        if low is not None and value < low:
            message = f"Input should be greater than or equal to {low:g}"
            raise FlawError(where, message, "greater_than_equal", value)
        if high is not None and value > high:
            message = f"Input should be less than or equal to {high:g}"
            raise FlawError(where, message, "less_than_equal", value)

    return check


def check_fields(
    value: object, where: str, fields: Mapping[str, Check], needed: Collection[str]
) -> None:
    """Check a mapping's fields: none unknown, none of the *needed* missing, each one right."""
    if not isinstance(value, Mapping):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise FlawError(where, message, "model_type", value)
    inside = f"{where}." if where else ""
    for name in needed:
        if value.get(name) is None:
            raise FlawError(f"{inside}{name}", "Field required", "missing", dict(value))
    for name, given in value.items():
        check = fields.get(name)
        if check is None:
            message = "Extra inputs are not permitted"
            raise FlawError(f"{inside}{name}", message, "extra_forbidden", given)
        if given is not None:
            check(given, f"{inside}{name}")
