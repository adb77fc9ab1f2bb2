"""The input Parquet: its files, its columns, and which rows belong to a partition."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from batch_pipeline.errors import DatasetError
from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.spec import Dataset, Partitions
from batch_pipeline.stages.periods import Window, name_of, window
from batch_pipeline.stages.reading import File, Keep, Selection, batches, opened
from batch_pipeline.stages.spelling import there_are

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_Cell: TypeAlias = "str | None"


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset as it was when it was opened: its files are listed once.

    `kinds` maps every column to its DuckDB type, `columns` those that templates may use.
    """

    path: str
    said: Partitions
    files: tuple[File, ...]
    schema: pa.Schema
    kinds: Mapping[str, str]
    columns: Mapping[str, str]

    def partitions(self) -> list[str]:
        """The partitions that are there, sorted; UNPARTITIONED alone without partitions."""
        if self.said.kind == "none":
            return [UNPARTITIONED]
        return sorted(self._by_folder if self._in_path else self._in_data())

    def select(self, partition: str) -> Selection:
        """The files and rows of *partition*; DatasetError when no file can have any."""
        if self.said.kind == "none":
            return self._selection(self.files, None)
        if not self._in_path:
            return self._selection(self.files, self._keep(partition))
        files = self._by_folder.get(partition)
        if files is None:
            raise DatasetError(
                f"{self.path}: partition {partition!r} has no files. "
                f"{_nearest(partition, list(self._by_folder))}"
            )
        return self._selection(files, None)

    def _selection(self, files: Iterable[File], keep: Keep | None) -> Selection:
        return Selection(tuple(files), self.schema, self.kinds, self.columns, keep)

    @property
    def _column(self) -> str:
        return self.said.column or ""  # spec asks for one whenever there are partitions

    @property
    def _in_path(self) -> bool:
        return self._column in self.files[0].hive

    @cached_property
    def _by_folder(self) -> dict[str, list[File]]:
        folders: dict[str, list[File]] = {}
        for file in self.files:
            value = file.hive[self._column]
            if value is not None:
                folders.setdefault(value, []).append(file)
        return folders

    def _keep(self, partition: str) -> Keep:
        kind = self.schema.field(self._column).type
        if self.said.kind == "static" or not pa.types.is_temporal(kind):
            return Keep(self._column, text=partition)
        low, high = _bounds(window(self.said, partition), kind)
        return Keep(self._column, low=low, high=high)

    def _in_data(self) -> set[str]:
        """One pass over the partition column alone."""
        kind = self.schema.field(self._column).type
        timed = self.said.kind != "static" and pa.types.is_temporal(kind)
        found: set[str] = set()
        for batch in batches(self._selection(self.files, None), [self._column], rows=65_536):
            values = batch.column(0)
            if timed:
                # Quarter hours: the finest step of any timezone's offset.
                steps = pc.unique(_floored(values)).drop_null().to_pylist()
                found |= {name_of(self.said, _moment(step, self.said, kind)) for step in steps}
            else:
                found |= set(pc.unique(values.cast(pa.string())).drop_null().to_pylist())
        return found


def open_dataset(
    con: duckdb.DuckDBPyConnection, dataset: Dataset, partitions: Partitions
) -> OpenedDataset:
    """List the files of *dataset* and read its columns from the first one.

    Raises DatasetError: nothing at the path, no Parquet in it, an unreadable file, a column
    that is named in the job and not in the data.
    """
    files = _listed(dataset.path)
    schema = _schema(files)
    wanted = {"dataset.columns": dataset.columns, "dataset.key": dataset.key}
    if partitions.column is not None and partitions.kind != "none":
        wanted["partitions.column"] = [partitions.column]
    for place, names in wanted.items():
        _check(dataset.path, place, names, schema.names)
    kinds = _duckdb_types(con, schema)
    columns = {name: kinds[name] for name in dataset.columns or schema.names}
    return OpenedDataset(dataset.path, partitions, files, schema, kinds, columns)


