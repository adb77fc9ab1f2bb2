"""What the ledger knows of canaries: which are out, what was decided, and who waits for them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import and_, func, select, update

from batch_pipeline.model import IN_FLIGHT, CanaryRecord, ShardState
from batch_pipeline.store import moves
from batch_pipeline.store.database import Database
from batch_pipeline.store.tables import canaries, shards


class Canaries:
    """A part of the ledger, in the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def decided(self, job: str, version: str) -> CanaryRecord | None:
        """What was decided about the canary of a request content; None while nothing was."""
        this = and_(canaries.c.job == job, canaries.c.version == version)
        with self._database.reading() as connection:
            row = connection.execute(select(canaries).where(this)).mappings().one_or_none()
        return None if row is None else CanaryRecord(**row)

    def judge(self, record: CanaryRecord, *, now: datetime) -> None:
        """Write a decision about a canary over an earlier one."""
        row = {**asdict(record), "decided_at": now}
        key = and_(canaries.c.job == record.job, canaries.c.version == record.version)
        with self._database.writing() as connection:
            moves.insert_absent(connection, canaries, [row])
            connection.execute(update(canaries).where(key).values(row))

    def out(self, job: str) -> dict[ShardState, int]:
        """Canary shards of the job that hold their rows, by state."""
        these = and_(
            shards.c.job == job, shards.c.canary.is_not(None), shards.c.state.in_(list(IN_FLIGHT))
        )
        query = select(shards.c.state, func.count().label("number")).where(these)
        with self._database.reading() as connection:
            rows = connection.execute(query.group_by(shards.c.state)).all()
        return {row.state: row.number for row in rows}
