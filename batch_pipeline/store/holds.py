"""What the ledger knows of holds: why a job, or a partition of it, is not sent by itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import and_, delete, desc, select, update

from batch_pipeline.model import Hold, HoldKind, ShardState
from batch_pipeline.store import moves
from batch_pipeline.store.database import Database
from batch_pipeline.store.tables import batches, holds, shards

_RECENT = 20


class Holds:
    """A part of the ledger, in the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self, job: str, partitions: Collection[str], kind: HoldKind, *, reason: str, now: datetime
    ) -> None:
        """Hold the partitions ("" is all of the job); one that stands gets the newer reason."""
        with self._database.writing() as connection:
            for partition in partitions:
                row = asdict(Hold(job, partition, kind, reason, now))
                key = and_(holds.c.job == job, holds.c.partition == partition, holds.c.kind == kind)
                moves.insert_absent(connection, holds, [row])
                connection.execute(update(holds).where(key).values(reason=reason))

    def standing(self, job: str) -> list[Hold]:
        """The holds of the job and of its partitions, in order."""
        query = select(holds).where(holds.c.job == job)
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
            for hold in lifted:
                this = and_(holds.c.partition == hold.partition, holds.c.kind == hold.kind)
                connection.execute(delete(holds).where(holds.c.job == job, this))
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
