"""Datasets, jobs and built requests for the tests of the way from Parquet to shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_pipeline.model import BuiltTarget, Envelope, Hole, Limits, Tree
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.requests.build import (
    Building,
    CompiledTarget,
    RequestsBuilt,
    build_requests,
)
from batch_pipeline.stages.requests.dataset import OpenedDataset, open_dataset

ENVELOPE = Envelope('{"custom_id":', ',"body":', "}\n")
ROOMY = Limits(requests=50_000, bytes=190_000_000)


@contextmanager
def connected(threads: int = 2, memory: str = "256MB") -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection as the pipeline makes it."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "threads": threads,
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(config=config) as con:
        yield con


def make_job(
    path: str | Path,
    *,
    key: str | Sequence[str] = "id",
    prompt: str = "{{ text }}",
    partitions: Mapping[str, object] | None = None,
    columns: Sequence[str] = (),
    custom_id: str = "readable",
) -> BatchJob:
    return BatchJob.model_validate(
        {
            "name": "job",
            "dataset": {"path": str(path), "key": key, "columns": list(columns)},
            "partitions": dict(partitions or {}),
            "request": {"prompt": prompt},
            "targets": [{"provider": "openai", "model": "m"}],
            "custom_id": custom_id,
        }
    )


def write(path: Path, columns: Mapping[str, object], **options: int) -> Path:
    """A Parquet file of *columns*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path, **options)
    return path


def opened(job: BatchJob) -> OpenedDataset:
    return open_dataset(job.dataset, job.partitions)


def make_target(
    name: str = "openai/m",
    *,
    when: str | None = None,
    model: str = "m",
    body: Mapping[str, Tree] | None = None,
    limits: Limits = ROOMY,
    options: Mapping[str, str] | None = None,
    envelope: Envelope = ENVELOPE,
) -> CompiledTarget:
    return CompiledTarget(
        target=BuiltTarget(name, "openai", model, "/v1/embeddings", dict(options or {})),
        when=when,
        body={"model": model, "input": Hole("{{ text }}")} if body is None else body,
        envelope=envelope,
        limits=limits,
    )


def build(
    con: duckdb.DuckDBPyConnection,
    job: BatchJob,
    into: Path,
    *,
    partition: str = "all",
    limits: Limits = ROOMY,
    body: Mapping[str, Tree] | None = None,
    targets: Sequence[CompiledTarget] | None = None,
) -> RequestsBuilt:
    usual: Mapping[str, Tree] = {"model": "m", "input": Hole(job.request.prompt or "")}
    asked = usual if body is None else body
    built = build_requests(
        con,
        job=job,
        targets=targets or [make_target(body=asked, limits=limits)],
        partitions={partition: Building(opened(job).select(partition), into)},
    )
    return built[partition]
