"""From pending requests to shards: files to send, cut to fit and named by their content."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_pipeline.errors import UsageError
from batch_pipeline.model import BuiltTarget, Limits, Shard, ShardState
from batch_pipeline.stages.arrow import Numbers, row_groups, text_buffer
from batch_pipeline.stages.requests.line_files import LINES, Files, Piece, Pieces, is_whole_file
from batch_pipeline.stages.shards.pending import Only, Pending, choose
from batch_pipeline.stages.shards.request_names import NAMES, Named
from batch_pipeline.whole_files import folder_made, private_file, sync

__all__ = ["LINES", "TABLE", "Only", "Pending", "choose", "cut", "split"]

TABLE = "requests.parquet"
_BLOCK = 8 << 20
_ID_DIGITS = 20
_WRITERS = 2  # threads: copying, hashing and compressing all leave the interpreter's lock


@dataclass(frozen=True, slots=True)
class _Content:
    """What goes into a shard: its lines' bytes, their sizes, and the requests' names."""

    pieces: Sequence[Piece]
    sizes: Numbers
    names: pa.Table


def cut(
    pending: Pending, *, limits: Callable[[BuiltTarget], Limits], job: str, into: Path
) -> list[Shard]:
    """Cut *pending* into the fewest consecutive shards that fit *limits*.

    A shard has one target and one attempt. Writes folder <shard_id> into *into* with LINES
    and TABLE; equal requests make equal shards, and a shard that is there already is left alone.
    Lines lie beside their request tables.
    """
    named, files = Named(pending.tables), Files(pending.tables)

    def written(part: Pending) -> Shard:
        goes = pending.targets[int(part.target[0])]
        like = _unsent(goes, job=job, attempt=int(part.attempt[0]))
        pieces = _pieces(part, lambda table: files.of(table, goes))
        return _written(_Content(pieces, part.bytes, named.of(part)), like, into)

    with ThreadPoolExecutor(_WRITERS) as writers:
        return list(writers.map(written, _parts(pending, limits)))


def split(shard: Shard, *, folder: Path) -> tuple[Shard, Shard]:
    """The lines of *shard* as two shards of about half its bytes, written beside it in *folder*.

    Raises UsageError when it has one line only.
    """
    table = pq.read_table(folder / shard.shard_id / TABLE)
    sizes, offsets = (table.column(name).to_numpy() for name in ("bytes", "offset"))
    if len(sizes) < 2:  # noqa: PLR2004 - two halves
        raise UsageError(
            f"shard {shard.shard_id} has one line of {shard.bytes:,} bytes and cannot be cut in "
            "two. Shorten that request, or lower shard.max_bytes so that it is left out."
        )
    middle = int(np.searchsorted(np.cumsum(sizes), shard.bytes / 2)) + 1
    middle = min(middle, len(sizes) - 1)
    lines, edge = folder / shard.shard_id / LINES, int(offsets[middle])
    like = replace(shard, state=ShardState.PLANNED, tries=0, message=None)
    first = _Content([Piece(lines, 0, edge)], sizes[:middle], table.slice(0, middle))
    rest = Piece(lines, edge, shard.bytes - edge)
    second = _Content([rest], sizes[middle:], table.slice(middle))
    return _written(first, like, folder), _written(second, like, folder)


def _unsent(goes: BuiltTarget, *, job: str, attempt: int) -> Shard:
    """A shard without its content."""
    return Shard(
        shard_id="",
        job=job,
        attempt=attempt,
        provider=goes.provider,
        model=goes.model,
        endpoint=goes.endpoint,
        requests=0,
        bytes=0,
        digest="",
        options=dict(goes.options),
    )


def _parts(pending: Pending, limits: Callable[[BuiltTarget], Limits]) -> Iterator[Pending]:
    for group in pending.sent_alike():
        room = limits(pending.targets[int(group.target[0])])
        for first, end in pairwise(_edges(group.bytes, room)):
            yield group.between(first, end)


def _edges(sizes: Numbers, limits: Limits) -> Iterator[int]:
    """Where shards begin and end, greedily: each takes all that fits."""
    if len(sizes) and int(sizes.max()) > limits.bytes:
        raise UsageError(
            f"a request line of {int(sizes.max()):,} bytes does not fit a shard of "
            f"{limits.bytes:,}. The limit was lowered after the requests were built: build them "
            "again, and such lines are left out as rejected."
        )
    ends = np.cumsum(sizes)
    place = 0
    yield place
    while place < len(sizes):
        room = limits.bytes + (int(ends[place - 1]) if place else 0)
        fits = int(np.searchsorted(ends, room, side="right"))
        place = min(fits, place + limits.requests)
        yield place


def _pieces(part: Pending, files: Callable[[int], Pieces]) -> list[Piece]:
    """The lines' bytes with neighbours as one piece; *files* are those of a table by its number."""
    follows = (np.diff(part.table) == 0) & (part.offset[1:] == (part.offset + part.bytes)[:-1])
    first = np.flatnonzero(np.concatenate([[True], ~follows]))
    sizes = np.add.reduceat(part.bytes, first)
    starts = zip(
        part.table[first].tolist(), part.offset[first].tolist(), sizes.tolist(), strict=True
    )
    of = {table: files(table) for table in np.unique(part.table).tolist()}
    return [piece for table, offset, size in starts for piece in of[table].between(offset, size)]


