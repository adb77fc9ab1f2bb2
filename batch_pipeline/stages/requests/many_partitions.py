"""The rows of many partitions, each file read once, whether its folder or a column tells them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_pipeline.stages.arrow import Numbers
from batch_pipeline.stages.requests.column_types import read_as, readable
from batch_pipeline.stages.requests.reading import (
    File,
    Keep,
    Part,
    Selection,
    as_read,
    batches,
    file_batches,
)

_COUNTED_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Numbered:
    """Rows of one file that are of the partition of this number."""

    number: int
    file: File
    rows: pa.RecordBatch


def rows_of(
    selections: Sequence[tuple[int, Selection]], columns: Sequence[str], *, rows: int
) -> Iterator[Numbered]:
    """The rows partition by partition, in dataset order; files in turn where that is enough.

    Where several partitions are kept out of the same files, all their rows are held at once.
    """
    if len(selections) > 1 and any(part.keep for _, one in selections for part in one.parts):
        yield from _sorted_out(selections, columns, rows)
        return
    for number, selection in selections:
        for part in selection.parts:
            one = replace(selection, parts=(part,))
            for batch in batches(one, columns, rows=rows):
                yield Numbered(number, part.file, batch)


def counted(selections: Sequence[Selection]) -> list[int]:
    """How many rows each has; their files are read once, the column that tells alone."""
    counts = np.zeros(len(selections), np.int64)
    for file, parts in _by_file(list(enumerate(selections))).items():
        keeps = _Keeps.of_parts(parts)
        for batch in file_batches(file, [keeps.column], keeps.span, rows=_COUNTED_AT_ONCE):
            numbers = keeps.numbers(batch.column(keeps.column))
            counts += np.bincount(numbers[numbers >= 0], minlength=len(counts))
    return [int(count) for count in counts]


def _sorted_out(
    selections: Sequence[tuple[int, Selection]], columns: Sequence[str], rows: int
) -> Iterator[Numbered]:
    held: defaultdict[tuple[int, File], list[pa.RecordBatch]] = defaultdict(list)
    some = dict(selections)
    for file, parts in _by_file(selections).items():
        keeps = _Keeps.of_parts(parts)
        number, part = next(iter(parts.items()))
        schema = replace(some[number], parts=(part,)).schema(columns)
        for batch in file_batches(file, [*columns, keeps.column], keeps.span, rows=rows):
            for number, kept in _each(batch, keeps.numbers(batch.column(keeps.column))):
                held[number, file].append(as_read(kept, schema, file))
    for number, selection in selections:
        for part in selection.parts:
            for batch in held.pop((number, part.file), []):
                yield Numbered(number, part.file, batch)


def _by_file(
    selections: Sequence[tuple[int, Selection]],
) -> Mapping[File, Mapping[int, Part]]:
    found: defaultdict[File, dict[int, Part]] = defaultdict(dict)
    for number, selection in selections:
        for part in selection.parts:
            found[part.file][number] = part
    return found


def _each(batch: pa.RecordBatch, numbers: Numbers) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each number, in the order that they have."""
    order = np.argsort(numbers, kind="stable")
    order = order[np.searchsorted(numbers[order], 0) :]
    if not len(order):
        return
    rows = batch.take(pa.array(order))
    edges = np.flatnonzero(np.diff(numbers[order], prepend=-1, append=-1))
    for first, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield int(numbers[order[first]]), rows.slice(first, end - first)


@dataclass(frozen=True, slots=True)
class _Keeps:
    """What several partitions keep of a file by one column: a text each, or a span of time.

    Spans do not overlap and are in order; `of` are the partitions' numbers.
    """

    keeps: Sequence[Keep]
    of: Numbers

    @classmethod
    def of_parts(cls, parts: Mapping[int, Part]) -> _Keeps:
        """Those of *parts*, by the numbers of their partitions."""
        every = [(part.keep, number) for number, part in parts.items() if part.keep is not None]
        if every[0][0].text is None:
            every.sort(key=lambda one: one[0].begins)
        return cls([keep for keep, _ in every], np.array([number for _, number in every]))

    @property
    def column(self) -> str:
        """Where the partition of a row is told."""
        return self.keeps[0].column

    @property
    def span(self) -> Keep:
        """What all of them keep together, and perhaps more: for row groups to be passed over."""
        return replace(self.keeps[0], text=None, high=self.keeps[-1].high)

    def numbers(self, values: pa.Array) -> Numbers:
        """The number of each row's partition, -1 for none of them: as Keep.mask tells."""
        values = read_as(values, readable(values.type))
        if self.keeps[0].low is None:
            texts = pa.array([keep.text for keep in self.keeps], pa.string())
            found = pc.index_in(values.cast(pa.string()), value_set=texts, skip_nulls=True)
            places: Numbers = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        else:
            lows, highs = (
                _whole(pa.array(list(ends), values.type))
                for ends in zip(*((keep.low, keep.high) for keep in self.keeps), strict=True)
            )
            moments = _whole(values.fill_null(self.keeps[0].low))
            places = np.searchsorted(lows, moments, side="right") - 1
            outside = (moments >= highs[places]) | values.is_null().to_numpy(zero_copy_only=False)
            places[outside] = -1
        return np.where(places < 0, -1, self.of[places])


def _whole(moments: pa.Array) -> Numbers:
    """Days or instants as the whole numbers that they are stored as."""
    wide = pa.int32() if pa.types.is_date32(moments.type) else pa.int64()
    numbers: Numbers = moments.view(wide).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
