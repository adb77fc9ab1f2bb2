"""Whether what a person named for a retry is there: a name that nobody has is a mistake."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_pipeline.errors import UsageError
from batch_pipeline.pipeline.records import Records
from batch_pipeline.stages.shards.cut import Only

_TOLD = 3


def check_named(records: Records, partitions: Sequence[str], only: Only | None) -> None:
    """UsageError that names the custom_ids, or the run, of which these partitions have nothing."""
    if only is None:
        return
    if only.custom_ids is not None:
        _check_ids(records, partitions, only.custom_ids)
    if only.run_id is not None:
        check_run(records, only.run_id)


def resolved(records: Records, only: Only | None) -> Only | None:
    """The same selection, where a run that sent nothing stands for the shards it collected."""
    if only is None or only.run_id is None or only.run_id in _senders(records):
        return only
    return replace(only, run_id=None, shards=tuple(collected_in(records, only.run_id)))


def collected_in(records: Records, run_id: str) -> list[str]:
    """The shards of which a run had collected failed rows, as it left them in the store."""
    file = records.store.failures_file(records.job.name, run_id=run_id)
    if not file.exists():
        return []
    with file.open("rb") as rows:
        shards: list[str] = pc.unique(pq.read_table(rows, columns=["shard"])["shard"]).to_pylist()
    return shards


def _check_ids(records: Records, partitions: Sequence[str], asked: Sequence[str]) -> None:
    known: set[str] = set()
    some = ""
    for name in partitions:
        table = records.store.requests_table(records.job.name, name)
        ids = pq.read_table(table, columns=["custom_id"])["custom_id"].combine_chunks()
        known |= {one for one in asked if pc.any(pc.equal(ids, one)).as_py()}
        some = some or (ids[0].as_py() if len(ids) else "")
    unknown = [one for one in asked if one not in known]
    if unknown:
        more = f" and {len(unknown) - _TOLD} more" if len(unknown) > _TOLD else ""
        raise UsageError(
            f"{records.job.name}: no request of these partitions is named "
            f"{', '.join(map(repr, unknown[:_TOLD]))}{more}. custom_ids stand in the results and "
            f"are like {some!r}."
        )


def check_run(records: Records, asked: str) -> None:
    """UsageError for a run that sent nothing and collected no failed row."""
    runs = _senders(records)
    if asked not in runs and not collected_in(records, asked):
        near = difflib.get_close_matches(asked, runs, n=1) or runs[-1:]
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"{records.job.name}: no run {asked!r} sent anything. Runs stand in the results' "
            f"column run_id.{hint}"
        )


def _senders(records: Records) -> list[str]:
    shards = records.ledger.shards(records.job.name)
    return list(dict.fromkeys(shard.run_id for shard in shards if shard.run_id))
