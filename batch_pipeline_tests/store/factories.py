"""Shards and observations for the store's tests; name only what the test is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from batch_pipeline.model import Observation, RemoteStatus, Shard

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEASE = 60.0
JOB = "reviews"
ACCOUNT = "acc"


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def make_shard(
    shard_id: str = "s1", *, job: str = JOB, partitions: dict[str, int] | None = None
) -> Shard:
    inside = {"p1": 10} if partitions is None else partitions
    return Shard(
        shard_id=shard_id,
        job=job,
        attempt=1,
        provider="openai",
        model="gpt-5-mini",
        endpoint="/v1/responses",
        requests=sum(inside.values()),
        bytes=1000,
        digest="d" * 64,
        partitions=inside,
    )


def make_observation(
    batch_id: str = "batch_1",
    status: RemoteStatus = RemoteStatus.RUNNING,
    *,
    completed: int = 0,
    expires_at: datetime | None = None,
) -> Observation:
    return Observation(
        batch_id=batch_id,
        status=status,
        raw_status=status.value,
        total=10,
        completed=completed,
        failed=0,
        created_at=NOON,
        expires_at=expires_at,
    )


def completed(batch_id: str = "batch_1") -> Observation:
    done = make_observation(batch_id, RemoteStatus.COMPLETED, completed=10)
    return replace(done, output_file_id="file_out", ended_at=later(100))
