"""Between the ledger's rows and the nouns of model.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from batch_pipeline.model import (
    Fault,
    Observation,
    PartitionCounts,
    Problem,
    Remedy,
    Shard,
    ShardState,
)
from batch_pipeline.store.tables import batches

REMOTE = "remote_"
"""Prefix of a batch's columns where they stand beside a shard's."""

_SHARD_COLUMNS = [one.name for one in fields(Shard) if one.name not in {"partitions", "remote"}]
_OBSERVED = [one.name for one in fields(Observation) if one.name != "problems"]


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One provider batch of a shard's history, the superseded ones too; times are aware UTC."""

    shard_id: str
    account: str
    run_id: str | None
    observation: Observation
    submitted_at: datetime
    observed_at: datetime
    collected_at: datetime | None = None
    rows_succeeded: int | None = None
    rows_failed: int | None = None


def planned_row(shard: Shard, *, now: datetime) -> dict[str, object]:
    """The row of a shard nobody has sent; a piece of another inherits nothing of its life."""
    return {
        "shard_id": shard.shard_id,
        "job": shard.job,
        "attempt": shard.attempt,
        "provider": shard.provider,
        "model": shard.model,
        "endpoint": shard.endpoint,
        "requests": shard.requests,
        "bytes": shard.bytes,
        "digest": shard.digest,
        "options": dict(shard.options),
        "canary": shard.canary,
        "state": ShardState.PLANNED,
        "created_at": now,
        "updated_at": now,
    }


def shard_of(row: RowMapping, partitions_of: Mapping[str, int]) -> Shard:
    """A shard from its row joined with its current batch's."""
    values = {name: row[name] for name in _SHARD_COLUMNS}
    remote = observation_of(row, prefix=REMOTE) if row[f"{REMOTE}batch_id"] is not None else None
    return Shard(**values, partitions=dict(partitions_of), remote=remote)


def observation_row(observation: Observation) -> dict[str, object]:
    """The columns of `batches` that one look at the provider fills."""
    return {
        **{name: getattr(observation, name) for name in _OBSERVED},
        "problems": [asdict(problem) for problem in observation.problems],
    }


def observation_of(row: RowMapping, *, prefix: str = "") -> Observation:
    """The last look, as the ledger keeps it."""
    return Observation(
        **{name: row[f"{prefix}{name}"] for name in _OBSERVED},
        problems=tuple(_problem(problem) for problem in row[f"{prefix}problems"]),
    )


def _problem(said: Mapping[str, Any]) -> Problem:
    """A problem as it was kept; an older ledger's says nothing of whose fault it is."""
    remedy = said.get("remedy")
    sorted_as = {
        "fault": Fault(said.get("fault", Fault.UNKNOWN)),
        "remedy": None if remedy is None else Remedy(remedy),
    }
    return Problem(**{**said, **sorted_as})


def batch_record(row: RowMapping) -> BatchRecord:
    """A row of `batches`."""
    own = {one.name: row[one.name] for one in fields(BatchRecord) if one.name in batches.c}
    return BatchRecord(observation=observation_of(row), **own)


def partition_counts(row: RowMapping) -> PartitionCounts:
    """A row of `partitions`."""
    return PartitionCounts(**{one.name: row[one.name] for one in fields(PartitionCounts)})
