"""From dataset to request tables: a partition's folder is replaced whole, if it changed at all."""

from __future__ import annotations

import filecmp
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb

from batch_pipeline.errors import DatasetError
from batch_pipeline.model import UNPARTITIONED, BuiltTarget, ShardState
from batch_pipeline.pipeline import planning
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.stages.requests.build import CompiledTarget, RequestsBuilt, build_requests
from batch_pipeline.stages.requests.dataset import OpenedDataset, open_dataset
from batch_pipeline.stages.requests.line_files import line_files
from batch_pipeline.whole_files import folder_made


def partitions(records: Records) -> list[str]:
    """The partitions the dataset has; UNPARTITIONED alone for a job without any."""
    if records.job.partitions.kind == "none":
        return [UNPARTITIONED]
    with records.job.origin.placed(("dataset",)):
        return open_dataset(records.job.dataset, records.job.partitions).partitions()


def build(
    records: Records, clients: Clients, runtime: Runtime, names: Sequence[str]
) -> dict[str, RequestsBuilt]:
    """Build each partition's request table and lines; raises what failed when all were tried.

    A partition whose content changed frees the rows of shards that were planned but never sent;
    other partitions' rows that were planned with them are planned again.
    """
    built, unread = build_each(records, clients, runtime, names)
    if unread:
        raise together(unread)
    return built


def build_each(
    records: Records, clients: Clients, runtime: Runtime, names: Sequence[str]
) -> tuple[dict[str, RequestsBuilt], dict[str, DatasetError]]:
    """Like `build`; data that cannot be read fails its own partition alone, and is returned."""
    job = records.job
    built: dict[str, RequestsBuilt] = {}
    unread: dict[str, DatasetError] = {}
    freed: set[str] = set()
    with runtime.duckdb() as con, job.origin.placed(("dataset",)):
        dataset = open_dataset(job.dataset, job.partitions)
        for name in names:
            try:
                with (
                    job.origin.placed(("dataset",)),
                    _aside(records.store.requests_dir(job.name, name)) as folder,
                ):
                    made = _built(records, clients, con, dataset, name, folder)
                    if not _is_there(records, name, made):
                        freed |= _replaced(records, runtime, name, made, folder)
                built[name] = _at_home(records, name, made)
            except DatasetError as error:
                unread[name] = error
    others = sorted(freed - set(names))
    if others:
        planning.plan(records, clients, runtime, others)
    return built, unread


def together(unread: Mapping[str, DatasetError]) -> DatasetError:
    """One error for all these partitions; equal ones once."""
    return DatasetError("\n".join(dict.fromkeys(str(error) for error in unread.values())))


def _built(
    records: Records,
    clients: Clients,
    con: duckdb.DuckDBPyConnection,
    dataset: OpenedDataset,
    partition: str,
    into: Path,
) -> RequestsBuilt:
    job = records.job
    return build_requests(
        con,
        job=job,
        targets=_compiled(records, clients),
        selection=dataset.select(partition),
        partition=partition,
        into=into,
    )


def _compiled(records: Records, clients: Clients) -> list[CompiledTarget]:
    """The job's targets, each with the request as its provider wants it."""
    compiled = []
    for target in records.job.targets:
        codec = clients.codec(target.sends_to)
        built = BuiltTarget(
            name=target.name,
            provider=target.sends_to,
            model=target.model,
            endpoint=target.endpoint,
            options=codec.options(records.job, target),
        )
        compiled.append(
            CompiledTarget(
                target=built,
                when=target.when,
                body=codec.body(records.job, target),
                envelope=codec.envelope(target.endpoint),
                limits=planning.limits(records, clients, built),
            )
        )
    return compiled


@contextmanager
def _aside(home: Path) -> Iterator[Path]:
    """A folder beside *home*: lines and table must change together, or a shard is cut wrongly."""
    folder_made(home.parent)
    aside = home.with_name(f".{home.name}.{secrets.token_hex(6)}.part")
    folder_made(aside)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_there(records: Records, partition: str, made: RequestsBuilt) -> bool:
    home = _at_home(records, partition, made)
    if records.ledger.partition(records.job.name, partition).digest != made.digest:
        return False
    if not (home.table.exists() and home.lines.exists()):
        return False
    # The table holds each line's hash and size, so equal tables mean equal lines.
    here, new = (line_files(lines.parent) for lines in (home.lines, made.lines))
    same_size = [p.stat().st_size for p in here] == [p.stat().st_size for p in new]
    return same_size and filecmp.cmp(home.table, made.table, shallow=False)


def _replaced(
    records: Records, runtime: Runtime, partition: str, made: RequestsBuilt, folder: Path
) -> set[str]:
    """Put the new folder in its place; returns the partitions whose planned rows are free now."""
    ledger, name = records.ledger, records.job.name
    with planning.alone(records, runtime):
        planned = ledger.shards(name, partitions=[partition], states=[ShardState.PLANNED])
        ledger.withdraw([shard.shard_id for shard in planned], now=runtime.now())
        _swap(folder, records.store.requests_dir(name, partition))
        ledger.built(
            name,
            partition,
            requests=made.requests,
            rejected=made.rejected,
            digest=made.digest,
            now=runtime.now(),
        )
    return {other for shard in planned for other in shard.partitions}


def _swap(folder: Path, home: Path) -> None:
    with _aside(home) as old:
        if home.exists():
            home.replace(old)
        folder.replace(home)


def _at_home(records: Records, partition: str, made: RequestsBuilt) -> RequestsBuilt:
    name, store = records.job.name, records.store
    return replace(
        made,
        lines=store.requests_lines(name, partition),
        table=store.requests_table(name, partition),
    )
