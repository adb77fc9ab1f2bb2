"""Forms that Mistral's files and jobs share: refusals, ids, pages, times."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from typing import TypeVar

from starlette.requests import Request

from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.records import Batch, StoredFile

NAME = "mistral"
_MARK = "facade00"  # job ids begin with it: a real one does so once in four billion
_PAGE = 100
Item = TypeVar("Item", StoredFile, Batch)


class ToldError(RefusedCallError):
    """A refusal whose body is more than a message."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(status, str(body.get("detail")))
        self.body = body


def field_error(where: tuple[str, ...], kind: str, message: str, given: object) -> ToldError:
    """A 422 about one field, in the web framework's own shape."""
    flaw = {"type": kind, "loc": list(where), "msg": message, "input": given}
    return ToldError(422, {"detail": [flaw]})


def uuid_of(given: object, *where: str) -> str:
    """The id in its usual spelling; whatever is no UUID is refused."""
    try:
        return str(uuid.UUID(str(given)))
    except ValueError:
        message = "Input should be a valid UUID, invalid character or length"
        raise field_error(where, "uuid_parsing", message, given) from None


def job_id() -> str:
    """A new job's id: a UUID, for the service's are, and marked as simulated all the same."""
    return f"{_MARK}{str(uuid.uuid4())[8:]}"


def uuid_from(text: str) -> str:
    """The UUID that follows from a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def owner_of(headers: Mapping[str, str]) -> str:
    """Who calls, as a digest: keys are never kept."""
    key = headers.get("authorization", "").encode()
    return hashlib.blake2b(key, digest_size=8, salt=_SALT).hexdigest()


_SALT = b"simulated"


def signature() -> str:
    """What the service shows of an uploaded file's content."""
    return secrets.token_hex(8)


def seconds(moment: float | None) -> int | None:
    """A moment as the API writes it."""
    return None if moment is None else int(moment)


def page_of(items: list[Item], request: Request) -> list[Item]:
    """The page that the query asks for; pages count from 0."""
    page = _whole(request, "page", 0, 0, None)
    size = _whole(request, "page_size", _PAGE, 1, _PAGE)
    return items[page * size : (page + 1) * size]


def flag(request: Request, name: str, *, usual: bool) -> bool:
    """A yes or no of the query."""
    text = request.query_params.get(name, str(usual)).lower()
    if text not in {"true", "false", "1", "0"}:
        message = "Input should be a valid boolean, unable to interpret input"
        raise field_error(("query", name), "bool_parsing", message, text)
    return text in {"true", "1"}


def _whole(request: Request, name: str, usual: int, low: int, high: int | None) -> int:
    text = request.query_params.get(name, str(usual))
    if not text.lstrip("-").isdecimal():
        message = "Input should be a valid integer, unable to parse string as an integer"
        raise field_error(("query", name), "int_parsing", message, text)
    if int(text) < low:
        message = f"Input should be greater than or equal to {low}"
        raise field_error(("query", name), "greater_than_equal", message, text)
    if high is not None and int(text) > high:
        message = f"Input should be less than or equal to {high}"
        raise field_error(("query", name), "less_than_equal", message, text)
    return int(text)
