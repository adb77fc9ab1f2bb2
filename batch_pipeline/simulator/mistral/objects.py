"""Forms that Mistral's files and jobs share: refusals, ids, pages, times."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request

from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.records import Batch, StoredFile

NAME = "mistral"
_MARK = "facade00"  # job ids begin with it: a real one does so once in four billion
_MOST = 100
_UUID: TypeAdapter[uuid.UUID] = TypeAdapter(uuid.UUID)
_PLACE: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0)])
_SIZE: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1, le=_MOST)])
_FLAG: TypeAdapter[bool] = TypeAdapter(bool)
Item = TypeVar("Item", StoredFile, Batch)
Given = TypeVar("Given")


class ToldError(RefusedCallError):
    """A refusal whose body is more than a message."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(status, str(body.get("detail")))
        self.body = body


def checked(shape: TypeAdapter[Given], given: object, *where: str) -> Given:
    """What was given, read; or a 422 that says what is wrong, in the web framework's own shape."""
    try:
        return shape.validate_python(given)
    except ValidationError as error:
        flaws = [
            {
                "type": flaw["type"],
                "loc": [*where, *flaw["loc"]],
                "msg": flaw["msg"],
                "input": flaw["input"],
            }
            for flaw in error.errors(include_url=False, include_context=False)
        ]
        raise ToldError(422, {"detail": flaws}) from None


def uuid_of(given: object, *where: str) -> str:
    """The id in its usual spelling; whatever is no UUID is refused."""
    return str(checked(_UUID, given, *where))


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
    query = request.query_params
    page = checked(_PLACE, query.get("page", 0), "query", "page")
    size = checked(_SIZE, query.get("page_size", _MOST), "query", "page_size")
    return items[page * size : (page + 1) * size]


def flag(request: Request, name: str, *, usual: bool) -> bool:
    """A yes or no of the query."""
    return checked(_FLAG, request.query_params.get(name, usual), "query", name)
