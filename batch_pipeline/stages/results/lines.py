"""Result files as Arrow columns, split at the byte of a newline and nowhere else."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from batch_pipeline.stages.arrow import Numbers

Files: TypeAlias = Sequence[tuple[Path, str]]
"""Result files, each with its source: `output` or `error`."""

BLOCK = 1 << 20
"""Bytes read at once; a block is one Arrow batch."""

LONG = 4 << 20
"""A line of more bytes is not read with others: its JSON takes many times its size; see `one`."""

SCHEMA = pa.schema(
    [
        pa.field("line", pa.large_string()),  # with its newline, which JSON takes as white space
        pa.field("source", pa.string()),
        pa.field("position", pa.int64()),
    ]
)
_NEWLINE = 10
_EDGE = 1 << 10
_FILE_SHIFT = 48


class Piece(NamedTuple):
    """Whole lines of a file; or one line that is too *long*, by its beginning and its end."""

    data: bytes
    long: int = 0  # bytes of the one line; 0: data is whole lines, and nothing is left out
    end: bytes = b""


def read(files: Files, *, block: int = BLOCK, longest: int = LONG) -> pa.RecordBatchReader:
    """Every line of *files* in order, lazily, in memory that no line of them exceeds.

    `line` is also null where it is of more than *longest* bytes.
    `line` is null where the bytes are not UTF-8. `position` says where the line starts (see
    `bytes_at`) and sorts like the lines themselves. The last line may lack its newline.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(files, block, longest))


def one(files: Files, position: int) -> pa.RecordBatch:
    """The one line at *position*, however long."""
    text = next(_text(handle.readline()) for handle in _at(files, [position]))
    source = files[position >> _FILE_SHIFT][1]
    return pa.record_batch([[text], [source], [position]], schema=SCHEMA)


def bytes_at(files: Files, positions: Iterable[int]) -> Iterator[bytes]:
    """The exact bytes of the lines at *positions*, without their newline; of long ones the head."""
    for handle in _at(files, positions):
        yield handle.readline(LONG).removesuffix(b"\n")


def sizes_at(files: Files, positions: Iterable[int]) -> Iterator[int]:
    """How many bytes the lines at *positions* have, their newline included."""
    for handle in _at(files, positions):
        yield sum(map(len, _parts(handle)))


def copied(files: Files, positions: Iterable[int], out: BinaryIO) -> None:
    """Write the lines at *positions*, byte for byte, each with a newline at its end."""
    for handle in _at(files, positions):
        part = b""
        for part in _parts(handle):
            out.write(part)
        if not part.endswith(b"\n"):
            out.write(b"\n")


def _at(files: Files, positions: Iterable[int]) -> Iterator[BinaryIO]:
    """The open files, each set to where the line at a position starts."""
    with ExitStack() as stack:
        handles: dict[int, BinaryIO] = {}
        for position in positions:
            number, offset = position >> _FILE_SHIFT, position & ((1 << _FILE_SHIFT) - 1)
            if number not in handles:
                handles[number] = stack.enter_context(files[number][0].open("rb"))
            handles[number].seek(offset)
            yield handles[number]


def file_of(position: int) -> int:
    """Which of the files the line at *position* is in."""
    return position >> _FILE_SHIFT


def _parts(handle: BinaryIO) -> Iterator[bytes]:
    """One line in parts."""
    while part := handle.readline(BLOCK):
        yield part
        if part.endswith(b"\n"):
            return


def _batches(files: Files, block: int, longest: int) -> Iterator[pa.RecordBatch]:
    for number, (path, source) in enumerate(files):
        start = number << _FILE_SHIFT
        with path.open("rb") as handle:
            if handle.peek(len(BOM_UTF8))[: len(BOM_UTF8)] == BOM_UTF8:
                start += handle.seek(len(BOM_UTF8))
            for piece in pieces(handle, block, longest):
                if piece.long:
                    yield pa.record_batch([[None], [source], [start]], schema=SCHEMA)
                else:
                    yield _batch(piece.data, source, start)
                start += piece.long or len(piece.data)


def pieces(handle: BinaryIO, block: int = BLOCK, longest: int = LONG) -> Iterator[Piece]:
    """The file in pieces that end with a line; a line of more than *longest* bytes is one alone."""
    carry, size = b"", block
    while chunk := handle.read(size):
        data, first = carry + chunk, chunk.find(b"\n")
        length = len(carry) + first + 1 if first >= 0 else len(data)
        if length > longest:
            piece, data = _long(handle, data, length if first >= 0 else 0)
            chunk = data
            yield piece
        elif first < 0:
            carry, size = data, min(size * 2, LONG)  # doubling keeps long lines linear in time
            continue
        cut = data.rfind(b"\n") + 1
        if len(chunk) > longest:  # else no line but the first can be long, and that one is not
            yield from _apart(data[:cut], longest)
        elif cut:
            yield Piece(data[:cut])
        carry, size = data[cut:], block
    if carry:
        yield from _apart(carry, longest)


def _apart(data: bytes, longest: int) -> Iterator[Piece]:
    """Whole lines, with the too long ones of them apart."""
    start = here = 0
    while len(data) - start > longest and here < len(data):
        end = data.find(b"\n", here) + 1 or len(data)
        if end - here > longest:
            if here > start:
                yield Piece(data[start:here])
            yield Piece(data[here : here + _EDGE], end - here, data[end - _EDGE : end])
            start = end
        here = end
    if start < len(data):
        yield Piece(data[start:])


def _long(handle: BinaryIO, data: bytes, length: int) -> tuple[Piece, bytes]:
    """The long line that *data* begins with, read on to its end without keeping it; what follows.

    *length* is 0 when its end is not in *data*.
    """
    head, tail, rest = data[:_EDGE], data[:length][-_EDGE:] if length else data[-_EDGE:], b""
    size = length or len(data)
    if length:
        return Piece(head, size, tail), data[length:]
    while chunk := handle.read(BLOCK):
        end = chunk.find(b"\n") + 1
        used = chunk[:end] if end else chunk
        size, tail = size + len(used), (tail + used)[-_EDGE:]
        if end:
            rest = chunk[end:]
            break
    return Piece(head, size, tail), rest


def _batch(data: bytes, source: str, start: int) -> pa.RecordBatch:
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE) + 1
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    columns = [
        _strings(data, offsets),
        pa.repeat(source, len(ends)),
        pa.array(offsets[:-1] + start),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def _strings(data: bytes, offsets: Numbers) -> pa.Array:
    """The lines without a copy of their bytes; only a block with bad bytes is looked at by line."""
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    lines = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        bounds = offsets.tolist()
        parts = [data[a:b] for a, b in pairwise(bounds)]
        return pa.array([_text(part) for part in parts], pa.large_string())
    return lines


def _text(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None
