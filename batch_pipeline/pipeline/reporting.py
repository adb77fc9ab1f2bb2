"""What partitions cost: their reports, kept in the store and handed to whoever shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batch_pipeline.model import Shard, ShardState
from batch_pipeline.pipeline import collecting
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.policy.absence import may_be_billed
from batch_pipeline.stages.bill.report import CostReport, cost_report
from batch_pipeline.stages.bill.superseded import Beside

_SIMULATED = ("simulated", "facade00-")
"""In the batch ids of the bundled simulator, so that its answers are never taken for real ones.

Mistral's ids are UUIDs: there it is their beginning.
"""


def report(work: Workplace, partitions: Sequence[str]) -> CostReport:
    """One report over those of the partitions that have landed; the job's own is kept too.

    A store that can only be read keeps none.
    """
    if work.writable:
        reports(work, [])
    return _made(work, _landed(work, partitions))


def reports(work: Workplace, partitions: Sequence[str]) -> dict[str, CostReport]:
    """Each landed partition's report, written beside its name; then the job's over all of them."""
    collecting.land_again(work)
    made = {name: _made(work, [name]) for name in _landed(work, partitions)}
    for name, one in made.items():
        one.write(work.store.report_file(work.job.name, "md", partition=name).parent)
    every = [counts.partition for counts in work.ledger.partitions(work.job.name)]
    whole = _made(work, _landed(work, every))
    whole.write(work.store.report_file(work.job.name, "md").parent)
    return made


def _landed(work: Workplace, partitions: Iterable[str]) -> list[str]:
    name, store = work.job.name, work.store
    return [one for one in partitions if store.results_file(name, one).exists()]


def _made(work: Workplace, partitions: Sequence[str]) -> CostReport:
    name, store = work.job.name, work.store
    shards = work.ledger.shards(name, partitions=partitions, states=[ShardState.COLLECTED])
    with work.duckdb() as con:
        return cost_report(
            con,
            job=name,
            results={one: store.results_file(name, one) for one in partitions},
            outcomes=collecting.outcomes(work, shards),
            priced=work.prices,
            simulated=any(_is_simulated(shard) for shard in shards),
            targets=[(target.sends_to, target.model) for target in work.job.targets],
            beside=_beside(work, partitions),
        )


def _beside(work: Workplace, partitions: Sequence[str]) -> list[Beside]:
    """Batches with rows of these partitions that may be billed and gave no result."""
    found: list[Beside] = []
    for record in work.ledger.absences.superseded(work.job.name):
        shard, seen = work.ledger.shard(record.shard_id), record.observation
        rows = {name: count for name, count in shard.partitions.items() if name in partitions}
        if rows and may_be_billed(seen):
            status, done = seen.raw_status, seen.completed
            found.append(
                Beside(seen.batch_id, shard.provider, shard.model, status, done, rows=rows)
            )
    return found


def _is_simulated(shard: Shard) -> bool:
    return shard.batch_id is not None and any(mark in shard.batch_id for mark in _SIMULATED)
