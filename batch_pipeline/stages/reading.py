"""A partition's rows as Arrow batches of bounded size, read column by column from its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_pipeline.errors import DatasetError

_BATCH_BYTES = 6 << 20
_BATCH_ROWS = 8192
# Page by page: by default the whole column of a row group is fetched before its first row.
_STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}
_PROBED_FILES = 8
_PROBED_ROWS = 128
_PROBED_BYTES = 32 << 20  # images are megabytes each


@dataclass(frozen=True)
class File:
    """One Parquet file: its path, its `column=value` folders, and where it is, if not local."""

    path: str
    hive: Mapping[str, str | None]
    system: fsspec.AbstractFileSystem | None = None


@dataclass(frozen=True)
class Keep:
    """Which rows are the partition's: *text* equals the column's, or low <= column < high."""

    column: str
    text: str | None = None
    low: pa.Scalar | None = None
    high: pa.Scalar | None = None

    def mask(self, values: pa.Array) -> pa.Array:
        """True where the row is kept; null (not kept) where the column is null."""
        if self.text is not None:
            return pc.equal(values.cast(pa.string()), self.text)
        return pc.and_(pc.greater_equal(values, self.low), pc.less(values, self.high))

    def may_be_in(self, group: pq.ColumnChunkMetaData) -> bool:
        """False only when a row group's own minimum and maximum rule the rows out."""
        stats = group.statistics
        if self.low is None or self.high is None or stats is None or not stats.has_min_max:
            return True
        lowest = pa.scalar(stats.min, self.low.type).as_py()
        highest = pa.scalar(stats.max, self.low.type).as_py()
        return bool(highest >= self.low.as_py() and lowest < self.high.as_py())


@dataclass(frozen=True)
class Selection:
    """The files and rows of one partition.

    `kinds` maps every column to its DuckDB type, `columns` those that templates may use.
    """

    files: tuple[File, ...]
    schema: pa.Schema
    kinds: Mapping[str, str]
    columns: Mapping[str, str]
    keep: Keep | None = None


@contextmanager
def opened(file: File) -> Iterator[pq.ParquetFile]:
    """The open file; whatever cannot be read in it is a DatasetError that names it."""
    try:
        if file.system is None:
            with pq.ParquetFile(file.path, **_STREAMED) as parquet:
                yield parquet
        else:
            with (
                file.system.open(file.path, "rb") as handle,
                pq.ParquetFile(handle, **_STREAMED) as parquet,
            ):
                yield parquet
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{file.path}: this Parquet file cannot be read ({error}). "
            "Replace it or take it out of the dataset."
        ) from error


def batch_rows(selection: Selection, columns: Sequence[str]) -> int:
    """How many rows make a batch of a few megabytes, judged by the head of some files.

    Parquet's own sizes are those of encoded pages: a repeated long text counts once there.
    """
    files = selection.files[:: max(1, len(selection.files) // _PROBED_FILES)]
    largest = 1.0
    for file in files[:_PROBED_FILES]:
        with opened(file) as parquet:
            names = _physical(parquet, file, columns)
            coded = _coded_bytes(parquet.metadata, names) / max(1, parquet.metadata.num_rows)
            some = max(1, min(_PROBED_ROWS, int(_PROBED_BYTES / max(coded, 1.0))))
            head = next(parquet.iter_batches(some, columns=names, use_threads=False), None)
            if head is not None and head.num_rows:
                largest = max(largest, coded, head.nbytes / head.num_rows)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / largest)))


def batches(selection: Selection, columns: Sequence[str], *, rows: int) -> Iterator[pa.RecordBatch]:
    """The partition's rows in dataset order, only *columns*, at most *rows* at once."""
    schema = pa.schema([selection.schema.field(name) for name in columns])
    for file in selection.files:
        with opened(file) as parquet:
            yield from _of_file(selection, file, parquet, schema, rows)


def _of_file(
    selection: Selection, file: File, parquet: pq.ParquetFile, schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    keep = selection.keep
    extra = [] if keep is None else [keep.column]
    names = _physical(parquet, file, [*schema.names, *extra])
    groups = _groups(parquet, keep)
    for batch in parquet.iter_batches(rows, row_groups=groups, columns=names, use_threads=False):
        batch.validate(full=True)  # a file may say "text" of bytes that are none
        kept = batch if keep is None else batch.filter(keep.mask(batch.column(keep.column)))
        if kept.num_rows:
            yield pa.record_batch([_column(kept, field, file) for field in schema], schema=schema)


def _column(batch: pa.RecordBatch, field: pa.Field, file: File) -> pa.Array:
    if field.name in file.hive:
        return pa.repeat(pa.scalar(file.hive[field.name], pa.string()), batch.num_rows)
    values = batch.column(field.name)
    if values.type == field.type:
        return values
    try:
        return values.cast(field.type)
    except pa.ArrowException as error:
        raise DatasetError(
            f"{file.path}: column {field.name!r} is {values.type} here and {field.type} in the "
            f"dataset's first file ({error}). Give the files one schema."
        ) from error


def _physical(parquet: pq.ParquetFile, file: File, columns: Sequence[str]) -> list[str]:
    there = parquet.schema_arrow.names
    wanted = [name for name in dict.fromkeys(columns) if name not in file.hive]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DatasetError(
            f"{file.path}: column {missing[0]!r} is in the dataset's first file and not in this "
            f"one, which has: {', '.join(there)}. Give the files one schema."
        )
    return wanted or there[:1]  # a batch of no columns would not know its length


def _groups(parquet: pq.ParquetFile, keep: Keep | None) -> list[int]:
    meta = parquet.metadata
    every = range(meta.num_row_groups)
    if keep is None or not meta.num_row_groups:
        return list(every)
    paths = [meta.row_group(0).column(place).path_in_schema for place in range(meta.num_columns)]
    place = paths.index(keep.column)
    return [group for group in every if keep.may_be_in(meta.row_group(group).column(place))]


def _coded_bytes(meta: pq.FileMetaData, names: Sequence[str]) -> int:
    total = 0
    for group in range(meta.num_row_groups):
        chunks = (meta.row_group(group).column(place) for place in range(meta.num_columns))
        total += sum(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema.split(".")[0] in names
        )
    return total
