"""What the script makes of an answer that was right: other bytes, other places, other times."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import orjson
from starlette.requests import Request

from batch_pipeline.simulator.faults import CallFault, Oddity, Page, Redirect, Shorten
from batch_pipeline.simulator.reply import Reply

_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n"
    b"<body><h1>Sign in to continue</h1>\n<p>Simulated page of a proxy.</p></body></html>\n"
)


def tampered(reply: Reply, fault: CallFault | None, request: Request) -> Reply:
    """The answer that takes this one's place; what the call did stays done."""
    match fault:
        case Page():
            html = {"content-type": "text/html; charset=utf-8"}
            return Reply(raw=_PAGE, effect=reply.effect, headers=html)
        case Shorten():
            return _shortened(reply, fault.lines)
        case Redirect():
            query = f"?{request.url.query}" if request.url.query else ""
            there = {"location": f"{fault.to.rstrip('/')}{request.url.path}{query}"}
            return Reply(status=fault.status, raw=b"", effect=reply.effect, headers=there)
        case _:
            return reply


def _shortened(reply: Reply, lines: int) -> Reply:
    if reply.download is None:
        content = reply.raw if reply.raw is not None else orjson.dumps(reply.body)
        raw = b"\n".join(content.split(b"\n")[:lines])
        return Reply(status=reply.status, raw=raw, effect=reply.effect, headers=reply.headers)
    length = _length_of(reply.download, lines)
    return Reply(download=reply.download, length=length, headers=reply.headers)


def _length_of(path: Path, lines: int) -> int:
    with path.open("rb") as file:
        return sum(len(line) for line in islice(file, lines))


def with_strangers(
    reply: Reply, odd: Iterable[Oddity], template: Mapping[str, object], request: Request
) -> Reply:
    """The first page of a listing, begun by batches that nobody here created."""
    page = reply.body
    later = {"after", "after_id", "before_id"} & set(request.query_params)
    if later or request.query_params.get("page", "0") != "0" or not isinstance(page, dict):
        return reply
    strangers = [_ODD[oddity](_renamed(template, oddity)) for oddity in odd]
    return Reply(page | {"data": [*strangers, *page["data"]]}, reply.status, headers=reply.headers)


def _renamed(template: Mapping[str, object], oddity: str) -> dict[str, object]:
    """The regular object under an id that says what is odd about it."""
    word = oddity.encode().hex()
    name = str(template["id"])
    return {**template, "id": f"{name[: -len(word)]}{word}"}


def _with(thing: dict[str, object], **changes: object) -> object:
    return thing | changes


def _fractional(thing: dict[str, object]) -> object:
    """Unix seconds with a fraction; also where the provider writes texts."""
    return _with(thing, created_at=1_764_028_800.25)


def _as_text(thing: dict[str, object]) -> object:
    """A text where the provider writes numbers, and another text where it writes texts."""
    if isinstance(thing["created_at"], str):
        return _with(thing, created_at="25 Nov 2025, 00:00 UTC")
    then = datetime.fromtimestamp(1_764_028_800, UTC)
    return _with(thing, created_at=then.isoformat(timespec="milliseconds"))


def _unknown_status(thing: dict[str, object]) -> object:
    name = "status" if "status" in thing else "processing_status"
    return _with(thing, **{name: "simmering"})


_ODD: dict[Oddity, Callable[[dict[str, object]], object]] = {
    "fractional_time": _fractional,
    "null_time": lambda thing: _with(thing, created_at=None),
    "text_time": _as_text,
    "number_metadata": lambda thing: _with(
        thing, metadata={"run": 7, "share": 0.5, "tags": ["a", 1], "owner": None}
    ),
    "unknown_status": _unknown_status,
    "missing_fields": lambda thing: {"id": thing["id"]},
    "no_object": lambda _: None,
}
