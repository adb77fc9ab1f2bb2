"""The body of a create: onto disk as it comes, then into one line per request.

A body may have 256 MB. It is never in memory as a whole: the file is mapped, and requests are
decoded one at a time.
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson
from starlette.requests import Request

from batch_pipeline.simulator.anthropic.blocks import NEW_VERSION
from batch_pipeline.simulator.anthropic.checks import SAMPLING
from batch_pipeline.simulator.anthropic.prompts import cached_prefixes
from batch_pipeline.simulator.calls import RefusedCallError
from batch_pipeline.simulator.limits import Limits

_PATTERN = "^[a-zA-Z0-9_-]{1,64}$"
_LONGEST = 64
_SOME = 1 << 20


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
        top = msgspec.json.decode(mapped, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise RefusedCallError(400, "Input should be a valid dictionary") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(str(error)) from error
    given = top.pop("requests", None)
    for name in top:
        raise RefusedCallError(400, f"{name}: Extra inputs are not permitted")
    if given is None:
        raise RefusedCallError(400, "requests: Field required")
    try:
        requests = msgspec.json.decode(given, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise RefusedCallError(400, "requests: Input should be a valid list") from error
    if not requests:
        message = "requests: List should have at least 1 item after validation, not 0"
        raise RefusedCallError(400, message)
    if len(requests) > most:
        message = f"requests: List should have at most {most} items after validation, not "
        raise RefusedCallError(400, f"{message}{len(requests)}")
    return requests


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
        if not isinstance(request, dict):
            raise RefusedCallError(400, f"{where}: Input should be a valid dictionary")
        for message in self._flaws(request):
            raise RefusedCallError(400, f"{where}.{message}")
        custom_id, params = request["custom_id"], request["params"]
        if custom_id in self.custom_ids:
            message = "requests: custom_id's must be unique within a batch. Duplicate custom_id "
            raise RefusedCallError(400, f"{message}found: {custom_id}")
        self.custom_ids[custom_id] = None
        line = {"custom_id": custom_id, "params": params}
        if b'"cache_control"' in encoded:
            line["cache_hits"] = self._cache_hits(params)
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _flaws(self, request: dict[str, object]) -> Iterator[str]:
        for name in ("custom_id", "params"):
            if name not in request:
                yield f"{name}: Field required"
        yield from _custom_id_flaws(request["custom_id"])
        params = request["params"]
        if not isinstance(params, dict):
            yield "params: Input should be a valid dictionary"
        elif self._refuse_sampling:
            for name in SAMPLING:
                if name in params:
                    yield f"params.{name}: Extra inputs are not permitted"
        for name in request:
            if name not in {"custom_id", "params"}:
                yield f"{name}: Extra inputs are not permitted"

    def _cache_hits(self, params: dict[str, object]) -> int:
        prefixes = cached_prefixes(params)
        hits = max(
            (place for place, prefix in enumerate(prefixes, 1) if prefix in self._prefixes),
            default=0,
        )
        self._prefixes.update(prefixes)
        return hits


def _custom_id_flaws(custom_id: object) -> Iterator[str]:
    if not isinstance(custom_id, str):
        yield "custom_id: Input should be a valid string"
    elif len(custom_id) > _LONGEST:
        yield f"custom_id: String should have at most {_LONGEST} characters"
    elif re.fullmatch(_PATTERN[1:-1], custom_id) is None:
        yield f"custom_id: String should match pattern '{_PATTERN}'"


def _not_json(why: str) -> RefusedCallError:
    return RefusedCallError(400, f"The request body is not valid JSON: {why}")
