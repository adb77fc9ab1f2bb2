"""The ledger's part on result files that came only in part: since when, and what became of it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, select

from batch_pipeline.model import Shard
from batch_pipeline.store import moves
from batch_pipeline.store.database import Database
from batch_pipeline.store.tables import cuts


class Cuts:
    """Like the ledger's own methods: one short transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, shard: Shard) -> datetime | None:
        """When a file of the shard's batch first came in part; None when none did."""
        this = and_(cuts.c.shard_id == shard.shard_id, cuts.c.batch_id == shard.batch_id)
        with self._database.reading() as connection:
            found: datetime | None = connection.scalar(select(cuts.c.since).where(this))
            return found

    def seen(self, shard: Shard, *, next_look: datetime, message: str, now: datetime) -> bool:
        """Files of an ended shard are not whole, and are fetched again at *next_look*."""
        ids, how = [shard.shard_id], moves.CUT
        with self._database.writing() as connection:
            _note(connection, shard, now)
            moved = moves.move(connection, ids, how, now=now, not_before=next_look, message=message)
            return moved == 1

    def read(
        self, shard: Shard, *, succeeded: int, failed: int, left: str | None, now: datetime
    ) -> bool:
        """Outcomes were made, or made anew; with *left*, of a part: it says what may be done."""
        ids, how = [shard.shard_id], moves.READ
        with self._database.writing() as connection:
            if left is not None:
                _note(connection, shard, now)
            if not moves.move(connection, ids, how, now=now, message=left):
                return False
            came_to = (succeeded, failed, None)
            moves.count_collection(connection, ids[0], came_to=came_to, now=now)
            return True


def _note(connection: Connection, shard: Shard, now: datetime) -> None:
    """Since when; the first time counts."""
    row = {"shard_id": shard.shard_id, "batch_id": shard.batch_id, "since": now}
    moves.insert_absent(connection, cuts, [row])
