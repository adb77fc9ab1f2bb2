"""What is wrong with one request: the rows that end as `errored`, in pydantic's words."""

from collections.abc import Mapping
from typing import TypeAlias

from pydantic import ValidationError
from pydantic_core import PydanticKnownError

Params: TypeAlias = Mapping[str, object]
EXTRA = PydanticKnownError("extra_forbidden").message()


class RefusedRequestError(Exception):
    """One request is refused; the batch goes on.

    *running* says that it was found out only when the request ran: such errors carry a request id.
    """

    def __init__(
        self, message: str, kind: str = "invalid_request_error", *, running: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.kind, self.running = message, kind, running


def parts(within: Params, field: str) -> list[Params]:
    """The objects in a list of objects; none in what is not given, or is a text instead."""
    given = within.get(field)
    return given if isinstance(given, list) else []


def told(error: ValidationError, *where: str) -> str:
    """The first complaint as the service sends it: the place, a colon, pydantic's words."""
    flaw = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, (*where, *flaw["loc"])))
    return f"{place}: {flaw['msg']}" if place else flaw["msg"]
