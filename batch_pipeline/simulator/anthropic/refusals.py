"""What is wrong with one request: the rows that end as `errored`."""

from collections.abc import Mapping
from typing import TypeAlias

Params: TypeAlias = Mapping[str, object]


class RefusedRequestError(Exception):
    """One request is refused; the batch goes on.

    *running* says that it was found out only when the request ran: such errors carry a request id.
    """

    def __init__(
        self, message: str, kind: str = "invalid_request_error", *, running: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.kind, self.running = message, kind, running


def missing(where: str) -> RefusedRequestError:
    """A field that is required."""
    return RefusedRequestError(f"{where}: Field required")


def extra(where: str) -> RefusedRequestError:
    """A field that nobody knows."""
    return RefusedRequestError(f"{where}: Extra inputs are not permitted")


def not_one_of(where: str, choices: tuple[str, ...]) -> RefusedRequestError:
    """A value outside a closed list."""
    *first, last = (f"'{choice}'" for choice in choices)
    listed = f"{', '.join(first)} or {last}" if first else last
    return RefusedRequestError(f"{where}: Input should be {listed}")


def unknown_tag(where: str, tag: object, known: tuple[str, ...]) -> RefusedRequestError:
    """A tagged object of a kind that nobody knows."""
    if tag is None:
        return RefusedRequestError(f"{where}.type: Field required")
    listed = ", ".join(f"'{each}'" for each in known)
    return RefusedRequestError(
        f"{where}: Input tag '{tag}' found using 'type' does not match any of the expected tags: "
        f"{listed}"
    )


def mapping(value: object, where: str) -> Params:
    """The value as an object, or a refusal."""
    if not isinstance(value, Mapping):
        raise RefusedRequestError(f"{where}: Input should be a valid dictionary")
    return value


def items(value: object, where: str) -> list[object]:
    """The value as a list, or a refusal."""
    if not isinstance(value, list):
        raise RefusedRequestError(f"{where}: Input should be a valid list")
    return value


def text(value: object, where: str) -> str:
    """The value as a string, or a refusal."""
    if not isinstance(value, str):
        raise RefusedRequestError(f"{where}: Input should be a valid string")
    return value


def whole(value: object, where: str) -> int:
    """The value as a whole number, or a refusal."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedRequestError(f"{where}: Input should be a valid integer")
    return value


def number(value: object, where: str) -> float:
    """The value as a number, or a refusal."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedRequestError(f"{where}: Input should be a valid number")
    return float(value)
