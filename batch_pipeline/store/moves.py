"""How the ledger changes: conditional statements over an open, writing connection."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Table, and_, bindparam, case, or_, select, true, tuple_, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import Insert

from batch_pipeline.model import (
    AT_PROVIDER,
    READY,
    TERMINAL,
    UNCLEAR,
    UNSENT,
    Observation,
    PartitionCounts,
    Shard,
    ShardState,
)
from batch_pipeline.settings import CLOCK_JUMP
from batch_pipeline.store.queries import chunks, load_shards
from batch_pipeline.store.rows import observation_of, observation_row, planned_row
from batch_pipeline.store.tables import (
    accounts,
    batches,
    locks,
    partitions,
    shard_partitions,
    shards,
)

_UNCLAIMED = ("claimed_by", "claimed_at", "lease_until")
_FOUND = ("missed", "missed_since", "look_at")
_UNSENT_AGAIN = (
    *(*_UNCLAIMED, *_FOUND),
    *("intent", "account", "batch_id", "run_id", "submitted_at"),
)


@dataclass(frozen=True, slots=True)
class Move:
    """An allowed change of state; *forgets* are the columns that mean nothing afterwards."""

    sources: tuple[ShardState, ...]
    to: ShardState
    forgets: tuple[str, ...] = _UNCLAIMED


HELD = Move((ShardState.SUBMITTING,), ShardState.SUBMITTING, forgets=())
SUBMITTED = Move(
    (*UNSENT, ShardState.FAILED),
    ShardState.SUBMITTED,
    forgets=(*_UNCLAIMED, *_FOUND, "message", "not_before"),
)
REQUEUED = Move(
    (*UNCLEAR, *AT_PROVIDER),
    ShardState.PLANNED,
    forgets=_UNSENT_AGAIN,
)
DOUBTED = Move(UNCLEAR, ShardState.IN_DOUBT, forgets=("lease_until",))
FAILED = Move((*UNSENT, *AT_PROVIDER), ShardState.FAILED)
RELEASED = Move(
    (ShardState.FAILED,),
    ShardState.PLANNED,
    forgets=(*_UNSENT_AGAIN, "message", "not_before"),
)
REPLACED = Move((*UNSENT, ShardState.ENDED, ShardState.FAILED), ShardState.CANCELLED)
WITHDRAWN = Move((ShardState.PLANNED,), ShardState.CANCELLED)
GIVEN_UP = Move((ShardState.PLANNED, ShardState.FAILED), ShardState.CANCELLED)
COLLECTED = Move(
    (ShardState.ENDED,),
    ShardState.COLLECTED,
    forgets=("message", "not_before", *_FOUND),
)
CUT = Move((ShardState.ENDED,), ShardState.ENDED, forgets=())
READ = Move((ShardState.ENDED, ShardState.COLLECTED), ShardState.COLLECTED, forgets=("not_before",))
MISSED = Move((ShardState.SUBMITTED,), ShardState.SUBMITTED)
GONE = Move((*AT_PROVIDER, ShardState.FAILED), ShardState.FAILED)
FOUND = Move(
    (ShardState.SUBMITTED, ShardState.FAILED),
    ShardState.SUBMITTED,
    forgets=(*_FOUND, "message"),
)
RESUMED = Move((ShardState.FAILED,), ShardState.SUBMITTED, forgets=("not_before",))
_REVIVED = Move(
    (ShardState.CANCELLED,),
    ShardState.PLANNED,
    forgets=(*_UNSENT_AGAIN, "message", "not_before"),
)


class HeldByAnother(Exception):  # noqa: N818 - a state and no fault: it ends the transaction
    """One of the leases that were asked for is another owner's."""


def lock(
    connection: Connection, names: Collection[str], *, owner: str, now: datetime, lease: float
) -> None:
    """Take or renew every lease, in one order for all who ask; HeldByAnother if one is not free."""
    values = {"owner": owner, "expires_at": now + timedelta(seconds=lease)}
    free = or_(locks.c.owner == owner, locks.c.expires_at <= now)
    ordered = sorted(names)
    insert_absent(connection, locks, [{"name": name, **values} for name in ordered])
    for some in chunks(ordered):
        these = locks.c.name.in_(some)
        connection.execute(
            select(locks.c.name).where(these).order_by(locks.c.name).with_for_update()
        )
        taken = connection.execute(update(locks).where(these, free).values(values))
        if taken.rowcount != len(some):
            raise HeldByAnother


