"""The input Parquet: its files, its columns, and which rows belong to a partition."""

from __future__ import annotations

import difflib
import logging
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_pipeline.errors import DatasetError, PartitionError
from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.spec import Dataset, Partitions
from batch_pipeline.stages.requests import time_columns
from batch_pipeline.stages.requests.column_types import duckdb_type
from batch_pipeline.stages.requests.many_partitions import counted
from batch_pipeline.stages.requests.periods import Calendar
from batch_pipeline.stages.requests.reading import (
    File,
    Keep,
    Part,
    Selection,
    batches,
    kept_groups,
    opened,
)
from batch_pipeline.stages.requests.suggestions import there_are

_log = logging.getLogger("batch_pipeline")

_FOOTERS = 4096
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_Cell: TypeAlias = "str | None"


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset as it was when it was opened: its files are listed once.

    No file is read before it is asked for: a broken one is its own partition's trouble.
    """

    path: str
    said: Partitions
    files: tuple[File, ...]
    named: Mapping[str, tuple[str, ...]]
    """The columns that the job file names, by the key that names them."""

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Columns that templates may use, with DuckDB types, as the first and last file tell."""
        parts = [self._part(file) for file in dict.fromkeys((self.files[0], self.files[-1]))]
        self._check(parts)
        allowed = Selection((), self.named["dataset.columns"])
        return {
            name: kind
            for part in reversed(parts)
            for name in part.names
            if allowed.may_use(name)
            and (kind := duckdb_type(part.kind(name) or pa.null())) is not None
        }

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
            return self._selection(self.files)
        if not self._in_path:
            return self._selection(self.files, keeping=partition)
        files = self._by_folder.get(partition)
        if files is None:
            raise PartitionError(
                f"{self.path}: partition {partition!r} has no files. "
                f"{_nearest(partition, list(self._by_folder))}"
            )
        self._must_be_a_name(partition)
        return self._selection(files)

    def sized(self, selections: Mapping[str, Selection]) -> dict[str, Selection]:
        """The same with their sizes known; rows are counted where a column tells the partition."""
        found = dict(selections)
        if len(found) > 1 and self.said.kind != "none" and not self._in_path:
            with suppress(DatasetError):  # whoever reads the rows says what is wrong, and of which
                counts = counted(list(found.values()))
                every = zip(found.items(), counts, strict=True)
                return {name: replace(one, kept=count) for (name, one), count in every}
        return found

    def _in_order(self, names: Collection[str]) -> list[str]:
        """*names* as time goes; DatasetError for those that Dagster would not know."""
        if self._calendar is None:
            return sorted(names)
        self._calendar.check(names, where=f"{self.path}: column {self._column!r}")
        return sorted(names, key=self._calendar.start_of)

    def _must_be_a_name(self, partition: str) -> None:
        if self._calendar is not None:
            self._calendar.window(partition)

    def _selection(self, files: Sequence[File], keeping: str | None = None) -> Selection:
        parts = self._parts(tuple(files))
        if keeping is not None:
            self._must_be_a_name(keeping)
            keeps = {kind: self._keep(keeping, kind) for kind in map(self._kind, parts)}
            every = [(part, keeps[self._kind(part)]) for part in parts]
            # One file at least: what is in none has no rows, and columns all the same.
            some = [one for one in every if self._may_be_in(*one)] or every[:1]
            parts = [replace(part, keep=keep) for part, keep in some]
        allowed = self.named["dataset.columns"]
        return Selection(tuple(parts), allowed, partial(self._elsewhere, not_in=frozenset(files)))

    @cached_property
    def _parts(self) -> Callable[[tuple[File, ...]], Sequence[Part]]:
        """The files with their columns, which are looked at once; many partitions share them."""

        @lru_cache(maxsize=1)
        def parts(files: tuple[File, ...]) -> Sequence[Part]:
            found = [self._part(file) for file in files]
            self._check(found)
            return found

        return parts

    def _part(self, file: File) -> Part:
        footer = self._footer(file)
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        schema = footer.schema.to_arrow_schema().remove_metadata()
        return Part(file, schema, rows=footer.num_rows, bytes=size)

    def _may_be_in(self, part: Part, keep: Keep) -> bool:
        """False when the row groups of the file hold nothing of what is kept."""
        footer = self._footer(part.file)
        return footer.num_row_groups == 0 or bool(kept_groups(footer, keep))

    @cached_property
    def _footer(self) -> Callable[[File], pq.FileMetaData]:
        """What a file says of itself; many partitions ask the same files."""

        @lru_cache(maxsize=_FOOTERS)
        def footer(file: File) -> pq.FileMetaData:
            with opened(file) as parquet:
                return parquet.metadata

        return footer

    def _check(self, parts: Sequence[Part]) -> None:
        """DatasetError for a column that the job file names and no file has."""
        there = list(dict.fromkeys(name for part in parts for name in part.names))
        outside = frozenset(part.file for part in parts)
        for place, names in self.named.items():
            for name in names:
                if name not in there and self._elsewhere(name, not_in=outside) is None:
                    raise DatasetError(
                        f"{self.path}: {place} names {name!r}, which is no column of the data."
                        f"{there_are(name, there)}"
                    )

    def _elsewhere(self, name: str, *, not_in: Collection[File]) -> pa.DataType | None:
        """The type of a column in the newest file that has it; broken files have none."""
        for file in reversed(self.files):
            if file not in not_in:
                with suppress(DatasetError):
                    kind = self._part(file).kind(name)
                    if kind is not None:
                        return kind
        return None

    def _kind(self, part: Part) -> pa.DataType:
        """The type of the partition column in a file."""
        kind = part.kind(self._column)
        if kind is None:
            raise DatasetError(
                f"{part.file.path}: partitions.column names {self._column!r}, which this file "
                f"lacks.{there_are(self._column, part.names)} Its rows are in no partition: add "
                "the column, or take the file out of the dataset."
            )
        return kind

    @property
    def _column(self) -> str:
        return self.said.column or ""  # spec asks for one whenever there are partitions

    @property
    def _in_path(self) -> bool:
        return any(self._column in file.hive for file in self.files)

    @cached_property
    def _by_folder(self) -> dict[str, list[File]]:
        folders: dict[str, list[File]] = {}
        for file in self.files:
            value = file.hive.get(self._column)
            if value is not None:
                folders.setdefault(value, []).append(file)
        return folders

    @cached_property
    def _calendar(self) -> Calendar | None:
        return None if self.said.kind in {"none", "static"} else Calendar(self.said)

    def _keep(self, partition: str, kind: pa.DataType) -> Keep:
        if self._calendar is None or not time_columns.is_time(kind):
            return Keep(self._column, text=partition)
        low, high = time_columns.bounds(self._calendar, self._calendar.window(partition), kind)
        return Keep(self._column, low=low, high=high)

    def _in_data(self) -> Collection[str]:
        """One pass over the partition column alone."""
        every = [self._part(file) for file in self.files]
        self._check(every)
        found: set[str] = set()
        for kind, parts in groupby(every, key=self._kind):
            there = batches(Selection(tuple(parts)), [self._column], rows=65_536)
            values = (batch.column(0) for batch in there)
            if self._calendar is not None and time_columns.is_time(kind):
                found.update(self._at_times(self._calendar, values, kind))
            else:
                texts = (pc.unique(some.cast(pa.string())).drop_null() for some in values)
                found.update(chain.from_iterable(some.to_pylist() for some in texts))
        return found

    def _at_times(
        self, calendar: Calendar, values: Iterable[pa.Array], kind: pa.DataType
    ) -> Collection[str]:
        found = time_columns.Found(calendar, kind)
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


