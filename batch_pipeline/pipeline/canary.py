"""New request content goes out with its first rows alone; what is learned of them is kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from batch_pipeline import catalog
from batch_pipeline.model import CanaryRecord, CanaryVerdict, HoldKind, Shard, ShardState
from batch_pipeline.pipeline import decoding
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.policy.admission import Ruling
from batch_pipeline.policy.canary import Gate, gate, judged
from batch_pipeline.providers.models import doubt
from batch_pipeline.spec import Canary
from batch_pipeline.stages.bill.sample import Sample, sample
from batch_pipeline.stages.shards.pending import Pending

log = logging.getLogger("batch_pipeline")


def ruling(records: Records, clients: Clients, runtime: Runtime, pending: Pending) -> Ruling:
    """What the job's canary says of the rows of *pending*."""
    asked = records.job.canary
    where = Gate.OPEN if asked is None else _gate(records, clients, runtime, asked)
    if asked is None or where is Gate.OPEN:
        return Ruling(HoldKind.CANARY)
    if where is Gate.FIRST:
        return Ruling(HoldKind.CANARY, _firsts(runtime, asked, pending), ahead=True)
    reason = _reason(records) if where is Gate.HELD else None
    return Ruling(HoldKind.CANARY, (0,) * len(pending.targets), reason)


def _firsts(runtime: Runtime, asked: Canary, pending: Pending) -> tuple[int, ...]:
    """How many rows of each target go first: one of a model that may not be there."""
    today, providers = runtime.now().date(), catalog.known().records
    return tuple(
        1
        if one.provider in providers and doubt(one.provider, one.model, on=today) is not None
        else asked.requests
        for one in pending.targets
    )


def release(records: Records, runtime: Runtime) -> CanaryRecord | None:
    """Let the rows that a failed canary holds go; None when none is held."""
    ledger, job = records.ledger, records.job
    decided = ledger.canaries.decided(job.name, job.version)
    if decided is None or decided.verdict is not CanaryVerdict.HELD:
        return None
    released = replace(decided, verdict=CanaryVerdict.RELEASED)
    ledger.canaries.judge(released, now=runtime.now())
    ledger.holds.lift(job.name, {HoldKind.CANARY})
    return released


def _gate(records: Records, clients: Clients, runtime: Runtime, asked: Canary) -> Gate:
    job, ledger = records.job, records.ledger
    decided = ledger.canaries.decided(job.name, job.version)
    shards = [] if decided else _shards(records)
    where = gate(decided, Counter(shard.state for shard in shards))
    if where is not Gate.JUDGE:
        return where
    record = _judged(records, clients, runtime, asked, shards)
    if record is None:  # the account kept them all from running: they go ahead again
        return Gate.FIRST
    ledger.canaries.judge(record, now=runtime.now())
    log.info("canary judged", extra={"job": job.name, "verdict": record.verdict.value})
    return gate(record, {})


def _judged(
    records: Records, clients: Clients, runtime: Runtime, asked: Canary, shards: Sequence[Shard]
) -> CanaryRecord | None:
    job = records.job
    back = [shard for shard in shards if shard.state is ShardState.COLLECTED]
    files = decoding.outcomes(records, clients, runtime, back)
    with runtime.duckdb() as con:
        seen = sample(con, files, records.prices(runtime.now()))
    if not seen.requests:
        return None
    verdict, reason = judged(
        seen.requests,
        seen.by_failure,
        max_failed_ratio=asked.max_failed_ratio,
        release=asked.release,
    )
    return CanaryRecord(
        job=job.name,
        version=job.version,
        verdict=verdict,
        reason=f"{reason}{_learned(seen)}",
        requests=seen.requests,
        failed=sum(seen.by_failure.values()),
        mean_input_tokens=seen.mean_input_tokens,
        mean_output_tokens=seen.mean_output_tokens,
    )


def _learned(seen: Sample) -> str:
    """What a row of this content comes to, as far as the sample tells."""
    if seen.mean_output_tokens is None:
        return ""
    said = f" An answer has {seen.mean_output_tokens:,.0f} tokens on average"
    cost = seen.cost_per_row
    return f"{said}." if cost is None else f"{said}; 1,000 rows cost about ${_shown(cost * 1000)}."


def _shown(dollars: Decimal) -> str:
    return f"{dollars:.4f}" if dollars < 1 else f"{dollars:,.2f}"


def _shards(records: Records) -> list[Shard]:
    states = [state for state in ShardState if state is not ShardState.CANCELLED]
    every = records.ledger.shards(records.job.name, states=states)
    return [shard for shard in every if shard.canary == records.job.version]


def _reason(records: Records) -> str:
    decided = records.ledger.canaries.decided(records.job.name, records.job.version)
    why = "" if decided is None else decided.reason
    return (
        f"canary: {why} The other rows are not sent. Look at its results; then change the request, "
        f"or let them go with `batch-pipeline release {records.job.name}`."
    )
