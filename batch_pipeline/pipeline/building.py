"""From dataset to request tables."""

from __future__ import annotations

from collections.abc import Sequence

from batch_pipeline.model import UNPARTITIONED, ShardState
from batch_pipeline.pipeline.sending import limits
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.stages.dataset import open_dataset
from batch_pipeline.stages.requests import RequestsBuilt, build_requests


def partitions(work: Workplace) -> list[str]:
    """The partitions the dataset has; UNPARTITIONED alone for a job without any."""
    if work.job.partitions.kind == "none":
        return [UNPARTITIONED]
    with work.duckdb() as con:
        return open_dataset(con, work.job.dataset, work.job.partitions).partitions()


def build(work: Workplace, names: Sequence[str]) -> dict[str, RequestsBuilt]:
    """Build each partition's request table and lines.

    A partition whose content changed frees the rows of shards that were planned but never sent.
    """
    job = work.job
    built: dict[str, RequestsBuilt] = {}
    with work.duckdb() as con:
        dataset = open_dataset(con, job.dataset, job.partitions)
        for name in names:
            built[name] = build_requests(
                con,
                job=job,
                body=work.codec.body(job),
                envelope=work.codec.envelope(job.target.endpoint),
                limits=limits(work),
                selection=dataset.select(name),
                partition=name,
                into=work.store.requests_dir(job.name, name),
            )
            _record(work, name, built[name])
    return built


def _record(work: Workplace, partition: str, built: RequestsBuilt) -> None:
    ledger, name = work.ledger, work.job.name
    before = ledger.partition(name, partition)
    if before.digest not in {"", built.digest}:
        planned = ledger.shards(name, partitions=[partition], states=[ShardState.PLANNED])
        ledger.withdraw([shard.shard_id for shard in planned], now=work.now())
    ledger.built(
        name,
        partition,
        requests=built.requests,
        rejected=built.rejected,
        digest=built.digest,
        now=work.now(),
    )
