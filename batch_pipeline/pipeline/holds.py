"""Why things are not sent by themselves: whose holds stand, what lifts them, what answers say.

What a batch's answers say about going on is put before its collection is written.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from batch_pipeline.model import BY_ANSWERS, FailureKind, Fault, Hold, HoldKind, RemoteStatus, Shard
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.standing import holds_by_partition
from batch_pipeline.policy.stops import Ended, alike, tripped, unmatched
from batch_pipeline.stages.results.outcomes import OutcomesDecoded
from batch_pipeline.stages.results.unanswered import about_every_line

log = logging.getLogger("batch_pipeline")

BY_RUN = BY_ANSWERS - {HoldKind.UNMATCHED}
"""Holds that asking again lifts; answers that nobody can match want a clearer word."""
_BY_ITSELF = frozenset(HoldKind) - {HoldKind.CANARY}
"""What keeps a partition from being asked for by itself; a canary's rows are held by its gate."""
_QUOTED = 300


def judge(
    records: Records, runtime: Runtime, shard: Shard, decoded: OutcomesDecoded
) -> tuple[str | None, str | None]:
    """Put the holds that follow from a batch.

    Returns the kind that most of its rows failed as, for the ledger, and what the account's
    withheld rows say, for a person.
    """
    failed_as = _most(records, shard, decoded)
    _break(records, runtime, shard, decoded, failed_as)
    _match(records, runtime, shard, decoded)
    return failed_as, _stop_for_the_account(records, runtime, shard, decoded)


def put(
    records: Records, partitions: Collection[str], kind: HoldKind, reason: str, *, now: datetime
) -> None:
    """Hold the partitions; "" is all of the job."""
    job = records.job.name
    records.ledger.holds.put(job, [Hold(job, name, kind, reason, now) for name in partitions])


def free(records: Records, runtime: Runtime, partitions: Collection[str]) -> list[str]:
    """Those of the partitions that may be sent by themselves."""
    held = holds_by_partition(records, runtime, _BY_ITSELF)
    return [] if "" in held else [name for name in partitions if name not in held]


def lift(
    records: Records, partitions: Collection[str] | None, *, unmatched_too: bool
) -> list[Hold]:
    """Somebody asks again: take away what follows from answers, of these partitions (None: all).

    A hold of the whole job goes too; a person's and a canary's stay.
    """
    kinds = BY_ANSWERS if unmatched_too else BY_RUN
    return records.ledger.holds.lift(records.job.name, kinds, partitions=partitions)


def _most(records: Records, shard: Shard, decoded: OutcomesDecoded) -> str | None:
    remote = shard.remote
    failed = remote is not None and remote.status is RemoteStatus.FAILED
    refused = failed and remote is not None and about_every_line(remote) is not None
    retried = [kind.value for kind in records.job.retry.kinds]
    return alike(decoded.by_failure, decoded.requests, retried=retried, refused=refused)


def _break(
    records: Records,
    runtime: Runtime,
    shard: Shard,
    decoded: OutcomesDecoded,
    failed_as: str | None,
) -> None:
    if failed_as is None:
        return
    before = [Ended(*one) for one in records.ledger.holds.recent(shard.job)]
    if not tripped([Ended(failed_as, shard.attempt), *before]):
        return
    count = decoded.by_failure[failed_as]
    reason = (
        f"Two batches in a row failed alike: {count:,} of the {decoded.requests:,} requests of "
        f"batch {shard.batch_id} are {failed_as} again, so nothing is sent again by itself. Look "
        f"at error_code and error_message in the results; `batch-pipeline run {shard.job}`, "
        "`retry` or `release` goes on."
    )
    _put(records, runtime, shard, [""], HoldKind.BREAKER, reason)


def _match(records: Records, runtime: Runtime, shard: Shard, decoded: OutcomesDecoded) -> None:
    absent = sum(decoded.absent.values())
    if not unmatched(decoded.requests, absent=absent, unknown=decoded.odd.unknown_lines):
        return
    outcomes = records.store.outcomes_file(shard.job, shard.shard_id)
    reason = (
        f"{decoded.odd.unknown_lines:,} answers of batch {shard.batch_id} are under names that "
        f"were never sent, and {absent:,} of its requests have no answer: these may be theirs, and "
        f"paid for. The lines are in {_kept(outcomes)}. None of these requests goes again by "
        f"itself; `batch-pipeline retry {shard.job}` sends them again, at their full price."
    )
    _put(records, runtime, shard, list(decoded.absent), HoldKind.UNMATCHED, reason)


def _stop_for_the_account(
    records: Records, runtime: Runtime, shard: Shard, decoded: OutcomesDecoded
) -> str | None:
    count = decoded.by_failure.get(FailureKind.WITHHELD.value, 0)
    if not count or decoded.withheld is None or not _is_the_accounts(shard):
        return None
    code, words = decoded.withheld
    said = " ".join(f"{code or 'no code'}: {words or '(no message)'}".split())[:_QUOTED]
    reason = (
        f"{shard.provider} did not run {count:,} requests of batch {shard.batch_id} for the "
        f"account's sake ({said.rstrip('.')}). Nothing more of this job is sent by itself; once it "
        f"is mended, `batch-pipeline run {shard.job}` sends them again."
    )
    _put(records, runtime, shard, ["", *shard.partitions], HoldKind.ACCOUNT, reason)
    return reason


def _is_the_accounts(shard: Shard) -> bool:
    """Rows are withheld for the account; those of a batch refused as a whole also for a riddle."""
    if shard.remote is None or shard.remote.status is not RemoteStatus.FAILED:
        return True
    return any(problem.fault is Fault.ACCOUNT for problem in shard.remote.problems)


def _put(
    records: Records,
    runtime: Runtime,
    shard: Shard,
    partitions: list[str],
    kind: HoldKind,
    reason: str,
) -> None:
    held = {"job": shard.job, "shard": shard.shard_id, "kind": kind.value}
    log.warning("job held: %s", reason, extra=held)
    put(records, partitions, kind, reason, now=runtime.now())


def _kept(outcomes: Path) -> Path:
    return outcomes.with_name(f"{outcomes.stem}.unknown.jsonl")
