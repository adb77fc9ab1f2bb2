"""A partition's rows as Arrow batches of bounded size, read column by column from its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from itertools import groupby

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_pipeline.errors import DatasetError
from batch_pipeline.stages.requests.column_types import duckdb_type, read_as, readable, unusable
from batch_pipeline.stages.requests.suggestions import there_are

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
    hive: Mapping[str, str | None] = field(hash=False)
    system: fsspec.AbstractFileSystem | None = None


@dataclass(frozen=True)
class Keep:
    """Which rows are the partition's: *text* equals the column's, or low <= column < high."""

    column: str
    text: str | None = None
    low: pa.Scalar | None = None
    high: pa.Scalar | None = None

    @property
    def kind(self) -> pa.DataType:
        """The type of the column that it looks at."""
        return pa.string() if self.low is None else self.low.type

    @property
    def begins(self) -> datetime | date:
        """From when on rows are kept."""
        if self.low is None:
            raise ValueError(f"{self.column} is kept by its text, not by a time")
        begins: datetime | date = self.low.as_py()
        return begins

    def mask(self, values: pa.Array) -> pa.Array:
        """True where the row is kept; null (not kept) where the column is null."""
        values = read_as(values, readable(values.type))
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
class Part:
    """One file of a partition, with its own columns: types as the file has them."""

    file: File
    schema: pa.Schema
    keep: Keep | None = None
    rows: int = 0  # of the whole file
    bytes: int = 0  # of all its columns, uncompressed

    @cached_property
    def names(self) -> list[str]:
        """Every column once: those of the file and those of its folders."""
        own = (name for name in self.schema.names if name not in self.file.hive)
        return list(dict.fromkeys([*own, *self.file.hive]))

    def looks(self, used: Collection[str] | None) -> tuple[tuple[str, str], ...]:
        """The types of its *used* columns (in lower case; None: all)."""
        names = (name for name in self.names if used is None or name.lower() in used)
        kinds = [(name, str(self.kind(name))) for name in sorted(names)]
        return (*kinds, *([] if self.keep is None else [("", str(self.keep.kind))]))

    def kind(self, name: str) -> pa.DataType | None:
        """What the column is read as; None when the file has none; DatasetError for doubles."""
        if name in self.file.hive:
            return pa.string()
        places = self.schema.get_all_field_indices(name)
        if len(places) > 1:
            raise DatasetError(
                f"{self.file.path}: {len(places)} columns are called {name!r}. Give each a name "
                "of its own, or leave the column out of the job."
            )
        return readable(self.schema.field(places[0]).type) if places else None


@dataclass(frozen=True)
class Kinds(Mapping[str, str]):
    """The DuckDB type of each of *names* in the file; a column nobody asks for is not looked at."""

    part: Part
    names: tuple[str, ...]
    absent: Mapping[str, pa.DataType]

    def __getitem__(self, name: str) -> str:
        """KeyError for no column; DatasetError for one that nothing can read."""
        if name not in self.names:
            raise KeyError(name)
        kind = self.part.kind(name)
        kind = self.absent[name] if kind is None else kind
        known = duckdb_type(kind)
        if known is None:
            raise unusable(self.part.file.path, name, kind)
        return known

    def __contains__(self, name: object) -> bool:
        """Whether it is a column, whatever its type."""
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.names)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self.names)


@dataclass(frozen=True)
class Selection:
    """The files and rows of one partition, each file with its own columns.

    `allowed` are the columns that templates may use (none: all); `elsewhere` tells the type of a
    column that only files outside the partition have. `absent` columns are null where a file
    lacks them.
    """

    parts: tuple[Part, ...]
    allowed: tuple[str, ...] = ()
    elsewhere: Callable[[str], pa.DataType | None] = lambda _: None
    absent: Mapping[str, pa.DataType] = field(default_factory=dict)
    kept: int | None = None  # rows, where that is known and they are not those of whole files

    @property
    def files(self) -> tuple[File, ...]:
        """The files, in the dataset's order."""
        return tuple(part.file for part in self.parts)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and about how many bytes; of the whole files where nobody has counted."""
        rows, held = sum(part.rows for part in self.parts), sum(part.bytes for part in self.parts)
        kept = rows if self.kept is None else self.kept
        return kept, held * kept // max(rows, 1)

    @property
    def kinds(self) -> Mapping[str, str]:
        """The DuckDB type of every column, of a group's files."""
        first = self.parts[0]
        return Kinds(first, (*first.names, *self.absent), self.absent)

    @property
    def columns(self) -> Mapping[str, str]:
        """Those of `kinds` that templates may use."""
        first, names = self.parts[0], self.kinds
        return Kinds(first, tuple(n for n in names if self.may_use(n)), self.absent)

    def may_use(self, name: str) -> bool:
        """Whether `dataset.columns` allows the name."""
        return not self.allowed or name in self.allowed

    def kind_of(self, name: str) -> pa.DataType | None:
        """The type of a column in the first file that has it, in the partition or elsewhere."""
        kinds = (part.kind(name) for part in self.parts)
        found = next((kind for kind in kinds if kind is not None), None)
        return self.elsewhere(name) if found is None else found

    def groups(self, used: Collection[str] | None) -> list[Selection]:
        """Neighbouring files whose *used* columns (in lower case; None: all) have equal types."""
        every = groupby(self.parts, key=lambda part: part.looks(used))
        return [replace(self, parts=tuple(some)) for _, some in every]

    def schema(self, columns: Sequence[str]) -> pa.Schema:
        """The *columns* of a group's files."""
        return pa.schema([pa.field(name, self._kind(self.parts[0], name)) for name in columns])

    def _kind(self, part: Part, name: str) -> pa.DataType:
        kind = part.kind(name)
        kind = self.absent.get(name) if kind is None else kind
        if kind is None:
            raise DatasetError(
                f"{part.file.path}: there is no column {name!r} in this file."
                f"{there_are(name, part.names)} Every file of the partition needs it."
            )
        return kind


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