def _listed(path: str) -> tuple[File, ...]:
    try:
        system, root = fsspec.core.url_to_fs(path)
        found = _paths(system, root)
    except (ImportError, OSError, ValueError) as error:
        raise DatasetError(
            f"{path}: the dataset cannot be listed ({error}). Check dataset.path."
        ) from error
    if found is None:
        raise DatasetError(
            f"{path}: there is nothing here. Check dataset.path; relative paths start at the "
            "job file."
        )
    parquet = sorted(name for name in found if _is_data(name, root))
    if not parquet:
        raise DatasetError(
            f"{path}: no Parquet file here (looked for names that end in .parquet). "
            "Point dataset.path at a folder, a glob or a file of Parquet."
        )
    remote = None if "file" in _protocols(system) else system
    hive = [_hive(name) for name in parquet]
    shared = set(hive[0]).intersection(*hive)
    return tuple(
        File(name, {key: values[key] for key in values if key in shared}, remote)
        for name, values in zip(parquet, hive, strict=True)
    )


def _paths(system: fsspec.AbstractFileSystem, root: str) -> list[str] | None:
    """Every file at *root* (a folder, a file, else a glob), or None when nothing is there."""
    if system.isdir(root):
        return list(system.find(root))
    if system.isfile(root):
        return [root]
    matches = list(system.glob(root)) if any(mark in root for mark in "*?[") else []
    return [name for name in matches if system.isfile(name)] or None


def _protocols(system: fsspec.AbstractFileSystem) -> Sequence[str]:
    return [system.protocol] if isinstance(system.protocol, str) else system.protocol


def _is_data(name: str, root: str) -> bool:
    if name == root:
        return True  # a file that was named is taken at its word
    inside = name.removeprefix(root).split("/")
    hidden = any(part.startswith((".", "_")) and "=" not in part for part in inside)
    return name.endswith(".parquet") and not hidden


def _hive(name: str) -> dict[str, _Cell]:
    pairs = (part.partition("=") for part in Path(name).parts[:-1] if "=" in part)
    return {unquote(key): _hive_value(value) for key, _, value in pairs}


def _hive_value(text: str) -> _Cell:
    return None if text == _HIVE_NULL else unquote(text)


def _schema(files: Sequence[File]) -> pa.Schema:
    """The first file's columns; one that holds nothing there has the type it has further on."""
    found = _schema_of(files[0])
    for file in files[1:]:
        untyped = [field.name for field in found if pa.types.is_null(field.type)]
        if not untyped:
            break
        later = _schema_of(file)
        for name in untyped:
            if name in later.names:
                found = found.set(found.get_field_index(name), later.field(name))
    return found


def _schema_of(file: File) -> pa.Schema:
    with opened(file) as parquet:
        schema: pa.Schema = parquet.schema_arrow.remove_metadata()
    kept = [field for field in schema if field.name not in file.hive]
    return pa.schema([*kept, *(pa.field(name, pa.string()) for name in file.hive)])


def _duckdb_types(con: duckdb.DuckDBPyConnection, schema: pa.Schema) -> dict[str, str]:
    described = con.from_arrow(schema.empty_table())
    return {name: str(kind) for name, kind in zip(described.columns, described.types, strict=True)}


def _check(path: str, place: str, names: Iterable[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            raise DatasetError(
                f"{path}: {place} names {name!r}, which is no column of the data."
                f"{there_are(name, there)}"
            )


def _nearest(wanted: str, there: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, there, n=3, cutoff=0.6)
    if near:
        return f"The nearest are: {', '.join(near)}."
    more = f" and {len(there) - 3} more" if len(there) > 3 else ""  # noqa: PLR2004 - a taste
    return f"There are: {', '.join(islice(sorted(there), 3))}{more}."


def _bounds(span: Window, kind: pa.DataType) -> tuple[pa.Scalar, pa.Scalar]:
    if pa.types.is_date(kind):
        return pa.scalar(span.start.date(), kind), pa.scalar(span.end.date(), kind)
    if kind.tz is None:  # a wall clock without a zone is read as the partitions' own
        ends = (span.start.replace(tzinfo=None), span.end.replace(tzinfo=None))
    else:
        ends = (span.start.astimezone(UTC), span.end.astimezone(UTC))
    return pa.scalar(ends[0], kind), pa.scalar(ends[1], kind)


def _floored(values: pa.Array) -> pa.Array:
    if pa.types.is_date(values.type):
        return values.cast(pa.timestamp("s"))
    naive = values.cast(pa.timestamp(values.type.unit))  # the instant in UTC, or the wall clock
    return pc.floor_temporal(naive, multiple=15, unit="minute").cast(pa.timestamp("s"))


def _moment(step: datetime, said: Partitions, kind: pa.DataType) -> datetime:
    zoned = pa.types.is_timestamp(kind) and kind.tz is not None
    return step.replace(tzinfo=UTC if zoned else ZoneInfo(said.timezone))
