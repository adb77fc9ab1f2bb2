"""Result files from the provider to the store, as often as it takes to have them whole.

What came in place of a file and is not all of it is kept beside where the file belongs, under a
name of its own, and the file is fetched again: now and then, for hours, and whenever a person
runs the job. Until then nothing of its shard is sent again.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from batch_pipeline.errors import NotFound, StoreError, Unauthorized
from batch_pipeline.model import Observation, Shard
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.policy.fetching import promised
from batch_pipeline.stages.results import wholeness
from batch_pipeline.stages.results.wholeness import Arrived

Source: TypeAlias = Literal["output", "error"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result files of a shard; *short* is why they are not all that its batch promises."""

    files: tuple[tuple[Path, str], ...]
    short: str | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that the batch names, and how many lines its counts promise in it."""

    source: Source
    file_id: str
    promised: int | None
    whole: Path  # where it belongs


@dataclass(frozen=True, slots=True)
class _Come:
    """What came in place of a file, and where it is."""

    wanted: _Wanted
    at: Path
    arrived: Arrived


def fetch(records: Records, clients: Clients, runtime: Runtime, shard: Shard) -> Fetched:
    """Both result files; whole ones on disk stay, others are fetched. NotFound when one is gone.

    What came before in place of a file that is gone by now stands for it.
    """
    remote = _with_files(records, clients, runtime, shard)
    wanted = list(_wanted(records, shard, remote))
    come = [one for each in wanted if (one := _fetched(records, clients, shard, each)) is not None]
    for one, why in _shortfalls(shard, come):
        if why is not None:
            _keep(records, one)
        elif one.at != one.wanted.whole:
            one.at.replace(one.wanted.whole)
    return _read(records, shard, remote)


def on_disk(records: Records, shard: Shard) -> Fetched:
    """The result files as far as they came; StoreError when nothing of one is in the store."""
    return _read(records, shard, _remote(shard))


def _read(records: Records, shard: Shard, remote: Observation) -> Fetched:
    come = [_best(records, wanted) for wanted in _wanted(records, shard, remote)]
    said = _shortfalls(shard, come)
    whys = [f"{why} of file {one.wanted.file_id}" for one, why in said if why is not None]
    return Fetched(
        files=tuple(
            (one.at, one.wanted.source) for one, why in said if one.arrived.usable or why is None
        ),
        short="; ".join([*_unnamed(shard, remote), *whys]) or None,
    )


def _shortfalls(shard: Shard, come: Sequence[_Come]) -> list[tuple[_Come, str | None]]:
    """Why each is not the whole file; none is short where all have a line for every request."""
    # rows may be in the other file than the counts say
    lines = sum(one.arrived.lines for one in come if one.arrived.flaw is None)
    enough = lines >= shard.requests
    return [(one, one.arrived.shortfall(None if enough else one.wanted.promised)) for one in come]


def _wanted(records: Records, shard: Shard, remote: Observation) -> Iterator[_Wanted]:
    sources: tuple[tuple[Source, str | None], ...] = (
        ("output", remote.output_file_id),
        ("error", remote.error_file_id),
    )
    for source, file_id in sources:
        if file_id:
            whole = records.store.raw_file(shard.job, shard.shard_id, remote.batch_id, source)
            lines = promised(remote, source, requests=shard.requests)
            yield _Wanted(source, file_id, lines, whole)


def _unnamed(shard: Shard, remote: Observation) -> list[str]:
    """Answers that the batch counts and names no file of."""
    lines = promised(remote, "output", requests=shard.requests)
    if remote.output_file_id is not None or not lines:
        return []
    return [f"batch {remote.batch_id} counts {lines:,} answers and names no file of them"]


def _with_files(records: Records, clients: Clients, runtime: Runtime, shard: Shard) -> Observation:
    """The last look at the batch, or a new one when that one lacked a file."""
    remote = _remote(shard)
    if not _unnamed(shard, remote):
        return remote
    client = clients.client(shard.provider)
    if shard.account != client.account:
        raise another_account([shard])
    seen = client.retrieve(remote.batch_id)
    records.ledger.observe(client.account, [seen], now=runtime.now(), ended=[])
    return _remote(records.ledger.shard(shard.shard_id))


def _remote(shard: Shard) -> Observation:
    if shard.remote is None or shard.batch_id is None:
        raise StoreError(f"shard {shard.shard_id} ended without a batch: the ledger was edited.")
    return shard.remote


def _fetched(records: Records, clients: Clients, shard: Shard, wanted: _Wanted) -> _Come | None:
    """The file on disk if it is whole, else what comes for it now; None: gone, but some came."""
    if wanted.whole.exists():
        there = _Come(wanted, wanted.whole, wholeness.look(wanted.whole))
        if there.arrived.shortfall(wanted.promised) is None:
            return there
        _keep(records, there)
    client = clients.client(shard.provider)
    if shard.account != client.account:  # "not found" would only mean "not yours"
        raise another_account([shard])
    at = wanted.whole.with_name(f".{wanted.whole.name}.part")  # swept if a crash leaves it
    try:
        client.download(wanted.file_id, at)
    except NotFound:
        if not records.store.cut_files(wanted.whole):
            raise
        return None
    return _Come(wanted, at, wholeness.look(at))


def _keep(records: Records, come: _Come) -> None:
    """Put aside what is not the file, once where the same came before."""
    known = records.store.cut_files(come.wanted.whole)
    if known and filecmp.cmp(known[-1], come.at, shallow=False):
        come.at.unlink()
    else:
        come.at.replace(records.store.next_cut_file(come.wanted.whole))


def _best(records: Records, wanted: _Wanted) -> _Come:
    """The whole file, or else what came in place of it and has the most lines."""
    paths = [wanted.whole] if wanted.whole.exists() else records.store.cut_files(wanted.whole)
    come = [_Come(wanted, path, wholeness.look(path)) for path in paths]
    if not come:
        raise StoreError(
            f"{wanted.whole}: the raw answers of file {wanted.file_id} are not in the store, so "
            "they cannot be read again. Bring the file back from a backup, or have `reparse "
            "--fetch` ask the provider for it; the outcomes on disk were left as they are."
        )
    return max(come, key=lambda one: (one.arrived.usable, one.arrived.lines))


def another_account(shards: Sequence[Shard]) -> Unauthorized:
    """What to say of batches that our key cannot see."""
    names = ", ".join(f"{shard.batch_id} (account {shard.account})" for shard in shards[:3])
    more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""  # noqa: PLR2004 - a taste
    return Unauthorized(
        f"Batches of another account than this key's are left alone: {names}{more}. Set the key "
        "(and base URL, project, organization) that sent them and run again; nothing is lost."
    )
