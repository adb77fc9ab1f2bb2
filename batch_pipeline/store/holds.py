"""What the ledger knows of holds: why a job, or a partition of it, is not sent by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, and_, delete, desc, or_, select, update

from batch_pipeline.model import Hold, HoldKind, ShardState
from batch_pipeline.store import moves
from batch_pipeline.store.database import Database
from batch_pipeline.store.queries import chunks
from batch_pipeline.store.tables import batches, holds, shards
from batch_pipeline.store.tables import partitions as places

_RECENT = 20


class Holds:
    """A part of the ledger, in the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, job: str, wanted: Iterable[Hold]) -> None:
        """Hold partitions of the job; what stands already gets the newer reason and end."""
        with self._database.writing() as connection:
            _put(connection, job, list(wanted))

    def admitted(
        self,
        job: str,
        deferred: Mapping[str, int],
        wanted: Collection[Hold],
        *,
        kinds: Collection[HoldKind],
        now: datetime,
    ) -> None:
        """What the gates said of these partitions: how many of their rows go later, and who holds.

        The holds of these *kinds* that are not *wanted* any more are lifted. One transaction.
        """
        kept = {(hold.partition, hold.kind) for hold in wanted}
        with self._database.writing() as connection:
            moves.touch_partitions(connection, [(job, name) for name in deferred], now=now)
            for number in sorted(set(deferred.values())):
                for some in chunks([name for name, count in deferred.items() if count == number]):
                    these = and_(places.c.job == job, places.c.partition.in_(some))
                    connection.execute(update(places).where(these).values(deferred=number))
            for kind in kinds:
                _lift(connection, job, kind, [n for n in deferred if (n, kind) not in kept])
            _put(connection, job, wanted)

    def standing(self, job: str, *, now: datetime | None = None) -> list[Hold]:
        """The holds of the job and of its partitions, in order; with *now*, none that ended."""
        query = select(holds).where(holds.c.job == job)
        if now is not None:
            query = query.where(or_(holds.c.until.is_(None), holds.c.until > now))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(holds.c.partition, holds.c.kind)).mappings()
            return [Hold(**row) for row in rows]

    def lift(
        self, job: str, kinds: Collection[HoldKind], *, partitions: Collection[str] | None = None
    ) -> list[Hold]:
        """Take away those of the kinds, of these partitions and the whole job; which they were."""
        lifted = [
            hold
            for hold in self.standing(job)
            if hold.kind in kinds and (partitions is None or hold.partition in {"", *partitions})
        ]
        with self._database.writing() as connection:
            for kind in {hold.kind for hold in lifted}:
                _lift(connection, job, kind, [one.partition for one in lifted if one.kind is kind])
        return lifted

    def recent(self, job: str) -> list[tuple[str | None, int]]:
        """How the last collected batches of the job failed, and their attempts; newest first."""
        query = (
            select(batches.c.failed_as, shards.c.attempt)
            .join(shards, batches.c.shard_id == shards.c.shard_id)
            .where(shards.c.job == job, shards.c.state == ShardState.COLLECTED)
            .where(batches.c.collected_at.is_not(None))
            .order_by(desc(batches.c.collected_at), desc(shards.c.attempt), shards.c.shard_id)
            .limit(_RECENT)
        )
        with self._database.reading() as connection:
            return [(row.failed_as, row.attempt) for row in connection.execute(query)]


def _put(connection: Connection, job: str, wanted: Collection[Hold]) -> None:
    if not wanted:
        return
    named = {(job, hold.partition) for hold in wanted if hold.partition}
    moves.touch_partitions(connection, named, now=max(hold.since for hold in wanted))
    moves.insert_absent(connection, holds, [asdict(hold) for hold in wanted])
    same: dict[tuple[HoldKind, str, datetime | None], list[str]] = {}
    for hold in wanted:
        same.setdefault((hold.kind, hold.reason, hold.until), []).append(hold.partition)
    for (kind, reason, until), names in same.items():
        for some in chunks(names):
            these = and_(holds.c.job == job, holds.c.kind == kind, holds.c.partition.in_(some))
            connection.execute(update(holds).where(these).values(reason=reason, until=until))


def _lift(connection: Connection, job: str, kind: HoldKind, names: Collection[str]) -> None:
    for some in chunks(names):
        these = and_(holds.c.job == job, holds.c.kind == kind, holds.c.partition.in_(some))
        connection.execute(delete(holds).where(these))