def _written(content: _Content, like: Shard, into: Path) -> Shard:
    """Write the shard in a folder aside; the folder's name is known when its bytes are."""
    with _folder_aside(into) as aside:
        digest = _digest(content.names)
        _copied(content.pieces, aside / LINES)
        shard = replace(
            like,
            shard_id=_shard_id(like, digest),
            requests=len(content.sizes),
            bytes=int(content.sizes.sum()),
            digest=digest,
            partitions=_counts(content.names),
        )
        there = into / shard.shard_id
        if _is_whole(there, shard):
            return shard
        shutil.rmtree(there, ignore_errors=True)
        _write_table(content, shard, aside / TABLE)
        aside.rename(there)
    return shard


@contextmanager
def _folder_aside(into: Path) -> Iterator[Path]:
    aside = into / f".shard.{secrets.token_hex(6)}.part"
    folder_made(aside)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_whole(folder: Path, shard: Shard) -> bool:
    lines = folder / LINES
    return (folder / TABLE).exists() and lines.exists() and lines.stat().st_size == shard.bytes


def _digest(names: pa.Table) -> str:
    """What the lines say, without reading them again: a line is its custom_id and its content."""
    digest = hashlib.sha256()
    for name in ("custom_id", "content_hash"):
        for chunk in names.column(name).chunks:
            bounds, data = text_buffer(chunk)
            digest.update(data[bounds[0] : bounds[-1]])
    return digest.hexdigest()


def _shard_id(like: Shard, digest: str) -> str:
    parts = [like.job, str(like.attempt), like.provider, like.model, like.endpoint, digest]
    if like.options:
        parts.append(json.dumps(like.options, sort_keys=True))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:_ID_DIGITS]


def _counts(names: pa.Table) -> dict[str, int]:
    counts = pc.value_counts(names.column("partition").combine_chunks())
    return {pair["values"]: pair["counts"] for pair in counts.to_pylist()}


def _copied(pieces: Sequence[Piece], into: Path) -> None:
    """Copy the pieces in turn, or link what is a whole file: nobody writes into one in place.

    Not synced: `_is_whole` is asked before the lines are sent.
    """
    if is_whole_file(pieces):
        with suppress(OSError):  # a file system without links
            os.link(pieces[0].path, into)
            return
    source: BinaryIO | None = None
    private_file(into)
    with into.open("wb") as out:
        try:
            for piece in pieces:
                if source is None or source.name != str(piece.path):
                    if source is not None:
                        source.close()
                    source = piece.path.open("rb")
                source.seek(piece.offset)
                _copy(source, piece.bytes, out)
        finally:
            if source is not None:
                source.close()


def _copy(source: BinaryIO, size: int, out: BinaryIO) -> None:
    while size > 0:
        block = source.read(min(size, _BLOCK))
        if not block:
            raise UsageError(
                f"{source.name}: the lines end before the request table says. "
                "Build the partition's requests again."
            )
        out.write(block)
        size -= len(block)


def _write_table(content: _Content, shard: Shard, path: Path) -> None:
    count, ends = len(content.sizes), np.cumsum(content.sizes)
    columns = [content.names.column(name).combine_chunks() for name in NAMES]
    columns += [
        pa.repeat(shard.shard_id, count),
        pa.array(np.arange(1, count + 1)),
        pa.array(ends - content.sizes),
        pa.array(content.sizes),
    ]
    names = [*NAMES, "shard", "line", "offset", "bytes"]
    batch = pa.record_batch(columns, names=names)
    with row_groups(path, batch.schema) as groups:
        groups.add(batch)
    sync(path)
