"""Which requests go into which shards: chosen, cut and planned under one lease of the job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from batch_pipeline.errors import UsageError
from batch_pipeline.model import IN_FLIGHT, BuiltTarget, Limits, Shard, ShardState
from batch_pipeline.pipeline import canary, collecting, holds
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.stages.shards.cut import Only, Pending, choose, cut

_SECONDS = 600.0


def limits(work: Workplace, target: BuiltTarget) -> Limits:
    """The provider's limits, lowered by the job's own.

    Where sources dispute a limit we take the stricter one; a job that asks for more gets it.
    """
    codec, asked, endpoint = work.codec(target.provider), work.job.shard, target.endpoint
    usual = codec.limits(endpoint)
    most = codec.capabilities.disputed.get(endpoint, usual)
    return Limits(
        requests=min(most.requests, asked.max_requests or usual.requests),
        bytes=min(most.bytes, asked.max_bytes or usual.bytes),
    )


@contextmanager
def alone(work: Workplace) -> Iterator[None]:
    """No other run cuts the job's shards, or changes the requests they are cut from."""
    with work.lease(_lease(work), seconds=_SECONDS, patience=_SECONDS):
        yield


def plan(
    work: Workplace,
    partitions: Sequence[str],
    *,
    only: Only | None = None,
    by_hand: bool = False,
) -> None:
    """Plan shards of whatever is not answered, not in flight and may be sent.

    *by_hand*: somebody asks for it, so rows that were withheld go too.

    Raises UsageError when a partition has no request table.
    """
    tables = [table(work, partition) for partition in partitions]
    with alone(work):
        shards = _cut(
            work, _pending(work, partitions, tables, only, by_hand=by_hand), partitions, only
        )
        if shards:
            # Two plans of one request would be two sendings: be sure that nobody took over.
            work.still_holds(_lease(work), seconds=_SECONDS)
            work.ledger.plan(shards, now=work.now())


def table(work: Workplace, partition: str) -> Path:
    """The partition's request table; UsageError when there is none."""
    path = work.store.requests_table(work.job.name, partition)
    if not path.exists():
        raise UsageError(
            f"{work.job.name}: partition {partition!r} has no request table yet. "
            "`batch-pipeline run` builds it; in Dagster, materialize `requests` first."
        )
    return path


def _pending(
    work: Workplace,
    partitions: Sequence[str],
    tables: Sequence[Path],
    only: Only | None,
    *,
    by_hand: bool,
) -> Pending:
    job, store, ledger = work.job, work.store, work.ledger
    held = ledger.shards(job.name, partitions=partitions, states=IN_FLIGHT)
    done = ledger.shards(job.name, partitions=partitions, states=[ShardState.COLLECTED])
    with work.duckdb() as con:
        return choose(
            con,
            tables=tables,
            held=[store.shard_requests(job.name, shard.shard_id) for shard in held],
            outcomes=collecting.outcomes(work, done),
            retried_kinds=[kind.value for kind in job.retry.kinds],
            max_attempts=job.retry.max_attempts,
            only=only,
            withheld=by_hand,
            once=[name for name in holds.by_partition(work) if name],
        )


def _cut(
    work: Workplace, pending: Pending, partitions: Sequence[str], only: Only | None
) -> list[Shard]:
    job, goes_first = work.job, False
    if only is None:  # rows asked for by name have been out before
        pending, goes_first = canary.admitted(work, pending, partitions)
    shards = cut(
        pending,
        limits=lambda target: limits(work, target),
        job=job.name,
        into=work.store.shards_dir(job.name),
    )
    return [replace(shard, canary=job.version) for shard in shards] if goes_first else shards


def _lease(work: Workplace) -> str:
    return f"plan:{work.job.name}"
