"""Landed results as Arrow tables, for who works with them in Python; needs the files alone."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from batch_pipeline.errors import StoreError, UsageError
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob
from batch_pipeline.store.files import Store

_PARTITION = ds.partitioning(pa.schema([("partition", pa.string())]), flavor="hive")
_MOST = 40  # names in a message; every column fits


def read_results(
    job: BatchJob | str,
    partitions: str | Iterable[str] | None = None,
    columns: str | Iterable[str] | None = None,
    *,
    store: str | Path | None = None,
) -> pa.Table:
    """The final row of every request, with its `partition`: `to_pandas()`, `polars.from_arrow()`.

    *job* is a job or its name. Without *partitions* all that have landed, sorted by name; what
    has not landed yet is not there. *store* is a folder that may be read-only; without it
    BATCH_PIPELINE_STORE, as everywhere. A column that an older version did not write is null.
    UsageError for a job, partition or column that is not there names the nearest that is.
    """
    return _read(job, partitions, columns, store, only=None)


def read_failures(
    job: BatchJob | str,
    partitions: str | Iterable[str] | None = None,
    columns: str | Iterable[str] | None = None,
    *,
    store: str | Path | None = None,
) -> pa.Table:
    """The rows of `read_results` that failed: `failure` is the kind, `error_message` says why."""
    return _read(job, partitions, columns, store, only=pc.field("status") == "failed")


def _read(
    job: BatchJob | str,
    partitions: str | Iterable[str] | None,
    columns: str | Iterable[str] | None,
    store: str | Path | None,
    *,
    only: pc.Expression | None,
) -> pa.Table:
    place = Store(store or Settings.from_env(os.environ).store)
    name = job if isinstance(job, str) else job.name
    landed = _landed(place, name)
    wanted = _known(_listed(partitions, landed), landed, f"{name}: no results yet of partition")
    files = [landed[one] for one in wanted]
    try:
        schemas = [pq.read_schema(path) for path in files or landed.values()]
        schema = pa.unify_schemas([*schemas, _PARTITION.schema], promote_options="permissive")
        chosen = _known(_listed(columns, schema.names), schema.names, f"{name}: no column")
        rows = ds.dataset(
            files, schema, "parquet", partitioning=_PARTITION, partition_base_dir=str(place.root)
        )
        return rows.to_table(chosen, filter=only).replace_schema_metadata(None)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{name}: the results in {place.root} cannot be read as one table: {error}. Read fewer "
            "partitions or columns; `batch-pipeline reparse` makes results anew from the answers."
        ) from error


def _landed(store: Store, job: str) -> dict[str, Path]:
    """The results of each partition that has landed."""
    there = {path.parent.name for path in store.root.glob("results/*/partition=*")}
    if job in there:
        return store.landed(job)
    near = difflib.get_close_matches(job, there, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "Name another store, or run the job first."
    raise UsageError(f"The store {store.root} has no results of a job {job!r}. {hint}")


def _listed(said: str | Iterable[str] | None, every: Iterable[str]) -> list[str]:
    """Names that are said one by one, each once; all when nothing is said."""
    names = every if said is None else [said] if isinstance(said, str) else said
    return list(dict.fromkeys(names))


def _known(names: list[str], known: Collection[str], lacking: str) -> list[str]:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            some = ", ".join([*known][:_MOST]) + ", …" * (len(known) > _MOST)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {some}."
            raise UsageError(f"{lacking} {name!r}. {hint}")
    return names
