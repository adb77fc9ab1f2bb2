"""What the ledger keeps of batches that are missed, doubted, or run beside their shard's own."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update

from batch_pipeline.model import AT_PROVIDER, Missed, Shard
from batch_pipeline.settings import CLOCK_JUMP
from batch_pipeline.store import moves, queries
from batch_pipeline.store.database import Database
from batch_pipeline.store.moves import Move
from batch_pipeline.store.rows import BatchRecord
from batch_pipeline.store.tables import accounts, batches, locks, shards


class Absences:
    """One short transaction per method, as in Ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pace(self, name: str, *, now: datetime, every: float) -> bool:
        """True once in so many seconds, for whoever asks first; nobody gives it back."""
        until = now + timedelta(seconds=every)
        row = {"name": name, "owner": "nobody's", "expires_at": until}
        over = or_(locks.c.expires_at <= now, locks.c.expires_at > until + CLOCK_JUMP)
        with self._database.writing() as connection:
            if connection.scalar(select(locks.c.name).where(locks.c.name == name)) is None:
                connection.execute(insert(locks).values(row))
                return True
            taken = update(locks).where(locks.c.name == name, over).values(row)
            return connection.execute(taken).rowcount == 1

    def to_look_at(self, job: str, *, since: datetime) -> list[str]:
        """Providers that have, or may have, something of the job's: see to_poll and doubted."""
        wary = shards.c.doubted_at > since
        mine = and_(shards.c.job == job, or_(queries.is_open(), wary))
        query = select(shards.c.provider).where(mine).distinct().order_by(shards.c.provider)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def doubted(self, provider: str, *, since: datetime) -> list[Shard]:
        """Shards, of any job and state, that were last in doubt after *since*."""
        mine = and_(shards.c.provider == provider, shards.c.doubted_at > since)
        with self._database.reading() as connection:
            return queries.load_shards(connection, mine)

    def noted(self, job: str) -> list[Shard]:
        """Shards at a provider that have a word to say: what they wait for is not as it should."""
        mine = and_(shards.c.job == job, shards.c.message.is_not(None))
        with self._database.reading() as connection:
            return queries.load_shards(connection, mine, states=AT_PROVIDER)

    def intended(self, intents: Collection[str]) -> dict[str, Shard]:
        """The shards, of any state, that were sent with one of these intents, by it."""
        with self._database.reading() as connection:
            return {
                str(shard.intent): shard
                for some in queries.chunks(intents)
                for shard in queries.load_shards(connection, shards.c.intent.in_(some))
            }

    def owners(self, account: str, batch_ids: Collection[str]) -> dict[str, Shard]:
        """The shards whose history has these batches, by batch."""
        with self._database.reading() as connection:
            query = select(batches.c.batch_id, batches.c.shard_id).where(
                batches.c.account == account
            )
            ids = {
                row.batch_id: row.shard_id
                for some in queries.chunks(batch_ids)
                for row in connection.execute(query.where(batches.c.batch_id.in_(some)))
            }
            found = queries.load_shards_by_id(connection, set(ids.values()))
            by_id = {shard.shard_id: shard for shard in found}
            return {batch_id: by_id[shard_id] for batch_id, shard_id in ids.items()}

    def known(self, account: str, batch_ids: Collection[str]) -> set[str]:
        """Those of the account's batches that some shard has or had."""
        mine = batches.c.account == account
        with self._database.reading() as connection:
            return {
                batch_id
                for some in queries.chunks(batch_ids)
                for batch_id in connection.scalars(
                    select(batches.c.batch_id).where(mine, batches.c.batch_id.in_(some))
                )
            }

    def beside(self, account: str) -> set[str]:
        """Batches of the account that run beside, or after, the one their shard goes by."""
        with self._database.reading() as connection:
            return set(connection.scalars(queries.still_beside(account)))

    def superseded(self, job: str) -> list[BatchRecord]:
        """Every batch of the job that ran, or may have, and whose answers are in no result."""
        with self._database.reading() as connection:
            found = connection.execute(queries.superseded(shards.c.job == job)).all()
            return [
                record
                for shard_id in dict.fromkeys(row.shard_id for row in found)
                for record in queries.history(connection, shard_id)
                if record.observation.batch_id in {row.batch_id for row in found}
            ]

    def missed(  # noqa: PLR0913 - what is missed, since when, and what comes of it
        self,
        shard_id: str,
        *,
        what: Missed,
        since: datetime,
        looks: int,
        look_at: datetime | None,
        message: str,
        now: datetime,
        batch_id: str | None,
        believed: bool,
    ) -> bool:
        """A batch, its answers or its end was missed: wait for another look, or for a person.

        *believed* fails the shard; it is polled on all the same while there is a *look_at*.
        """
        how = moves.MISSED
        if what is Missed.ANSWERS:
            how = moves.CUT
        if believed:
            how = moves.GONE
        facts: dict[str, object] = {
            "missed": what,
            "missed_since": since,
            "looks": looks,
            "look_at": look_at,
        }
        values = {**facts, "message": message}
        if what is Missed.ANSWERS:
            values["not_before"] = look_at
        return self._move(shard_id, how, now=now, batch=batch_id, **values)

    def found(self, shard_id: str, *, now: datetime, batch_id: str | None, whole: bool) -> bool:
        """What was missed is there: the shard goes on. Not *whole*: we go and look for its file."""
        how = moves.FOUND if whole else moves.RESUMED
        return self._move(shard_id, how, now=now, batch=batch_id)

    def look_now(self, job: str, names: Collection[str], *, now: datetime) -> None:
        """Shards of these partitions that we gave up on are looked at with the next poll."""
        with self._database.writing() as connection:
            ids = queries.ids_in_partitions(connection, job, names)
            for some in queries.chunks(ids):
                these = and_(shards.c.shard_id.in_(some), shards.c.look_at.is_not(None))
                connection.execute(update(shards).where(these).values(look_at=now))

    def note(
        self, shard_id: str, *, message: str | None, now: datetime, batch_id: str | None
    ) -> bool:
        """Say in `status` what is the matter with a batch that is waited for."""
        return self._move(shard_id, moves.MISSED, now=now, batch=batch_id, message=message)

    def tell_skew(self, account: str, skew: float | None) -> None:
        """How many seconds our clock was ahead of the provider's when we last heard of it."""
        with self._database.writing() as connection:
            this = accounts.c.account == account
            connection.execute(update(accounts).where(this).values(skew_seconds=skew))

    def skews(self) -> dict[str, float]:
        """That of each provider's account that was farthest off, by provider."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(accounts.c.provider, accounts.c.skew_seconds)
                .where(accounts.c.skew_seconds.is_not(None))
                .order_by(func.abs(accounts.c.skew_seconds))
            )
            return {row.provider: row.skew_seconds for row in rows}

    def _move(self, shard_id: str, how: Move, *, now: datetime, **values: Any) -> bool:  # noqa: ANN401 - columns, and move's own conditions
        with self._database.writing() as connection:
            return moves.move(connection, [shard_id], how, now=now, **values) == 1
