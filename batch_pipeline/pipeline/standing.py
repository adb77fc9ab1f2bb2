"""Where a job stands, as plain values for `--json` and tables."""

from __future__ import annotations

from collections.abc import Sequence

from batch_pipeline.model import Shard
from batch_pipeline.pipeline.running import Steps


def of(steps: Steps, shards: Sequence[Shard]) -> dict[str, object]:
    """Totals, each partition's step and counts, and every shard."""
    counts = [summary.counts for _, summary in steps.values()]
    return {
        "requests": sum(one.requests for one in counts),
        "succeeded": sum(one.succeeded for one in counts),
        "failed": sum(one.failed for one in counts),
        "rejected": sum(one.rejected for one in counts),
        "holds": sorted({hold.reason for _, summary in steps.values() for hold in summary.holds}),
        "partitions": {
            name: {
                "step": step.value,
                "requests": summary.counts.requests,
                "succeeded": summary.counts.succeeded,
                "failed": summary.counts.failed,
                "rejected": summary.counts.rejected,
                "retryable": summary.counts.retryable,
                "unanswered": summary.counts.unanswered,
                "held": summary.counts.held,
                "holds": [hold.kind.value for hold in summary.holds],
                "deferred": summary.counts.deferred,
                "results_until": summary.results_until,
                "shards": {state.value: n for state, n in sorted(summary.shards.items())},
            }
            for name, (step, summary) in steps.items()
        },
        "shards": [described(shard) for shard in shards],
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
    }