def batch_rows(files: Sequence[File], columns: Sequence[str]) -> int:
    """How many rows make a batch of a few megabytes, judged by the head of some of the files.

    Parquet's own sizes are those of encoded pages: a repeated long text counts once there.
    """
    some_files = files[:: max(1, len(files) // _PROBED_FILES)]
    largest = 1.0
    for file in some_files[:_PROBED_FILES]:
        with opened(file) as parquet:
            names = _physical(parquet, file, columns)
            coded = _coded_bytes(parquet.metadata, names) / max(1, parquet.metadata.num_rows)
            some = max(1, min(_PROBED_ROWS, int(_PROBED_BYTES / max(coded, 1.0))))
            head = next(parquet.iter_batches(some, columns=names, use_threads=False), None)
            if head is not None and head.num_rows:
                largest = max(largest, coded, head.nbytes / head.num_rows)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / largest)))


def batches(selection: Selection, columns: Sequence[str], *, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows in dataset order, only *columns*, as each file has them, at most *rows* at once."""
    for part in selection.parts:
        schema = replace(selection, parts=(part,)).schema(columns)
        keep, extra = part.keep, [] if part.keep is None else [part.keep.column]
        for batch in file_batches(part.file, [*columns, *extra], keep, rows=rows):
            kept = batch if keep is None else batch.filter(keep.mask(batch.column(keep.column)))
            if kept.num_rows:
                yield as_read(kept, schema, part.file)


def file_batches(
    file: File, columns: Sequence[str], keep: Keep | None, *, rows: int
) -> Iterator[pa.RecordBatch]:
    """Rows of the row groups that may hold some to *keep*, as the file has them."""
    with opened(file) as parquet:
        names, groups = _physical(parquet, file, columns), kept_groups(parquet.metadata, keep)
        for batch in parquet.iter_batches(
            rows, row_groups=groups, columns=names, use_threads=False
        ):
            batch.validate(full=True)  # a file may say "text" of bytes that are none
            yield batch


def as_read(batch: pa.RecordBatch, schema: pa.Schema, file: File) -> pa.RecordBatch:
    """The rows with the columns of *schema*: those of the folders too, and null what is absent."""
    return pa.record_batch([_column(batch, field, file) for field in schema], schema=schema)


def _column(batch: pa.RecordBatch, field: pa.Field, file: File) -> pa.Array:
    if field.name in file.hive:
        return pa.repeat(pa.scalar(file.hive[field.name], pa.string()), batch.num_rows)
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    try:
        return read_as(batch.column(field.name), field.type)
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(
            f"{file.path}: column {field.name!r} cannot be read as {field.type} ({error}). "
            "Convert it in the dataset."
        ) from error


def _physical(parquet: pq.ParquetFile, file: File, columns: Sequence[str]) -> list[str]:
    there = parquet.schema_arrow.names
    wanted = [name for name in dict.fromkeys(columns) if name not in file.hive and name in there]
    return wanted or there[:1]  # a batch of no columns would not know its length


def kept_groups(meta: pq.FileMetaData, keep: Keep | None) -> list[int]:
    """The row groups that may hold rows to keep."""
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
