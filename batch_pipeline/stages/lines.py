"""Result files as Arrow columns, split at the byte of a newline and nowhere else."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa

from batch_pipeline.stages.columns import Numbers

Files: TypeAlias = Sequence[tuple[Path, str]]
"""Result files, each with its source: `output` or `error`."""

BLOCK = 4 << 20
"""Bytes read at once; a block is one Arrow batch, and a longer line grows its own block."""

SCHEMA = pa.schema(
    [
        pa.field("line", pa.large_string()),  # with its newline, which JSON takes as white space
        pa.field("source", pa.string()),
        pa.field("position", pa.int64()),
    ]
)
_NEWLINE = 10
_FILE_SHIFT = 48


def read(files: Files, *, block: int = BLOCK) -> pa.RecordBatchReader:
    """Every line of *files* in order, lazily, in memory bounded by the longest line.

    A byte order mark at the start of a file is no part of its first line.
    `line` is null where the bytes are not UTF-8. `position` says where the line starts (see
    `bytes_at`) and sorts like the lines themselves. The last line may lack its newline.
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(files, block))


def bytes_at(files: Files, positions: Iterable[int]) -> Iterator[bytes]:
    """The exact bytes of the lines at *positions*, without their newline."""
    with ExitStack() as stack:
        handles: dict[int, BinaryIO] = {}
        for position in positions:
            number, offset = position >> _FILE_SHIFT, position & ((1 << _FILE_SHIFT) - 1)
            if number not in handles:
                handles[number] = stack.enter_context(files[number][0].open("rb"))
            handles[number].seek(offset)
            yield handles[number].readline().removesuffix(b"\n")


def file_of(position: int) -> int:
    """Which of the files the line at *position* is in."""
    return position >> _FILE_SHIFT


def _batches(files: Files, block: int) -> Iterator[pa.RecordBatch]:
    for number, (path, source) in enumerate(files):
        start = number << _FILE_SHIFT
        with path.open("rb") as handle:
            if handle.peek(len(BOM_UTF8))[: len(BOM_UTF8)] == BOM_UTF8:
                start += handle.seek(len(BOM_UTF8))
            for data in whole_lines(handle, block):
                yield _batch(data, source, start)
                start += len(data)


def whole_lines(handle: BinaryIO, block: int) -> Iterator[bytes]:
    """The file in pieces that end with a line; doubling keeps one huge line linear in time."""
    carry, size = b"", block
    while chunk := handle.read(size):
        cut = chunk.rfind(b"\n") + 1
        if cut == 0:
            carry, size = carry + chunk, size * 2
            continue
        yield carry + chunk[:cut]
        carry, size = chunk[cut:], block
    if carry:
        yield carry


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
