"""The body of a create: onto disk as it comes, then into one line per request.

A body may have 256 MB. It is never in memory as a whole: the file is mapped, and requests are
decoded one at a time.
"""

import mmap
from functools import lru_cache
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import msgspec
import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    with_config,
)
from starlette.requests import Request
from typing_extensions import TypedDict

from batch_pipeline.simulator.anthropic.checks import SAMPLING
from batch_pipeline.simulator.anthropic.prompts import cached_prefixes
from batch_pipeline.simulator.anthropic.refusals import EXTRA, told
from batch_pipeline.simulator.anthropic.wire import NEW_VERSION
from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.limits import Limits

_Plain: TypeAlias = str | int | float | bool | None
_Raws: TypeAlias = list[msgspec.Raw] | dict[str, msgspec.Raw] | _Plain
_Shape = TypeVar("_Shape")
_SOME = 1 << 20


class _Envelope(BaseModel):
    """The whole body."""

    # from attributes, as web frameworks validate: it words the complaint about what is no object
    model_config = ConfigDict(
        strict=True, extra="forbid", from_attributes=True, arbitrary_types_allowed=True
    )
    requests: list[msgspec.Raw]


@lru_cache
def _envelope(most: int) -> TypeAdapter[_Envelope]:
    requests = Annotated[list[msgspec.Raw], Field(min_length=1, max_length=most)]
    return TypeAdapter(create_model("Envelope", __base__=_Envelope, requests=requests))


@with_config(ConfigDict(strict=True, extra="forbid"))
class _Entry(TypedDict):
    """One request."""

    custom_id: Annotated[str, Field(max_length=64, pattern="^[a-zA-Z0-9_-]{1,64}$")]
    params: dict[str, object]


_ENTRY: TypeAdapter[_Entry] = TypeAdapter(_Entry)


async def receive(request: Request, body: Path, most: int) -> None:
    """Write the request's body to a file; what is too large is read to its end, but not kept."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        message = f"The Content-Encoding '{encoding}' is not supported."
        raise RefusedCallError(400, message, code="request_body_encoding_unsupported")
    size = 0
    with body.open("wb", buffering=_SOME) as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                file.write(chunk)
    if size > most:
        raise RefusedCallError(413, "Request exceeds the maximum size")


def split(body: Path, lines: Path, *, version: str, limits: Limits) -> list[str]:
    """Write each request of the body as a line; returns their custom_ids.

    A line has `cache_hits` beside the request's own fields: how many of its cached prefixes an
    earlier request of the batch has too.
    """
    if body.stat().st_size == 0:
        raise _not_json("unexpected end of data: line 1 column 1 (char 0)")
    with body.open("rb") as file:
        # not closed by hand: what was decoded points into it, and lets go of it in the end
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    seen = _Seen(version, limits)
    with lines.open("wb", buffering=_SOME) as target:
        for place, raw in enumerate(_requests(mapped, limits.anthropic_max_requests)):
            target.write(seen.line(raw, f"requests.{place}"))
    return list(seen.custom_ids)


def _requests(mapped: mmap.mmap, most: int) -> list[msgspec.Raw]:
    try:
        top = msgspec.json.decode(mapped, type=dict[str, msgspec.Raw] | list[msgspec.Raw] | _Plain)
        fields: object = top
        if isinstance(top, dict):
            fields = top | {name: msgspec.json.decode(raw, type=_Raws) for name, raw in top.items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(str(error)) from error
    return _checked(_envelope(most), fields).requests


class _Seen:
    """What the requests so far hold; the checks of the next look at it."""

    def __init__(self, version: str, limits: Limits) -> None:
        self.custom_ids: dict[str, None] = {}
        self._prefixes: set[str] = set()
        self._refuse_sampling = (
            limits.anthropic_sampling_refused_on_create and version == NEW_VERSION
        )

    def line(self, raw: msgspec.Raw, where: str) -> bytes:
        """The request as a line, or the refusal of the whole batch."""
        encoded = bytes(raw)
        try:
            request = orjson.loads(encoded)
        except orjson.JSONDecodeError as error:
            raise _not_json(str(error)) from error
        checked = _checked(_ENTRY, request, where)
        custom_id, params = checked["custom_id"], checked["params"]
        for name in SAMPLING if self._refuse_sampling else ():
            if name in params:
                raise RefusedCallError(400, f"{where}.params.{name}: {EXTRA}")
        if custom_id in self.custom_ids:
            message = "requests: custom_id's must be unique within a batch. Duplicate custom_id "
            raise RefusedCallError(400, f"{message}found: {custom_id}")
        self.custom_ids[custom_id] = None
        line: dict[str, object] = {"custom_id": custom_id, "params": params}
        if b'"cache_control"' in encoded:
            line["cache_hits"] = self._cache_hits(params)
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _cache_hits(self, params: dict[str, object]) -> int:
        prefixes = cached_prefixes(params)
        hits = max(
            (place for place, prefix in enumerate(prefixes, 1) if prefix in self._prefixes),
            default=0,
        )
        self._prefixes.update(prefixes)
        return hits


def _checked(shape: TypeAdapter[_Shape], given: object, *where: str) -> _Shape:
    try:
        return shape.validate_python(given)
    except ValidationError as error:
        raise RefusedCallError(400, told(error, *where)) from None


def _not_json(why: str) -> RefusedCallError:
    return RefusedCallError(400, f"The request body is not valid JSON: {why}")
