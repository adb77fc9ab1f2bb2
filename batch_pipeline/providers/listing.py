"""A provider's objects, read one by one: what is oddly shaped spoils neither its page nor itself.

Batches of a listing may be anybody's, made by other programs, and a batch that was paid for must
not be lost to a field that has changed. An object is read as it is documented, or else field by
field: what cannot be read is left out, and only without an id and a status it is no batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from batch_pipeline.errors import Unavailable, Undecided
from batch_pipeline.model import Observation, Shard

_SHOWN = 5  # keys of an answer that are named
_LONGEST_KEY = 40

_Kind = TypeVar("_Kind", bound=msgspec.Struct)


class Named(msgspec.Struct):
    """Of what is known only that it is there."""

    id: str


class AnyBatch(msgspec.Struct, kw_only=True):
    """What every provider's batch has; *created_at* is in its own way of telling times."""

    id: str
    created_at: object = None


_Batch = TypeVar("_Batch", bound=AnyBatch)


class Page(msgspec.Struct):
    """One page of a list of batches, newest first, its objects unread."""

    data: list[msgspec.Raw]
    has_more: object = None
    last_id: object = None

    def goes_on(self, limit: int) -> bool:
        """Whether there are more; a list that does not say ends with a page that is not full."""
        return self.has_more if isinstance(self.has_more, bool) else len(self.data) >= limit

    def cursor(self) -> str | None:
        """The id that the next page follows."""
        ids = [id_of(raw) for raw in self.data]
        told = self.last_id if isinstance(self.last_id, str) else None
        readable = [one for one in ids if one is not None]
        return (ids[-1] if ids else None) or told or (readable[-1] if readable else None)


def read(content: bytes | msgspec.Raw, kind: type[_Kind]) -> tuple[_Kind, bool]:
    """The object, and whether it is of the documented shape; MsgspecError when it is none."""
    try:
        return msgspec.json.decode(content, type=kind), True
    except msgspec.ValidationError as error:
        said = msgspec.json.decode(content)
        found = _loosely(said, kind) if isinstance(said, Mapping) else None
        if found is None:
            raise msgspec.ValidationError(f"{error}; it is {shape(content)}") from None
        return found, False


def item(raw: msgspec.Raw, kind: type[_Kind]) -> tuple[_Kind | None, bool]:
    """The same of an object in a list; None when it is none."""
    try:
        return read(raw, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, False


def id_of(raw: msgspec.Raw) -> str | None:
    """The id of an object in a list; None when it says none."""
    found, _ = item(raw, Named)
    return None if found is None else found.id


def paged(page: Callable[[str | None], Page], *, limit: int, name: str) -> Iterator[msgspec.Raw]:
    """Every object of a list, newest first; *page* fetches the *limit* that follow an id.

    Raises Unavailable when the list contradicts itself.
    """
    after: str | None = None
    while True:
        one = page(after)
        yield from one.data
        if not one.goes_on(limit):
            return
        last = one.cursor()
        if last in {None, after}:
            raise Unavailable(
                f"{name}: the list of batches says it goes on after {after}, but does not. "
                "The listing costs nothing: make it again."
            )
        after = last


def observed(
    listed: Iterable[msgspec.Raw],
    kind: type[_Batch],
    observation: Callable[[_Batch], Observation],
    *,
    start: datetime,
    odd: Callable[[bytes], None],
) -> Iterator[Observation]:
    """The batches of a list, until one that was surely made before *start*."""
    for raw in listed:
        batch, exact = item(raw, kind)
        if batch is None:
            odd(bytes(raw))
            continue
        seen = observation(batch)
        if exact and batch.created_at is not None and seen.created_at < start:
            return
        yield seen


def shape(content: bytes | msgspec.Raw) -> str:
    """What an answer is, without its values: they may be anything."""
    try:
        said = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "no JSON"
    if not isinstance(said, Mapping):
        return "a list" if isinstance(said, list) else "no object"
    keys = [str(key)[:_LONGEST_KEY] for key in said][:_SHOWN]
    more = ", …" if len(said) > _SHOWN else ""
    return f"an object of {', '.join(keys)}{more}" if keys else "an empty object"


def check_unread(name: str, shard: Shard, unread: Iterable[bytes]) -> None:
    """Undecided when one of the batches that could not be read carries the shard's intent."""
    if shard.intent and any(shard.intent.encode() in each for each in unread):
        raise Undecided(
            f"{name}: the list has a batch of shard {shard.shard_id} that cannot be read: it has "
            "no id or no status. Nothing is sent again while it is so; look at it there."
        )


def unix(seconds: float | None) -> datetime | None:
    """The time of a number of seconds; None for none, and for what is no time."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None


def first_time(*times: datetime | None) -> datetime:
    """The first that is known; the beginning of all times when none is."""
    return next((one for one in times if one is not None), datetime.fromtimestamp(0, UTC))


def _loosely(said: Mapping[str, Any], kind: type[_Kind]) -> _Kind | None:
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        value = said.get(field.encode_name)
        if value is not None:
            read_so = _value(value, field.type)
            if read_so is not None:
                found[field.name] = read_so
        if field.required and not found.get(field.name):
            return None
    return kind(**found)


def _value(value: Any, kind: Any) -> object:  # noqa: ANN401 - of any JSON, as any field's type
    """The value as it should be; None when it cannot be read so."""
    for attempt in (value, _seconds(value)):
        try:
            found: object = msgspec.convert(attempt, kind, strict=False)
        except (msgspec.ValidationError, OverflowError, ValueError):
            continue
        return found
    return None


def _seconds(value: object) -> int | None:
    """A time with a fraction, or as text, in whole seconds."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
