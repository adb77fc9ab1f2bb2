"""What partitions cost: their reports, kept in the store and handed to whoever shows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from batch_pipeline.model import ShardState
from batch_pipeline.pipeline import decoding, landing
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.policy.absence import may_be_billed
from batch_pipeline.stages.bill.report import Bill, Carried, CostReport, billed
from batch_pipeline.stages.bill.superseded import Beside


def report(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> CostReport:
    """One report over those of the partitions that have landed; the job's own is kept too.

    A store that can only be read keeps none.
    """
    if not records.writable:
        return _bill(records, clients, runtime, partitions).report(partitions)
    return _whole(records, clients, runtime, partitions).report(partitions)


def reports(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> dict[str, CostReport]:
    """Each landed partition's report, written beside its name; then the job's over all of them."""
    bill = _whole(records, clients, runtime, partitions)
    made = {name: bill.report([name]) for name in _landed(records, partitions)}
    for name, one in made.items():
        one.write(records.store.report_file(records.job.name, "md", partition=name).parent)
    return made


def _whole(records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]) -> Bill:
    """The bill of all that has landed, *partitions* too; the job's report is written."""
    landing.land_again(records, clients, runtime)
    every = [counts.partition for counts in records.ledger.partitions(records.job.name)]
    bill = _bill(records, clients, runtime, list(dict.fromkeys([*every, *partitions])))
    bill.report(every).write(records.store.report_file(records.job.name, "md").parent)
    return bill


def _landed(records: Records, partitions: Iterable[str]) -> list[str]:
    name, store = records.job.name, records.store
    return [one for one in partitions if store.results_file(name, one).exists()]


def _bill(records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]) -> Bill:
    name, store = records.job.name, records.store
    landed = _landed(records, partitions)
    shards = records.ledger.shards(name, partitions=landed, states=[ShardState.COLLECTED])
    paths = decoding.outcomes(records, clients, runtime, shards)
    with runtime.duckdb() as con:
        return billed(
            con,
            job=name,
            results={one: store.results_file(name, one) for one in landed},
            carried=[
                Carried(path, shard.partitions, shard.simulated)
                for path, shard in zip(paths, shards, strict=True)
            ],
            priced=records.prices(runtime.now()),
            targets=[(target.sends_to, target.model) for target in records.job.targets],
            beside=_beside(records, set(landed)),
        )


def _beside(records: Records, partitions: Collection[str]) -> list[Beside]:
    """Batches with rows of these partitions that may be billed and gave no result."""
    found: list[Beside] = []
    for record in records.ledger.absences.superseded(records.job.name):
        shard, seen = records.ledger.shard(record.shard_id), record.observation
        status, done = seen.raw_status, seen.completed
        one = Beside(seen.batch_id, shard.provider, shard.model, status, done, shard.partitions)
        if may_be_billed(seen) and (part := one.of(partitions)).rows:
            found.append(part)
    return found