def built(connection: Connection, counts: Sequence[PartitionCounts], *, now: datetime) -> None:
    """Note the request tables that were written; see Ledger.built."""
    columns, written = partitions.c, ("requests", "rejected", "digest")
    same = columns.digest == bindparam("new_digest")
    rows = [
        {
            "of_job": one.job,
            "of_partition": one.partition,
            **{f"new_{name}": getattr(one, name) for name in written},
        }
        for one in counts
    ]
    values: dict[str, object] = {
        **{name: bindparam(f"new_{name}") for name in written},
        "landed": case((same, columns.landed), else_=-1),
        "deferred": case((same, columns.deferred), else_=0),
        "updated_at": now,
    }
    touch_partitions(connection, [(one.job, one.partition) for one in counts], now=now)
    these = [columns[name] == bindparam(f"of_{name}") for name in ("job", "partition")]
    if rows:
        connection.execute(update(partitions).where(*these).values(values), rows)


def landed(connection: Connection, seen: Sequence[PartitionCounts], *, now: datetime) -> None:
    """Write the counts of looked at results, where the request table is still that of the look."""
    columns = partitions.c
    written = ("landed", "succeeded", "failed", "retryable", "unanswered")
    rows = [
        {
            **{f"of_{name}": getattr(one, name) for name in ("job", "partition", "digest")},
            **{f"new_{name}": getattr(one, name) for name in written},
        }
        for one in seen
    ]
    same = [columns[name] == bindparam(f"of_{name}") for name in ("job", "partition", "digest")]
    values: dict[str, object] = {name: bindparam(f"new_{name}") for name in written}
    changed = update(partitions).where(*same).values({**values, "updated_at": now})
    if rows:
        connection.execute(changed, rows)


