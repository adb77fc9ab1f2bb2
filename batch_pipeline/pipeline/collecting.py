"""From ended batches to results: raw bytes first, then outcomes, then one row per request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeAlias

import duckdb

from batch_pipeline.errors import (
    NotFound,
    ProviderError,
    Refused,
    StoreError,
    Unauthorized,
    UsageError,
)
from batch_pipeline.model import BatchProblem, FailureKind, RemoteStatus, Shard, ShardState
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.stages.absent import is_about_all
from batch_pipeline.stages.outcomes import OutcomesDecoded, decode_shard
from batch_pipeline.stages.results import Landed, land

log = logging.getLogger("batch_pipeline")

_COLLECT_SECONDS = 900.0
_LONGEST_WRITE = timedelta(days=1)

Source: TypeAlias = Literal["output", "error"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What one run fetched and landed; a partition whose rows are still out is in `waiting`."""

    shards: tuple[Shard, ...]
    landed: dict[str, Landed]
    waiting: dict[str, Landed]
    refused: tuple[BatchProblem, ...] = ()  # why a provider would not run a whole batch

    @property
    def refusal(self) -> Refused | None:
        """What to tell a person when whole batches were refused; their rows are in results."""
        if not self.refused:
            return None
        said = "; ".join(f"{one.code}: {one.message}" for one in self.refused[:3])
        return Refused(
            f"The provider refused whole batches: {said} No row of them ran and nothing was "
            "billed; they are in results as rejected. Mend the job file and submit again."
        )


def collect(work: Workplace, partitions: Sequence[str]) -> Collected:
    """Fetch every ended shard of the partitions, then land those with all rows answered.

    A shard that cannot be fetched holds up no other; its error is raised when those are safe.
    """
    work.store.sweep(before=work.now() - _LONGEST_WRITE)
    ended = work.ledger.shards(work.job.name, partitions=partitions, states=[ShardState.ENDED])
    done: list[Shard] = []
    refused: dict[BatchProblem, None] = {}
    troubles: list[ProviderError] = []
    for shard in ended:
        try:
            with work.lease(f"collect:{shard.shard_id}", seconds=_COLLECT_SECONDS):
                decoded = _collect_shard(work, work.ledger.shard(shard.shard_id))
        except ProviderError as error:
            troubles.append(error)
            continue
        if decoded is not None:
            done.append(work.ledger.shard(shard.shard_id))
            refused |= dict.fromkeys(_refusals(shard, decoded))
    collected = _landed(work, partitions, done, refused)
    if troubles:
        raise troubles[0]
    return collected


def reparse(work: Workplace, partitions: Sequence[str]) -> Collected:
    """Make outcomes and results anew from the raw bytes in the store: no key, no network.

    Raises StoreError when a raw file is gone.
    """
    name, states = work.job.name, [ShardState.COLLECTED]
    shards = work.ledger.shards(name, partitions=partitions, states=states)
    for shard in shards:
        with work.lease(f"collect:{shard.shard_id}", seconds=_COLLECT_SECONDS):
            _decode(work, shard, _raw_files(work, shard, _must_be_there))
    return _landed(work, partitions, shards)


def outcome_files(work: Workplace, partition: str) -> list[Path]:
    """Outcomes of every collected shard that carried rows of the partition, oldest first."""
    name = work.job.name
    states = [ShardState.COLLECTED]
    shards = work.ledger.shards(name, partitions=[partition], states=states)
    return [work.store.outcomes_file(name, shard.shard_id) for shard in shards]


def _collect_shard(work: Workplace, shard: Shard) -> OutcomesDecoded | None:
    if shard.state is not ShardState.ENDED:  # another run has done it meanwhile
        return None
    try:
        files = _raw_files(work, shard, _downloads(work, shard))
    except NotFound as error:
        work.ledger.failed(
            shard.shard_id,
            message=f"results are lost: {error} "
            "`batch-pipeline retry --lost` sends its rows again, at their full price.",
            now=work.now(),
            batch_id=shard.batch_id,
        )
        return None
    decoded = _decode(work, shard, files)
    work.ledger.collected(
        shard.shard_id, now=work.now(), succeeded=decoded.succeeded, failed=decoded.failed
    )
    log.info(
        "shard collected",
        extra={"job": shard.job, "shard": shard.shard_id, "requests": decoded.requests},
    )
    return decoded


