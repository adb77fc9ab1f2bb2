"""Which requests go into which shards: chosen, cut and planned under one lease of the job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from batch_pipeline.errors import UsageError
from batch_pipeline.model import BY_ANSWERS, IN_FLIGHT, BuiltTarget, Limits, Shard, ShardState
from batch_pipeline.pipeline import asking, decoding, landing, standing
from batch_pipeline.pipeline.admission import Admitted, admit
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.stages.shards.cut import Only, Pending, choose, cut

_SECONDS = 600.0


def limits(records: Records, clients: Clients, target: BuiltTarget) -> Limits:
    """The provider's limits, lowered by the job's own.

    Where sources dispute a limit we take the stricter one; a job that asks for more gets it.
    """
    codec, asked, endpoint = clients.codec(target.provider), records.job.shard, target.endpoint
    usual = codec.limits(endpoint)
    most = codec.capabilities.disputed.get(endpoint, usual)
    return Limits(
        requests=min(most.requests, asked.max_requests or usual.requests),
        bytes=min(most.bytes, asked.max_bytes or usual.bytes),
    )


@contextmanager
def alone(records: Records, runtime: Runtime) -> Iterator[None]:
    """No other run cuts the job's shards, or changes the requests they are cut from."""
    with runtime.lease(_lease(records), seconds=_SECONDS, patience=_SECONDS):
        yield


def plan(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    *,
    only: Only | None = None,
    by_hand: bool = False,
) -> None:
    """Plan shards of whatever is not answered, not in flight and may be sent.

    *by_hand*: somebody asks for it, so rows that were withheld go too.

    Raises UsageError when a partition has no request table.
    """
    tables = [table(records, partition) for partition in partitions]
    with alone(records, runtime):
        asks = asking.answered_by(records, partitions, only, by_hand=by_hand)
        pending = _pending(records, clients, runtime, partitions, tables, only, by_hand=by_hand)
        shards = _cut(records, clients, runtime, pending, partitions, only)
        if shards:
            # Two plans of one request would be two sendings: be sure that nobody took over.
            runtime.still_holds(_lease(records), seconds=_SECONDS)
            records.ledger.plan(shards, now=runtime.now(), asks=asks)
        else:
            records.ledger.asked.forget(asks)
    if only is None:
        chosen = {partitions[at] for at in np.unique(pending.table).tolist()}
        _count_again(records, clients, runtime, [one for one in partitions if one not in chosen])


def table(records: Records, partition: str) -> Path:
    """The partition's request table; UsageError when there is none."""
    path = records.store.requests_table(records.job.name, partition)
    if not path.exists():
        raise UsageError(
            f"{records.job.name}: partition {partition!r} has no request table yet. "
            "`batch-pipeline run` builds it; in Dagster, materialize `requests` first."
        )
    return path


def _pending(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    tables: Sequence[Path],
    only: Only | None,
    *,
    by_hand: bool,
) -> Pending:
    job, store, ledger = records.job, records.store, records.ledger
    held = ledger.shards(job.name, partitions=partitions, states=IN_FLIGHT)
    done = ledger.shards(job.name, partitions=partitions, states=[ShardState.COLLECTED])
    with runtime.duckdb() as con:
        return choose(
            con,
            tables=tables,
            held=[store.shard_requests(job.name, shard.shard_id) for shard in held],
            outcomes=decoding.outcomes(records, clients, runtime, done),
            retried_kinds=[kind.value for kind in job.retry.kinds],
            max_attempts=job.retry.max_attempts,
            only=only,
            withheld=by_hand,
            once=[
                name for name in standing.holds_by_partition(records, runtime, BY_ANSWERS) if name
            ],
        )


def _cut(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    pending: Pending,
    partitions: Sequence[str],
    only: Only | None,
) -> list[Shard]:
    job = records.job
    admitted = Admitted(pending)
    if only is None:  # rows asked for by name have been out before
        admitted = admit(records, clients, runtime, pending, partitions)
    shards = cut(
        admitted.pending,
        limits=lambda target: limits(records, clients, target),
        job=job.name,
        into=records.store.shards_dir(job.name),
    )
    return [replace(one, canary=job.version) for one in shards] if admitted.ahead else shards


def _count_again(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> None:
    """Land again where rows should go again and none does: the retry policy is another one now."""
    job, ledger = records.job.name, records.ledger
    flying = ledger.shards(job, partitions=partitions, states=IN_FLIGHT)
    busy = {name for shard in flying for name in shard.partitions}
    retryable = {one.partition for one in ledger.partitions(job) if one.retryable}
    stale = [name for name in partitions if name in retryable - busy]
    _, stuck = landing.land_each(records, clients, runtime, stale)
    for error in stuck:
        raise error


def _lease(records: Records) -> str:
    return f"plan:{records.job.name}"
