"""The body of a job's creation."""

from functools import lru_cache
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.mistral.checks import flaw_of
from batch_pipeline.simulator.mistral.files import invalid_file
from batch_pipeline.simulator.mistral.objects import ToldError, checked

_Key: TypeAlias = Annotated[str, Field(min_length=1, max_length=32)]
_Files: TypeAlias = list[Annotated[UUID, Field(strict=False)]] | None  # JSON has no UUIDs
_Value: TypeAlias = Annotated[str, Field(min_length=1, max_length=512)]


class Wish(BaseModel):
    """What a job shall be."""

    # from attributes, as web frameworks validate: it words the complaint about what is no object
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", from_attributes=True)

    endpoint: Literal[
        "/v1/chat/completions",
        "/v1/fim/completions",
        "/v1/embeddings",
        "/v1/moderations",
        "/v1/chat/moderations",
        "/v1/ocr",
    ]
    input_files: _Files = None
    requests: list[object] | None = None
    model: str | None = None
    agent_id: str | None = None
    metadata: dict[_Key, _Value] | None = None
    timeout_hours: Annotated[int, Field(ge=1, lt=168)] = 24

    @property
    def file_ids(self) -> tuple[str, ...]:
        """The ids of the input files in their usual spelling."""
        return tuple(map(str, self.input_files or ()))


_WISH = TypeAdapter(Wish)
_INPUT_FILES: TypeAdapter[object] = TypeAdapter(_Files)


def read_wish(content: bytes, limits: Limits) -> Wish:
    """The wish in a request body."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        flaw = {"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {}}
        raise ToldError(422, {"detail": [flaw]}) from error
    wish = checked(_WISH, body, "body")
    requests = checked(_inline(limits.mistral_max_inline_requests), wish.requests or [], *_INLINE)
    if bool(wish.input_files) == bool(requests):
        raise RefusedCallError(422, "Exactly one of input_files and requests must be given.")
    flaws = [(number, flaw_of(each)) for number, each in enumerate(requests, 1)]
    errors: list[dict[str, object]] = [
        {"message": flaw, "line_number": number} for number, flaw in flaws if flaw is not None
    ]
    if errors:
        raise invalid_file(len(errors), errors[: limits.mistral_errors_listed])
    return wish


def check_input_files(body: dict[str, object]) -> None:
    """Refuse ids of input files that are no UUIDs."""
    checked(_INPUT_FILES, body.get("input_files"), "body", "input_files")


_INLINE = ("body", "requests")


@lru_cache
def _inline(most: int) -> TypeAdapter[list[object]]:
    return TypeAdapter(Annotated[list[object], Field(max_length=most)])
