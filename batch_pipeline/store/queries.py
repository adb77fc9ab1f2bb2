"""What the ledger is asked: selects over an open connection; rows come out as nouns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Subquery,
    and_,
    case,
    func,
    or_,
    select,
)

from batch_pipeline.model import (
    READY,
    TERMINAL,
    Missed,
    PartitionCounts,
    PartitionSummary,
    RemoteStatus,
    Shard,
    ShardState,
)
from batch_pipeline.store.rows import (
    REMOTE,
    BatchRecord,
    batch_record,
    partition_counts,
    shard_of,
)
from batch_pipeline.store.tables import batches, locks, partitions, shard_partitions, shards

_IN_ONE_QUERY = 1000  # values in one IN: far below what either database allows
T = TypeVar("T")

_current = and_(batches.c.account == shards.c.account, batches.c.batch_id == shards.c.batch_id)
"""Joins a shard with the batch it names, not with the earlier ones of its history."""


def chunks(values: Collection[T]) -> Iterator[Sequence[T]]:
    """Pieces of *values* that fit into one statement."""
    listed = list(values)
    for start in range(0, len(listed), _IN_ONE_QUERY):
        yield listed[start : start + _IN_ONE_QUERY]


def load_shards(
    connection: Connection,
    condition: ColumnElement[bool],
    *,
    states: Collection[ShardState] | None = None,
) -> list[Shard]:
    """Shards that satisfy *condition*, in the order they were planned."""
    if states is not None:
        condition = and_(condition, shards.c.state.in_(list(states)))
    remote = [column.label(f"{REMOTE}{column.name}") for column in batches.c]
    rows = connection.execute(
        select(shards, *remote)
        .outerjoin(batches, _current)
        .where(condition)
        .order_by(shards.c.created_at, shards.c.shard_id)
    ).mappings()
    found = rows.all()
    inside: defaultdict[str, dict[str, int]] = defaultdict(dict)
    members = (
        select(shard_partitions)
        .where(shard_partitions.c.shard_id.in_(select(shards.c.shard_id).where(condition)))
        .order_by(shard_partitions.c.partition)
    )
    for row in connection.execute(members):
        inside[row.shard_id][row.partition] = row.requests
    return [shard_of(row, inside[row["shard_id"]]) for row in found]


def load_shards_by_id(
    connection: Connection,
    shard_ids: Collection[str],
    *,
    states: Collection[ShardState] | None = None,
) -> list[Shard]:
    """Shards of these ids, however many, in the order they were planned."""
    found = [
        shard
        for some in chunks(shard_ids)
        for shard in load_shards(connection, shards.c.shard_id.in_(some), states=states)
    ]
    return sorted(found, key=lambda shard: (str(shard.created_at), shard.shard_id))


def load_current(connection: Connection, account: str, batch_ids: Collection[str]) -> list[Shard]:
    """Shards whose current batch is one of these, in the order they were planned."""
    mine = shards.c.account == account
    ids = [
        shard_id
        for some in chunks(batch_ids)
        for shard_id in connection.scalars(
            select(shards.c.shard_id).where(mine, shards.c.batch_id.in_(some))
        )
    ]
    return load_shards_by_id(connection, ids)


def ids_in_partitions(connection: Connection, job: str, names: Collection[str]) -> set[str]:
    """Shards of the job that hold a request of one of these partitions."""
    member = shard_partitions.c
    return {
        shard_id
        for some in chunks(names)
        for shard_id in connection.scalars(
            select(member.shard_id).where(member.job == job, member.partition.in_(some))
        )
    }


def carriers(
    connection: Connection, job: str, names: Collection[str], states: Collection[ShardState]
) -> dict[str, set[str]]:
    """Shards with requests of these partitions, in the order they were planned; of which."""
    member = shard_partitions.c
    found: list[tuple[datetime, str, str]] = []
    for some in chunks(names):
        mine = and_(member.job == job, member.partition.in_(some), shards.c.state.in_(list(states)))
        query = select(shards.c.created_at, shards.c.shard_id, member.partition)
        joined = query.join(shard_partitions, member.shard_id == shards.c.shard_id)
        found += [(at, one, name) for at, one, name in connection.execute(joined.where(mine))]
    carried: dict[str, set[str]] = {}
    for _, shard_id, name in sorted(found):
        carried.setdefault(shard_id, set()).add(name)
    return carried


def counts(
    connection: Connection, job: str, names: Collection[str] | None
) -> list[PartitionCounts]:
    """The partitions of the job, or those of *names*, by name."""
    query = select(partitions).where(partitions.c.job == job).order_by(partitions.c.partition)
    if names is None:
        return [partition_counts(row) for row in connection.execute(query).mappings()]
    return [
        partition_counts(row)
        for some in chunks(sorted(names))
        for row in connection.execute(query.where(partitions.c.partition.in_(some))).mappings()
    ]


def holders(connection: Connection, names: Collection[str]) -> dict[str, str]:
    """Who has each of the leases."""
    return {
        row.name: row.owner
        for some in chunks(names)
        for row in connection.execute(select(locks).where(locks.c.name.in_(some)))
    }


def history(connection: Connection, shard_id: str) -> list[BatchRecord]:
    """Every batch the shard has had, oldest first."""
    query = (
        select(batches)
        .where(batches.c.shard_id == shard_id)
        .order_by(batches.c.submitted_at, batches.c.batch_id)
    )
    return [batch_record(row) for row in connection.execute(query).mappings()]


def is_open() -> ColumnElement[bool]:
    """Shards with a batch at a provider, those included that we gave up on and still look at."""
    given_up = and_(shards.c.state == ShardState.FAILED, shards.c.look_at.is_not(None))
    return or_(shards.c.state == ShardState.SUBMITTED, given_up)


def superseded(condition: ColumnElement[bool]) -> Select[tuple[str, str]]:
    """Batches, each with its shard's id, that a shard had and does not have any more.

    A shard that was given up has none. What was refused as a whole never ran, and is left out.
    """
    return (
        select(batches.c.batch_id, batches.c.shard_id)
        .join_from(batches, shards, batches.c.shard_id == shards.c.shard_id)
        .where(
            condition,
            batches.c.status != RemoteStatus.FAILED,
            or_(
                shards.c.batch_id.is_(None),
                shards.c.batch_id != batches.c.batch_id,
                shards.c.state == ShardState.CANCELLED,
            ),
        )
        .order_by(batches.c.created_at, batches.c.batch_id)
    )


def still_beside(account: str) -> Select[tuple[str, str]]:
    """Those of an account that had not ended when we last looked."""
    running = batches.c.status.not_in(list(TERMINAL))
    return superseded(and_(batches.c.account == account, running))


def summaries(connection: Connection, job: str) -> list[PartitionSummary]:
    """Every partition of the job with its shards by state, by name, in one query."""
    inside = _by_partition_and_state(job)
    query = (
        select(partitions, inside.c.state, inside.c.shards, inside.c.lines)
        .add_columns(
            inside.c.next_due, inside.c.next_look, inside.c.window_ends, inside.c.results_until
        )
        .add_columns(inside.c.ended_at, inside.c.looks)
        .outerjoin(inside, partitions.c.partition == inside.c.partition)
        .where(partitions.c.job == job)
        .order_by(partitions.c.partition)
    )
    rows = connection.execute(query).mappings()
    return [_summary(list(of_one)) for _, of_one in groupby(rows, key=lambda row: row["partition"])]


def _by_partition_and_state(job: str) -> Subquery:
    waiting = case(
        (shards.c.state == ShardState.SUBMITTING, shards.c.lease_until),
        (
            shards.c.state.in_(READY),
            func.coalesce(shards.c.not_before, shards.c.created_at),
        ),
    )
    look = case(
        (
            shards.c.state == ShardState.ENDED,
            func.coalesce(shards.c.not_before, shards.c.created_at),
        )
    )
    window = case((shards.c.state == ShardState.SUBMITTED, batches.c.expires_at))
    waits = or_(shards.c.state == ShardState.ENDED, shards.c.missed == Missed.ANSWERS)
    until, ended = case((waits, batches.c.results_until)), case((waits, batches.c.ended_at))
    return (
        select(
            shard_partitions.c.partition,
            shards.c.state,
            func.count().label("shards"),
            func.sum(shard_partitions.c.requests).label("lines"),
            func.min(waiting).label("next_due"),
            func.min(look).label("next_look"),
            func.min(window).label("window_ends"),
            func.min(until).label("results_until"),
            func.min(ended).label("ended_at"),
            func.sum(shards.c.looks).label("looks"),
        )
        .join_from(shard_partitions, shards, shard_partitions.c.shard_id == shards.c.shard_id)
        .outerjoin(batches, _current)
        .where(shard_partitions.c.job == job)
        .group_by(shard_partitions.c.partition, shards.c.state)
        .subquery()
    )


def _summary(rows: Sequence[RowMapping]) -> PartitionSummary:
    known = [row for row in rows if row["state"] is not None]  # None: no shards yet
    dues = [row["next_due"] for row in known if row["next_due"] is not None]
    windows = [row["window_ends"] for row in known if row["window_ends"] is not None]
    return PartitionSummary(
        counts=partition_counts(rows[0]),
        shards={row["state"]: row["shards"] for row in known},
        requests={row["state"]: int(row["lines"]) for row in known},  # Postgres sums to numeric
        next_due=min(dues, default=None),
        next_look=min((t for row in known if (t := row["next_look"])), default=None),
        expires_at=min(windows, default=None),
        results_until=min((t for row in known if (t := row["results_until"])), default=None),
        ended_at=min((t for row in known if (t := row["ended_at"])), default=None),
        looks=sum(int(row["looks"] or 0) for row in known),
    )
