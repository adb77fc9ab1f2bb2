"""Where a job stands, as plain values for `--json` and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from batch_pipeline.model import Shard
from batch_pipeline.pipeline.standing import Steps
from batch_pipeline.policy.retention import runs_out
from batch_pipeline.stages.results.oddities import Oddities


def of(
    steps: Steps,
    shards: Sequence[Shard],
    *,
    now: datetime,
    skews: Mapping[str, float],
    odd: Oddities,
) -> dict[str, object]:
    """Totals, each partition's step and counts, and every shard."""
    counts = [summary.counts for _, summary in steps.values()]
    return {
        "requests": sum(one.requests for one in counts),
        "succeeded": sum(one.succeeded for one in counts),
        "failed": sum(one.failed for one in counts),
        "unsendable": sum(one.rejected for one in counts),
        "rejected": sum(one.rejected for one in counts),  # the older name of the same
        "holds": sorted({hold.reason for _, summary in steps.values() for hold in summary.holds}),
        "partitions": {
            name: {
                "step": step.value,
                "requests": summary.counts.requests,
                "succeeded": summary.counts.succeeded,
                "failed": summary.counts.failed,
                "unsendable": summary.counts.rejected,
                "rejected": summary.counts.rejected,
                "retryable": summary.counts.retryable,
                "unanswered": summary.counts.unanswered,
                "held": summary.held,
                "asked": any(one.problem is None for one in summary.asked),
                "unread": next((one.problem for one in summary.asked if one.problem), None),
                "holds": [hold.kind.value for hold in summary.holds],
                "deferred": summary.counts.deferred,
                "results_until": summary.results_until,
                "results_run_out": runs_out(summary, now=now),
                "shards": {state.value: n for state, n in sorted(summary.shards.items())},
            }
            for name, (step, summary) in steps.items()
        },
        "shards": [described(shard) for shard in shards],
        "clock_ahead_seconds": dict(skews),
        "oddities": asdict(odd),
    }


def described(shard: Shard) -> dict[str, str | int | None]:
    """One shard in a row: what it is, where it is, what the provider says."""
    remote = shard.remote
    return {
        "shard": shard.shard_id,
        "provider": shard.provider,
        "model": shard.model,
        "attempt": shard.attempt,
        "state": shard.state.value,
        "requests": shard.requests,
        "bytes": shard.bytes,
        "batch": shard.batch_id,
        "provider says": None if remote is None else remote.raw_status,
        "completed": None if remote is None else remote.completed,
        "failed": None if remote is None else remote.failed,
        "message": shard.message,
        "missed": None if shard.missed is None else shard.missed.value,
        "missed since": _time(shard.missed_since),
        "next look": _time(shard.look_at),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