def open_dataset(dataset: Dataset, partitions: Partitions) -> OpenedDataset:
    """List the files of *dataset*.

    Raises DatasetError: nothing at the path, no Parquet in it.
    """
    named = {"dataset.columns": tuple(dataset.columns), "dataset.key": tuple(dataset.key)}
    if partitions.column is not None and partitions.kind != "none":
        named["partitions.column"] = (partitions.column,)
    return OpenedDataset(dataset.path, partitions, _listed(dataset.path), named)


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
    other = next((one for one in sorted(found) if not parquet or one == root), None)
    if other is not None and (line := _made_parquet(other)) is not None:
        raise DatasetError(
            f"{other}: this is no Parquet file. Make one of it in one line, and name that in "
            f"dataset.path: {line}"
        )
    if not parquet:
        raise DatasetError(
            f"{path}: no Parquet file here (looked for names that end in .parquet). "
            "Point dataset.path at a folder, a glob or a file of Parquet."
        )
    remote = None if "file" in _protocols(system) else system
    return tuple(File(name, _hive(name), remote) for name in parquet)


_READERS = {
    ".csv": "read_csv({0!r}, dtype=str)",  # as text, so that 01067 stays what it is
    ".tsv": "read_csv({0!r}, sep='\\t', dtype=str)",
    ".jsonl": "read_json({0!r}, lines=True, dtype=False)",
    ".ndjson": "read_json({0!r}, lines=True, dtype=False)",
    ".json": "read_json({0!r}, dtype=False)",
}


def _made_parquet(name: str) -> str | None:
    """How to make Parquet of a file of text, in a shell; None of what we would not know."""
    bare = name.removesuffix(".gz")
    stem, dot, suffix = bare.rpartition(".")
    reader = _READERS.get((dot + suffix).lower())
    if reader is None:
        return None
    made = f"import pandas as pd; pd.{reader.format(name)}.to_parquet({stem + '.parquet'!r})"
    return f"python -c {shlex.quote(made)}"


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


def _nearest(wanted: str, there: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, there, n=3, cutoff=0.6)
    if near:
        return f"The nearest are: {', '.join(near)}."
    more = f" and {len(there) - 3} more" if len(there) > 3 else ""  # noqa: PLR2004 - a taste
    return f"There are: {', '.join(islice(sorted(there), 3))}{more}."