def insert_absent(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert rows whose primary key is new; the others stay as they are, whoever wrote them."""
    statement: Insert = sqlite.insert(table).on_conflict_do_nothing()
    if connection.dialect.name != "sqlite":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - few ledgers are there

        statement = postgresql.insert(table).on_conflict_do_nothing()
    if rows:
        connection.execute(statement, rows)


def move(
    connection: Connection,
    shard_ids: Collection[str],
    how: Move,
    *,
    now: datetime,
    owner: str | None = None,
    batch: str | None = None,
    **values: object,
) -> int:
    """Move those of the shards that may, while *owner* claims and *batch* is theirs; how many."""
    may = shards.c.state.in_(how.sources)
    still = and_(
        true() if owner is None else shards.c.claimed_by == owner,
        true() if batch is None else shards.c.batch_id == batch,
    )
    changed = {**dict.fromkeys(how.forgets), "state": how.to, "updated_at": now, **values}
    return sum(
        connection.execute(
            update(shards).where(shards.c.shard_id.in_(some), may, still).values(changed)
        ).rowcount
        for some in chunks(shard_ids)
    )


def plan(connection: Connection, planned: Sequence[Shard], *, now: datetime) -> None:
    """Insert planned shards and revive withdrawn ones; see Ledger.plan."""
    places = [
        {"job": shard.job, "partition": name, "shard_id": shard.shard_id, "requests": count}
        for shard in planned
        for name, count in shard.partitions.items()
    ]
    keys = {(place["job"], place["partition"]) for place in places}
    touch_partitions(connection, keys, now=now)
    insert_absent(connection, shards, [planned_row(shard, now=now) for shard in planned])
    insert_absent(connection, shard_partitions, places)
    ids = [shard.shard_id for shard in planned]
    move(connection, ids, _REVIVED, now=now, created_at=now, tries=0)


def touch_partitions(
    connection: Connection, keys: Iterable[tuple[object, object]], *, now: datetime
) -> None:
    """Make sure that each (job, partition) has a row."""
    rows = [{"job": job, "partition": name, "updated_at": now} for job, name in sorted(keys)]
    insert_absent(connection, partitions, rows)


def count_collection(
    connection: Connection,
    shard_id: str,
    *,
    came_to: tuple[int | None, int | None, str | None],
    now: datetime,
) -> None:
    """Note a collection on the shard's batch and on every partition it touched.

    *came_to* is how many rows succeeded, how many failed, and the kind that most failed as.
    """
    succeeded, failed, failed_as = came_to
    own = select(shards.c.account, shards.c.batch_id).where(shards.c.shard_id == shard_id)
    connection.execute(
        update(batches)
        .where(tuple_(batches.c.account, batches.c.batch_id).in_(own))
        .values(collected_at=now, rows_succeeded=succeeded, rows_failed=failed, failed_as=failed_as)
    )
    touched = select(shard_partitions.c.job, shard_partitions.c.partition).where(
        shard_partitions.c.shard_id == shard_id
    )
    connection.execute(
        update(partitions)
        .where(tuple_(partitions.c.job, partitions.c.partition).in_(touched))
        .values(collected=partitions.c.collected + 1, updated_at=now)
    )


def claim(
    connection: Connection, shard_id: str, *, owner: str, intent: str, now: datetime, lease: float
) -> Shard | None:
    """One conditional UPDATE decides who sends; see Ledger.claim."""
    due = or_(
        shards.c.not_before.is_(None),
        shards.c.not_before <= now,
        shards.c.not_before > now + CLOCK_JUMP,  # nothing is put off for so long: a clock was ahead
    )
    jumped = now + timedelta(seconds=2 * lease) + CLOCK_JUMP
    over = or_(shards.c.lease_until <= now, shards.c.lease_until > jumped)
    free = or_(
        and_(shards.c.state.in_(READY), due),
        and_(shards.c.state == ShardState.SUBMITTING, over),
    )
    values = {
        "state": ShardState.SUBMITTING,
        "intent": case((shards.c.state == ShardState.PLANNED, intent), else_=shards.c.intent),
        "claimed_by": owner,
        "claimed_at": now,
        "lease_until": now + timedelta(seconds=lease),
        "not_before": None,
        "updated_at": now,
    }
    this = shards.c.shard_id == shard_id
    won = connection.execute(update(shards).where(this, free).values(values)).rowcount == 1
    return load_shards(connection, this)[0] if won else None


def record_batch(
    connection: Connection,
    shard: Shard,
    observation: Observation,
    *,
    account: str,
    run_id: str | None,
    now: datetime,
) -> None:
    """Add a batch to its shard's history, or refresh what is known of it."""
    insert_absent(connection, accounts, [{"account": account, "provider": shard.provider}])
    row = {
        **observation_row(observation),
        "account": account,
        "shard_id": shard.shard_id,
        "run_id": run_id,
        "submitted_at": now,
        "observed_at": now,
    }
    insert_absent(connection, batches, [row])
    observe(connection, account, [observation], now=now, ended=[])


def observe(
    connection: Connection,
    account: str,
    observations: Iterable[Observation],
    *,
    now: datetime,
    ended: Collection[str] | None = None,
) -> list[str]:
    """Write what a poll said; returns the batches of changed status or counts (Ledger.observe)."""
    seen = {observation.batch_id: observation for observation in observations}
    known = _known(connection, account, seen)
    fresh = {
        batch_id: _no_file_forgotten(seen[batch_id], old)
        for batch_id, old in known.items()
        if old.status not in TERMINAL or seen[batch_id].status in TERMINAL
    }
    different = {key: new for key, new in fresh.items() if new != known[key]}
    _write(connection, account, different.values(), now=now)
    if ended is None:
        ended = [key for key, new in fresh.items() if new.status in TERMINAL]
    _end(connection, account, ended, now=now)
    return [key for key, new in different.items() if _progress(new) != _progress(known[key])]


def _known(
    connection: Connection, account: str, batch_ids: Collection[str]
) -> dict[str, Observation]:
    mine = batches.c.account == account
    return {
        row["batch_id"]: observation_of(row)
        for some in chunks(batch_ids)
        for row in connection.execute(
            select(batches).where(mine, batches.c.batch_id.in_(some)).with_for_update()
        ).mappings()
    }


def _no_file_forgotten(new: Observation, old: Observation) -> Observation:
    """A listing may leave out a file id that we have read before; the file is still there."""
    ids = ("input_file_id", "output_file_id", "error_file_id")
    kept = {name: getattr(old, name) for name in ids if getattr(new, name) is None}
    return replace(new, **kept)


def _progress(seen: Observation) -> tuple[str, int, int, int]:
    return seen.status, seen.total, seen.completed, seen.failed


def _write(
    connection: Connection, account: str, changed: Iterable[Observation], *, now: datetime
) -> None:
    rows = [{**observation_row(new), "observed_at": now, "key": new.batch_id} for new in changed]
    for row in rows:
        del row["batch_id"]
    if rows:
        this = and_(batches.c.account == account, batches.c.batch_id == bindparam("key"))
        connection.execute(update(batches).where(this), rows)


def _end(
    connection: Connection, account: str, batch_ids: Collection[str], *, now: datetime
) -> None:
    mine = and_(shards.c.account == account, shards.c.state == ShardState.SUBMITTED)
    for some in chunks(batch_ids):
        connection.execute(
            update(shards)
            .where(mine, shards.c.batch_id.in_(some))
            .values(state=ShardState.ENDED, updated_at=now)
        )
