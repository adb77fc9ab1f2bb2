"""From dataset to request tables: a partition's folder is replaced whole, if it changed at all."""

from __future__ import annotations

import filecmp
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from batch_pipeline.errors import DatasetError, StoreError
from batch_pipeline.model import UNPARTITIONED, Ask, BuiltTarget, PartitionCounts, ShardState
from batch_pipeline.pipeline import asking, planning
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.together import within
from batch_pipeline.stages.requests.build import (
    Building,
    CompiledTarget,
    RequestsBuilt,
    build_requests,
)
from batch_pipeline.stages.requests.dataset import open_dataset
from batch_pipeline.stages.requests.line_files import line_files
from batch_pipeline.stages.requests.reading import Selection
from batch_pipeline.whole_files import folder_made

BLOCK_ROWS = 1 << 14
"""Rows that are built together, at most: of many small partitions."""
_BLOCK_BYTES = 32 << 20


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
    asks = records.ledger.asked.standing(job.name, names)
    with (
        _told(records, asks),
        runtime.duckdb() as con,
        job.origin.placed(("dataset",)),
    ):
        selections = _selections(records, names, unread)
        for some in within(selections.items(), lambda one: _size(one[1]), BLOCK_ROWS):
            done = _built(records, clients, runtime, con, dict(some))
            built |= done.built
            unread |= done.unread
            freed |= done.freed
    asking.built(records, asks, built, unread)
    others = sorted(freed - set(names))
    if others:
        planning.plan(records, clients, runtime, others)
    return {name: built[name] for name in names if name in built}, unread


@contextmanager
def _told(records: Records, asks: Sequence[Ask]) -> Iterator[None]:
    """A dataset that cannot be read at all is no data for any of them."""
    try:
        yield
    except DatasetError as error:
        asking.built(records, asks, (), {one.partition: error for one in asks})
        raise


def _selections(
    records: Records, names: Sequence[str], unread: dict[str, DatasetError]
) -> dict[str, Selection]:
    """The rows of each partition; why some cannot be had is added to *unread*."""
    job, found = records.job, dict[str, Selection]()
    dataset = open_dataset(job.dataset, job.partitions)
    for name in names:
        try:
            with job.origin.placed(("dataset",)):
                found[name] = dataset.select(name)
        except DatasetError as error:
            unread[name] = error
    return dataset.sized(found)


def _size(selection: Selection) -> int:
    """Rows, or more where they are long: what a block holds is built together."""
    rows, size = selection.size
    return max(rows, size * BLOCK_ROWS // _BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class _Built:
    """What some partitions came to, and the partitions whose planned rows are free by that."""

    built: dict[str, RequestsBuilt]
    unread: dict[str, DatasetError]
    freed: set[str]


def _built(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    con: duckdb.DuckDBPyConnection,
    some: Mapping[str, Selection],
) -> _Built:
    """Build these together; where that fails, halves, until what fails stands alone."""
    try:
        return _built_together(records, clients, runtime, con, some)
    except DatasetError as error:
        if len(some) == 1:
            return _Built({}, dict.fromkeys(some, error), set())
    except StoreError:
        if len(some) == 1:
            raise
    names, middle = list(some), len(some) // 2
    first, rest = (
        _built(records, clients, runtime, con, {name: some[name] for name in half})
        for half in (names[:middle], names[middle:])
    )
    return _Built(first.built | rest.built, first.unread | rest.unread, first.freed | rest.freed)


def _built_together(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    con: duckdb.DuckDBPyConnection,
    some: Mapping[str, Selection],
) -> _Built:
    job = records.job
    with ExitStack() as stack, job.origin.placed(("dataset",)):
        homes = {name: records.store.requests_dir(job.name, name) for name in some}
        folders = {name: stack.enter_context(_aside(home)) for name, home in homes.items()}
        made = build_requests(
            con,
            job=job,
            targets=_compiled(records, clients),
            partitions={name: Building(some[name], folder) for name, folder in folders.items()},
        )
        known = {one.partition: one for one in records.ledger.partitions(job.name, list(some))}
        new = {
            name: one for name, one in made.items() if not _is_there(records, known.get(name), one)
        }
        freed = _replaced(records, runtime, new, folders) if new else set()
    return _Built({name: _at_home(records, name, one) for name, one in made.items()}, {}, freed)


def together(unread: Mapping[str, DatasetError]) -> DatasetError:
    """One error for all these partitions; equal ones once."""
    return DatasetError("\n".join(dict.fromkeys(str(error) for error in unread.values())))


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


def _is_there(records: Records, known: PartitionCounts | None, made: RequestsBuilt) -> bool:
    if known is None or known.digest != made.digest:
        return False
    home = _at_home(records, known.partition, made)
    if not (home.table.exists() and home.lines.exists()):
        return False
    # The table holds each line's hash and size, so equal tables mean equal lines.
    here, new = (line_files(lines.parent) for lines in (home.lines, made.lines))
    same_size = [p.stat().st_size for p in here] == [p.stat().st_size for p in new]
    return same_size and filecmp.cmp(home.table, made.table, shallow=False)


def _replaced(
    records: Records,
    runtime: Runtime,
    new: Mapping[str, RequestsBuilt],
    folders: Mapping[str, Path],
) -> set[str]:
    """Put the new folders in their places; returns the partitions whose planned rows are free."""
    ledger, job = records.ledger, records.job.name
    with planning.alone(records, runtime):
        planned = ledger.shards(job, partitions=list(new), states=[ShardState.PLANNED])
        ledger.withdraw([shard.shard_id for shard in planned], now=runtime.now())
        for name in new:
            _swap(folders[name], records.store.requests_dir(job, name))
        counts = [
            PartitionCounts(job, name, one.requests, one.rejected, one.digest)
            for name, one in new.items()
        ]
        ledger.built(counts, now=runtime.now())
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
