"""What partitions cost: their reports, kept in the store and handed to whoever shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batch_pipeline.model import ShardState
from batch_pipeline.pipeline import decoding, landing
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.policy.absence import may_be_billed
from batch_pipeline.stages.bill.report import CostReport, cost_report
from batch_pipeline.stages.bill.superseded import Beside


def report(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> CostReport:
    """One report over those of the partitions that have landed; the job's own is kept too.

    A store that can only be read keeps none.
    """
    if records.writable:
        reports(records, clients, runtime, [])
    return _made(records, clients, runtime, _landed(records, partitions))


def reports(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> dict[str, CostReport]:
    """Each landed partition's report, written beside its name; then the job's over all of them."""
    landing.land_again(records, clients, runtime)
    made = {name: _made(records, clients, runtime, [name]) for name in _landed(records, partitions)}
    for name, one in made.items():
        one.write(records.store.report_file(records.job.name, "md", partition=name).parent)
    every = [counts.partition for counts in records.ledger.partitions(records.job.name)]
    whole = _made(records, clients, runtime, _landed(records, every))
    whole.write(records.store.report_file(records.job.name, "md").parent)
    return made


def _landed(records: Records, partitions: Iterable[str]) -> list[str]:
    name, store = records.job.name, records.store
    return [one for one in partitions if store.results_file(name, one).exists()]


def _made(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> CostReport:
    name, store = records.job.name, records.store
    shards = records.ledger.shards(name, partitions=partitions, states=[ShardState.COLLECTED])
    with runtime.duckdb() as con:
        return cost_report(
            con,
            job=name,
            results={one: store.results_file(name, one) for one in partitions},
            outcomes=decoding.outcomes(records, clients, runtime, shards),
            priced=records.prices(runtime.now()),
            simulated=any(shard.simulated for shard in shards),
            targets=[(target.sends_to, target.model) for target in records.job.targets],
            beside=_beside(records, partitions),
        )


def _beside(records: Records, partitions: Sequence[str]) -> list[Beside]:
    """Batches with rows of these partitions that may be billed and gave no result."""
    found: list[Beside] = []
    for record in records.ledger.absences.superseded(records.job.name):
        shard, seen = records.ledger.shard(record.shard_id), record.observation
        rows = {name: count for name, count in shard.partitions.items() if name in partitions}
        if rows and may_be_billed(seen):
            status, done = seen.raw_status, seen.completed
            found.append(
                Beside(seen.batch_id, shard.provider, shard.model, status, done, rows=rows)
            )
    return found
