"""Which requests go into which shards: chosen, cut and planned under one lease of the job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from batch_pipeline.errors import UsageError
from batch_pipeline.model import IN_FLIGHT, Limits, Shard, ShardState
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.stages.shards import Only, choose, cut

_SECONDS = 600.0


def limits(work: Workplace) -> Limits:
    """The provider's limits, lowered by the job's own."""
    provider, asked = work.codec.limits(work.job.target.endpoint), work.job.shard
    return Limits(
        requests=min(provider.requests, asked.max_requests or provider.requests),
        bytes=min(provider.bytes, asked.max_bytes or provider.bytes),
    )


@contextmanager
def alone(work: Workplace) -> Iterator[None]:
    """No other run cuts the job's shards, or changes the requests they are cut from."""
    with work.lease(_lease(work), seconds=_SECONDS, patience=_SECONDS):
        yield


def plan(work: Workplace, partitions: Sequence[str], *, only: Only | None = None) -> None:
    """Plan shards of whatever is not answered, not in flight and may be sent.

    Raises UsageError when a partition has no request table.
    """
    tables = [table(work, partition) for partition in partitions]
    with alone(work):
        shards = _cut(work, partitions, tables, only)
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


def _cut(
    work: Workplace, partitions: Sequence[str], tables: Sequence[Path], only: Only | None
) -> list[Shard]:
    job, store, ledger = work.job, work.store, work.ledger
    held = ledger.shards(job.name, partitions=partitions, states=IN_FLIGHT)
    done = ledger.shards(job.name, partitions=partitions, states=[ShardState.COLLECTED])
    with work.duckdb() as con:
        pending = choose(
            con,
            tables=tables,
            held=[store.shard_requests(job.name, shard.shard_id) for shard in held],
            outcomes=[store.outcomes_file(job.name, shard.shard_id) for shard in done],
            retried_kinds=[kind.value for kind in job.retry.kinds],
            max_attempts=job.retry.max_attempts,
            only=only,
        )
    target = job.target
    return cut(
        pending,
        limits=limits(work),
        job=job.name,
        provider=target.provider,
        model=target.model,
        endpoint=target.endpoint,
        into=store.shards_dir(job.name),
    )


def _lease(work: Workplace) -> str:
    return f"plan:{work.job.name}"
