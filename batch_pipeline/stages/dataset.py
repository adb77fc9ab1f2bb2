"""The input Parquet: its files, its columns, and which rows belong to a partition."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from batch_pipeline.errors import DatasetError
from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.spec import Dataset, Partitions
from batch_pipeline.stages import moments
from batch_pipeline.stages.periods import Calendar
from batch_pipeline.stages.reading import File, Keep, Selection, batches, opened
from batch_pipeline.stages.spelling import there_are

_log = logging.getLogger("batch_pipeline")

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
        return self._in_order(self._by_folder if self._in_path else self._in_data())

    def select(self, partition: str) -> Selection:
        """The files and rows of *partition*; DatasetError when no file can have any.

        Also for what is no partition of the job: its rows would be those of another one too.
        """
        if self.said.kind == "none":
            return self._selection(self.files, None)
        if not self._in_path:
            self._must_be_a_name(partition)
            return self._selection(self.files, self._keep(partition))
        files = self._by_folder.get(partition)
        if files is None:
            raise DatasetError(
                f"{self.path}: partition {partition!r} has no files. "
                f"{_nearest(partition, list(self._by_folder))}"
            )
        self._must_be_a_name(partition)
        return self._selection(files, None)

    def _in_order(self, names: Collection[str]) -> list[str]:
        """*names* as time goes; DatasetError for those that Dagster would not know."""
        if self._calendar is None:
            return sorted(names)
        self._calendar.check(names, where=f"{self.path}: column {self._column!r}")
        return sorted(names, key=self._calendar.start_of)

    def _must_be_a_name(self, partition: str) -> None:
        if self._calendar is not None:
            self._calendar.window(partition)

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

    @cached_property
    def _calendar(self) -> Calendar | None:
        return None if self.said.kind in {"none", "static"} else Calendar(self.said)

    def _keep(self, partition: str) -> Keep:
        kind = self.schema.field(self._column).type
        if self._calendar is None or not moments.is_time(kind):
            return Keep(self._column, text=partition)
        low, high = moments.bounds(self._calendar, self._calendar.window(partition), kind)
        return Keep(self._column, low=low, high=high)

    def _in_data(self) -> Collection[str]:
        """One pass over the partition column alone."""
        kind = self.schema.field(self._column).type
        values = (
            batch.column(0)
            for batch in batches(self._selection(self.files, None), [self._column], rows=65_536)
        )
        if self._calendar is not None and moments.is_time(kind):
            return self._at_times(self._calendar, values, kind)
        texts = (pc.unique(some.cast(pa.string())).drop_null().to_pylist() for some in values)
        return set(chain.from_iterable(texts))

    def _at_times(
        self, calendar: Calendar, values: Iterable[pa.Array], kind: pa.DataType
    ) -> Collection[str]:
        found = moments.Found(calendar, kind)
        for some in values:
            found.see(some)
        if found.left_out:
            skipped = min(found.left_out)
            _log.warning(
                "%s: column %r holds times that no clock in %s shows, such as %s: clocks are put "
                "forward over them. Their rows are in the partition that follows, %r.",
                *(self.path, self._column, self.said.timezone, f"{skipped:%Y-%m-%d %H:%M}"),
                calendar.name_of(calendar.instant(skipped)),
            )
        return found.names


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
