"""The lines of a batch of rows into the files of their targets, and where each line is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from batch_pipeline.model import Envelope, Limits
from batch_pipeline.stages.arrow import Numbers, detached, text_buffer
from batch_pipeline.stages.requests.line_files import LineWriter
from batch_pipeline.stages.requests.line_query import REJECTED, TARGET
from batch_pipeline.stages.requests.targets import CompiledTarget

PLACED = pa.schema(
    {
        "content_hash": pa.string(),
        "offset": pa.int64(),
        "bytes": pa.int64(),
        "rejected": pa.string(),
    }
)
"""What a request table says of a line: nothing but a reason where there is none."""


@dataclass
class TargetLines:
    """a target, the writer of its lines, and what it was given so far."""

    compiled: CompiledTarget
    out: LineWriter
    requests: int = 0
    bytes: int = 0

    def take(self, lines: pa.Array, custom_ids: pa.Array) -> pa.RecordBatch:
        """Write the lines that fit, as slices of their buffer; PLACED of all of them."""
        hashes = detached(content_hashes(lines, custom_ids, self.compiled.envelope))
        bounds, data = text_buffer(lines)
        sizes = np.diff(bounds)
        fits = sizes <= self.compiled.limits.bytes
        # Neighbours that fit are one slice: all of them, nearly always.
        edges = np.flatnonzero(np.diff(fits, prepend=False, append=False))
        for first, last in edges.reshape(-1, 2):
            self.out.write(data, bounds[first : last + 1])
        ends = self.bytes + np.cumsum(np.where(fits, sizes, 0))
        self.bytes = int(ends[-1])
        self.requests += int(fits.sum())
        offsets = pa.array(ends - sizes, mask=~fits)
        columns = [hashes, offsets, pa.array(sizes), _reasons(sizes, fits, self.compiled.limits)]
        return pa.record_batch(columns, schema=PLACED)


def placed(batch: pa.RecordBatch, targets: Sequence[TargetLines]) -> pa.RecordBatch:
    """Write the lines of *batch*, as LineQuery yields it; PLACED of its rows, in their order."""
    lines, custom_ids = batch["line"], batch["custom_id"]
    if len(targets) == 1 and not lines.null_count:
        return targets[0].take(lines, custom_ids)
    goes = numbers(batch)
    goes[lines.is_null().to_numpy(zero_copy_only=False)] = len(targets)
    parts: list[pa.RecordBatch] = []
    rows: list[Numbers] = []
    for number in np.unique(goes).tolist():
        mine = np.flatnonzero(goes == number)
        if number == len(targets):
            parts.append(_without_lines(batch[REJECTED].take(pa.array(mine))))
        elif len(mine) == len(goes):
            return targets[number].take(lines, custom_ids)
        else:
            some = pa.array(mine)
            parts.append(targets[number].take(lines.take(some), custom_ids.take(some)))
        rows.append(mine)
    return pa.concat_batches(parts).take(pa.array(np.argsort(np.concatenate(rows))))


def numbers(batch: pa.RecordBatch) -> Numbers:
    """The number of each row's target."""
    if TARGET not in batch.schema.names:
        return np.zeros(batch.num_rows, np.int32)
    given: Numbers = batch[TARGET].to_numpy().astype(np.int32)
    return given


def _without_lines(reasons: pa.Array) -> pa.RecordBatch:
    nulls = [pa.nulls(len(reasons), field.type) for field in PLACED][:-1]
    return pa.record_batch([*nulls, detached(reasons)], schema=PLACED)


def _reasons(
    sizes: Numbers, fits: np.ndarray[tuple[int], np.dtype[np.bool_]], limits: Limits
) -> pa.Array:
    if fits.all():
        return pa.nulls(len(sizes), pa.string())
    texts = [
        f"line of {size:,} bytes is over the limit of {limits.bytes:,}"
        for size in sizes[~fits].tolist()
    ]
    return pa.array(texts, pa.string()).take(pa.array(np.cumsum(~fits) - 1, mask=fits))


_INLINE = 12
"""A string view of so few bytes holds the text itself; a request body is never so short."""
_PREFIX = 4
_BODY = "body"


def content_hashes(lines: pa.Array, custom_ids: pa.Array, envelope: Envelope) -> pa.Array:
    """The sha256, as hex, of the body in each of *lines*, which carry *custom_ids* in order."""
    import polars as pl  # noqa: PLC0415 - a tenth of what a code location takes to open
    import polars_hash as plh  # noqa: PLC0415 - as above

    bounds, data = text_buffer(lines)
    before = len(envelope.before_id.encode()) + len(envelope.before_body.encode()) + 2  # quotes
    starts = bounds[:-1] + before + np.diff(text_buffer(custom_ids)[0])
    sizes = bounds[1:] - len(envelope.after_body.encode()) - starts
    if not len(starts):
        return pa.array([], pa.string())
    bodies = pl.DataFrame({_BODY: pl.from_arrow(_views(lines, data, starts, sizes))})
    hashes = bodies.select(plh.col(_BODY).chash.sha2_256()).to_series()
    return hashes.to_arrow().cast(pa.string())


def _views(
    lines: pa.Array,
    data: memoryview,
    starts: np.ndarray[tuple[int], np.dtype[np.int64]],
    sizes: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> pa.Array:
    """Texts as (size, first four bytes, buffer 0, offset) into the buffer of *lines*."""
    if int(sizes.min()) <= _INLINE or len(data) > np.iinfo(np.int32).max:
        raise ValueError("a body is too short, or a batch of lines too long, for string views")
    bytes_ = np.frombuffer(data, np.uint8)
    views = np.zeros((len(starts), 4), np.int32)
    views[:, 0] = sizes
    views[:, 1] = bytes_[starts[:, None] + np.arange(_PREFIX)].view(np.int32)[:, 0]
    views[:, 3] = starts
    buffers = [None, pa.py_buffer(views), lines.buffers()[2]]
    return pa.Array.from_buffers(pa.string_view(), len(starts), buffers)