def _decode(work: Workplace, shard: Shard, files: Sequence[tuple[Path, Source]]) -> OutcomesDecoded:
    with work.duckdb() as con:
        return decode_shard(
            con,
            shard=shard,
            requests=work.store.shard_requests(shard.job, shard.shard_id),
            files=files,
            decode_sql=work.codec(shard.provider).decode_sql(shard.endpoint),
            schema=work.job.request.json_schema,
            observation=shard.remote,
            into=work.store.outcomes_file(shard.job, shard.shard_id),
        )


def _raw_files(
    work: Workplace, shard: Shard, absent: Callable[[str, Path], None]
) -> list[tuple[Path, Source]]:
    """Both result files; *absent* is asked for one that is not on disk. Whole ones are kept."""
    remote, batch_id = shard.remote, shard.batch_id
    if remote is None or batch_id is None:
        raise StoreError(f"shard {shard.shard_id} ended without a batch: the ledger was edited.")
    files: list[tuple[Path, Source]] = []
    sources: tuple[tuple[Source, str | None], ...] = (
        ("output", remote.output_file_id),
        ("error", remote.error_file_id),
    )
    for source, file_id in sources:
        if not file_id:
            continue
        path = work.store.raw_file(shard.job, shard.shard_id, batch_id, source)
        if not path.exists():
            absent(file_id, path)
        files.append((path, source))
    return files


def _downloads(work: Workplace, shard: Shard) -> Callable[[str, Path], None]:
    def download(file_id: str, into: Path) -> None:
        client = work.client(shard.provider)
        if shard.account != client.account:  # "not found" would only mean "not yours"
            raise another_account([shard])
        client.download(file_id, into)

    return download


def another_account(shards: Sequence[Shard]) -> Unauthorized:
    """What to say of batches that our key cannot see."""
    names = ", ".join(f"{shard.batch_id} (account {shard.account})" for shard in shards[:3])
    more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""  # noqa: PLR2004 - a taste
    return Unauthorized(
        f"Batches of another account than this key's are left alone: {names}{more}. Set the key "
        "(and base URL, project, organization) that sent them and run again; nothing is lost."
    )


def _must_be_there(file_id: str, path: Path) -> None:
    raise StoreError(
        f"{path}: the raw answers of file {file_id} are not in the store, so they cannot be read "
        "again. Bring the file back from a backup; the outcomes on disk were left as they are."
    )


def _landed(
    work: Workplace,
    partitions: Sequence[str],
    shards: Sequence[Shard],
    refused: Iterable[BatchProblem] = (),
) -> Collected:
    with work.duckdb() as con:
        looked = {partition: _land(work, con, partition) for partition in partitions}
    return Collected(
        shards=tuple(shards),
        landed={name: done for name, done in looked.items() if not done.unanswered},
        waiting={name: done for name, done in looked.items() if done.unanswered},
        refused=tuple(refused),
    )


def _land(work: Workplace, con: duckdb.DuckDBPyConnection, partition: str) -> Landed:
    """Land one partition, alone: an older look must not replace a newer one's file."""
    digest = sha256(f"{work.job.name}\x1f{partition}".encode()).hexdigest()[:32]
    with work.lease(f"land:{digest}", seconds=_COLLECT_SECONDS):
        return _land_alone(work, con, partition)


def _land_alone(work: Workplace, con: duckdb.DuckDBPyConnection, partition: str) -> Landed:
    job, ledger = work.job, work.ledger
    known = ledger.partition(job.name, partition)
    if not known.digest:
        raise UsageError(
            f"{job.name}: partition {partition!r} was never built. `batch-pipeline run` does it; "
            "in Dagster, materialize `requests` first."
        )
    landed = land(
        con,
        requests=work.store.requests_table(job.name, partition),
        outcomes=outcome_files(work, partition),
        key_columns=job.dataset.key,
        schema=job.request.json_schema,
        priced=work.prices,
        into=work.store.results_file(job.name, partition),
        retried_kinds=job.retry.kinds,
        max_attempts=job.retry.max_attempts,
        embeddings=job.numeric,
    )
    ledger.landed(
        job.name,
        partition,
        seen_collected=known.collected,
        digest=known.digest,
        succeeded=landed.succeeded,
        failed=landed.failed,
        retryable=landed.retryable,
        unanswered=landed.unanswered,
        now=work.now(),
    )
    return landed


def _refusals(shard: Shard, decoded: OutcomesDecoded) -> Sequence[BatchProblem]:
    """Why every row of the batch was rejected at once; a bad line is that row's own affair."""
    remote = shard.remote
    if remote is None or remote.status is not RemoteStatus.FAILED:
        return ()
    all_rejected = decoded.by_failure.get(FailureKind.REJECTED.value) == decoded.requests
    return [one for one in remote.problems if all_rejected and is_about_all(one)]
