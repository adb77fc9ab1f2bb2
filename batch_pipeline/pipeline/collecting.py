"""From ended batches to results: raw bytes first, then outcomes, then one row per request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from batch_pipeline.errors import NotFound, Refused, StoreError, UsageError
from batch_pipeline.model import BatchProblem, RemoteStatus, Shard, ShardState
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.stages.outcomes import decode_shard
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
            f"The provider refused whole batches: {said}. No row of them ran and nothing was "
            "billed; they are in results as rejected. Mend the job file and submit again."
        )


def collect(work: Workplace, partitions: Sequence[str]) -> Collected:
    """Fetch every ended shard of the partitions, then land those with all rows answered."""
    states = [ShardState.ENDED]
    work.store.sweep(before=work.now() - _LONGEST_WRITE)
    ended = work.ledger.shards(work.job.name, partitions=partitions, states=states)
    for shard in ended:
        with work.lease(f"collect:{shard.shard_id}", seconds=_COLLECT_SECONDS):
            _collect_shard(work, work.ledger.shard(shard.shard_id))
    looked = {partition: _land(work, partition) for partition in partitions}
    return Collected(
        shards=tuple(ended),
        landed={name: done for name, done in looked.items() if not done.unanswered},
        waiting={name: done for name, done in looked.items() if done.unanswered},
        refused=tuple(dict.fromkeys(problem for shard in ended for problem in _refusals(shard))),
    )


def outcome_files(work: Workplace, partition: str) -> list[Path]:
    """Outcomes of every collected shard that carried rows of the partition, oldest first."""
    name = work.job.name
    states = [ShardState.COLLECTED]
    shards = work.ledger.shards(name, partitions=[partition], states=states)
    return [work.store.outcomes_file(name, shard.shard_id) for shard in shards]


def _collect_shard(work: Workplace, shard: Shard) -> None:
    if shard.state is not ShardState.ENDED:  # another run has done it meanwhile
        return
    try:
        files = list(_raw_files(work, shard))
    except NotFound as error:
        work.ledger.failed(shard.shard_id, message=f"results are lost: {error}", now=work.now())
        return
    with work.duckdb() as con:
        decoded = decode_shard(
            con,
            shard=shard,
            requests=work.store.shard_requests(shard.job, shard.shard_id),
            files=files,
            decode_sql=work.codec.decode_sql(shard.endpoint),
            schema=work.job.request.json_schema,
            observation=shard.remote,
            into=work.store.outcomes_file(shard.job, shard.shard_id),
        )
    work.ledger.collected(shard.shard_id, now=work.now())
    log.info("shard collected", extra={"shard": shard.shard_id, "requests": decoded.requests})


def _raw_files(work: Workplace, shard: Shard) -> Sequence[tuple[Path, Source]]:
    """Both result files, downloaded once; complete files on disk are never fetched again."""
    remote, batch_id = shard.remote, shard.batch_id
    if remote is None or batch_id is None:
        raise StoreError(f"shard {shard.shard_id} ended without a batch: the ledger was edited.")
    files: list[tuple[Path, Source]] = []
    sources: tuple[tuple[Source, str | None], ...] = (
        ("output", remote.output_file_id),
        ("error", remote.error_file_id),
    )
    for source, file_id in sources:
        if file_id is None:
            continue
        path = work.store.raw_file(shard.job, shard.shard_id, batch_id, source)
        if not path.exists():
            work.client.download(file_id, path)
        files.append((path, source))
    return files


def _land(work: Workplace, partition: str) -> Landed:
    job, ledger = work.job, work.ledger
    known = ledger.partition(job.name, partition)
    if not known.digest:
        raise UsageError(
            f"{job.name}: partition {partition!r} was never built. Materialize `requests` first."
        )
    with work.duckdb() as con:
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
            embeddings=job.target.endpoint == "/v1/embeddings",
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


def _refusals(shard: Shard) -> Sequence[BatchProblem]:
    remote = shard.remote
    return remote.problems if remote and remote.status is RemoteStatus.FAILED else ()
