"""The ledger: the durable record of shards and batches, one short transaction per method.

A method that moves a shard returns whether it did: False means that somebody else moved it first,
and nothing was changed. Times come in as *now*, aware; a database that fails is a StoreError.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import Connection, and_, delete, select, update

from batch_pipeline.errors import UsageError
from batch_pipeline.model import (
    Ask,
    Observation,
    PartitionCounts,
    PartitionSummary,
    Shard,
    ShardState,
)
from batch_pipeline.store import moves, queries
from batch_pipeline.store.absences import Absences
from batch_pipeline.store.asked import Asked, forget
from batch_pipeline.store.canaries import Canaries
from batch_pipeline.store.database import Database
from batch_pipeline.store.holds import Holds
from batch_pipeline.store.moves import Move
from batch_pipeline.store.partial_files import Cuts
from batch_pipeline.store.rows import BatchRecord
from batch_pipeline.store.tables import accounts, batches, locks, shards


class Ledger:
    """Use as a context manager, or close it; threads and processes may share one address."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.canaries = Canaries(database)
        self.cuts = Cuts(database)
        self.holds = Holds(database)
        self.absences = Absences(database)
        self.asked = Asked(database)

    @classmethod
    def open(cls, url: str, *, reading: bool = False) -> Self:
        """Open or create the ledger at a sqlite or postgresql URL; StoreError if it cannot be.

        With *reading* one that can only be read will do.
        """
        return cls(Database.open(url, reading=reading))

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lock(self, *names: str, owner: str, now: datetime, lease: float) -> bool:
        """Take or renew *names* for *lease* seconds; False, and none of them, while one is held."""
        try:
            with self._database.writing() as connection:
                moves.lock(connection, names, owner=owner, now=now, lease=lease)
        except moves.HeldByAnother:
            return False
        return True

    def holders(self, *names: str) -> dict[str, str]:
        """Who has each of *names*, also after the lease ran out; none of what nobody took since."""
        with self._database.reading() as connection:
            return queries.holders(connection, names)

    def unlock(self, *names: str, owner: str) -> None:
        """Give *names* back; nothing happens to those that are no longer the owner's."""
        with self._database.writing() as connection:
            for some in queries.chunks(names):
                these = and_(locks.c.name.in_(some), locks.c.owner == owner)
                connection.execute(delete(locks).where(these))

    def plan(self, planned: Iterable[Shard], *, now: datetime, asks: Collection[Ask] = ()) -> None:
        """Add planned shards; one that exists is left alone, a withdrawn one is planned again.

        That no custom_id is in two of them is the caller's care, under a lock of the job. Their
        planning is what these *asks* were for: they are forgotten in the same transaction.
        """
        with self._database.writing() as connection:
            forget(connection, asks)
            moves.plan(connection, list(planned), now=now)

    def replace(
        self,
        shard_id: str,
        with_shards: Sequence[Shard],
        *,
        message: str,
        now: datetime,
        owner: str | None = None,
    ) -> bool:
        """Cancel a shard that is too large and plan its pieces in the same transaction."""
        with self._database.writing() as connection:
            values = {"owner": owner, "message": message}
            moved = moves.move(connection, [shard_id], moves.REPLACED, now=now, **values)
            if moved:
                moves.plan(connection, with_shards, now=now)
            return moved == 1

    def withdraw(self, shard_ids: Collection[str], *, now: datetime, failed: bool = False) -> int:
        """Cancel those still planned (or failed, if asked), which frees their rows; how many."""
        how = moves.GIVEN_UP if failed else moves.WITHDRAWN
        with self._database.writing() as connection:
            return moves.move(connection, shard_ids, how, now=now)

    def release(self, *shard_ids: str, now: datetime) -> int:
        """Plan failed shards anew, on a person's word; returns how many were failed."""
        with self._database.writing() as connection:
            return moves.move(connection, shard_ids, moves.RELEASED, now=now, tries=0)

    def claim(
        self, shard_id: str, *, owner: str, intent: str, now: datetime, lease: float
    ) -> Shard | None:
        """Make the shard *owner*'s to send for *lease* seconds; None if it is not to be had.

        A planned shard takes *intent*. One whose sender vanished or that is in doubt keeps its
        earlier intent: a returned intent that is not yours says "ask the provider first".
        """
        with self._database.writing() as connection:
            return moves.claim(
                connection, shard_id, owner=owner, intent=intent, now=now, lease=lease
            )

    def renew(self, shard_id: str, *, owner: str, now: datetime, lease: float) -> bool:
        """Prolong a claim just before the call that costs; False: it was lost, do not call."""
        until = now + timedelta(seconds=lease)
        return self._move(shard_id, moves.HELD, now=now, owner=owner, lease_until=until)

    def expire(self, shard_id: str, *, owner: str, now: datetime) -> bool:
        """End the claim of an owner that is known to be dead, so that it can be taken over."""
        return self._move(shard_id, moves.HELD, now=now, owner=owner, lease_until=now)

    def submitted(
        self,
        shard_id: str,
        *,
        observation: Observation,
        account: str,
        run_id: str | None,
        now: datetime,
        simulated: bool = False,
    ) -> bool:
        """Record the batch that exists; True if it is (or already was) the shard's own.

        False: the shard went on with another batch or was withdrawn, and this one is a duplicate
        that may be cancelled. It is kept in the shard's history either way.
        """
        own = {"account": account, "batch_id": observation.batch_id, "run_id": run_id}
        with self._database.writing() as connection:
            shard = self._one(connection, shard_id)
            moves.record_batch(
                connection, shard, observation, account=account, run_id=run_id, now=now
            )
            moved = moves.move(
                connection,
                [shard_id],
                moves.SUBMITTED,
                now=now,
                submitted_at=now,
                simulated=simulated,
                **own,
            )
            return moved == 1 or (shard.account, shard.batch_id) == (account, observation.batch_id)

    def requeue(
        self,
        shard_id: str,
        *,
        message: str,
        not_before: datetime | None,
        now: datetime,
        count_try: bool,
        owner: str | None = None,
        batch_id: str | None = None,
    ) -> bool:
        """Plan the shard again: the provider was asked and has no batch, or refused it for now.

        With *batch_id* only while that is still its batch.
        """
        return self._move(
            shard_id,
            moves.REQUEUED,
            now=now,
            owner=owner,
            batch=batch_id,
            message=message,
            not_before=not_before,
            tries=shards.c.tries + int(count_try),
        )

    def in_doubt(
        self,
        shard_id: str,
        *,
        message: str,
        next_look: datetime,
        now: datetime,
        owner: str | None = None,
        since: datetime | None = None,
    ) -> bool:
        """The batch may exist and was not found: claimable again from *next_look*, intent kept.

        *since* is when it was left open whether there is one, if not now.
        """
        values = {"message": message, "not_before": next_look, "doubted_at": since or now}
        return self._move(shard_id, moves.DOUBTED, now=now, owner=owner, **values)

    def failed(
        self,
        shard_id: str,
        *,
        message: str,
        now: datetime,
        owner: str | None = None,
        batch_id: str | None = None,
    ) -> bool:
        """Stop the shard until a person acts; *message* says what to do.

        With *batch_id* only while that is still its batch.
        """
        how = moves.FAILED
        return self._move(shard_id, how, now=now, owner=owner, batch=batch_id, message=message)

    def _move(self, shard_id: str, how: Move, *, now: datetime, **values: Any) -> bool:  # noqa: ANN401 - columns, and move's own conditions
        with self._database.writing() as connection:
            return moves.move(connection, [shard_id], how, now=now, **values) == 1

    def observe(
        self,
        account: str,
        observations: Iterable[Observation],
        *,
        now: datetime,
        ended: Collection[str] | None = None,
    ) -> list[Shard]:
        """Write what a poll of *account* said of its batches; unknown batches are passed over.

        Returns the shards whose current batch changed its status or counts, with the new ones.
        A terminal batch stays terminal whatever a later look says. The shards of the batches
        *ended* (None: of all that are terminal) are ended.
        """
        with self._database.writing() as connection:
            changed = moves.observe(connection, account, observations, ended=ended, now=now)
            this = accounts.c.account == account
            connection.execute(update(accounts).where(this).values(polled_at=now))
            return queries.load_current(connection, account, changed)

    def collected(
        self,
        shard_id: str,
        *,
        now: datetime,
        succeeded: int | None = None,
        failed: int | None = None,
        failed_as: str | None = None,
    ) -> bool:
        """An ended shard's outcomes are in the store: tell its partitions; twice is once."""
        with self._database.writing() as connection:
            if not moves.move(connection, [shard_id], moves.COLLECTED, now=now):
                return False
            moves.count_collection(
                connection, shard_id, came_to=(succeeded, failed, failed_as), now=now
            )
            return True

    def to_poll(self, provider: str) -> list[Shard]:
        """Every shard that a batch of this provider is running for, of any job and account.

        Also those whose batch, or its answers, we gave up waiting for and still look at.
        """
        with self._database.reading() as connection:
            mine = and_(shards.c.provider == provider, queries.is_open())
            return queries.load_shards(connection, mine)

    def known_batches(self, account: str) -> set[str]:
        """Every batch of the account that some shard has or had."""
        with self._database.reading() as connection:
            mine = batches.c.account == account
            return set(connection.scalars(select(batches.c.batch_id).where(mine)))

    def built(self, counts: Sequence[PartitionCounts], *, now: datetime) -> None:
        """Request tables were written; another digest than before makes the results stale."""
        with self._database.writing() as connection:
            moves.built(connection, counts, now=now)

    def landed(self, seen: Sequence[PartitionCounts], *, now: datetime) -> None:
        """What results of partitions came to; the rest of their counts is as it was when looked at.

        Nothing is written of one whose request table is no longer the one that was seen.
        """
        with self._database.writing() as connection:
            moves.landed(connection, seen, now=now)

    def partition(self, job: str, partition: str) -> PartitionCounts:
        """The counts of a partition; the noun's defaults before its first request table."""
        found = self.partitions(job, [partition])
        return found[0] if found else PartitionCounts(job, partition)

    def partitions(self, job: str, names: Collection[str] | None = None) -> list[PartitionCounts]:
        """The counts of the known partitions of the job, or of those of *names*, by name."""
        with self._database.reading() as connection:
            return queries.counts(connection, job, names)

    def summary(self, job: str) -> list[PartitionSummary]:
        """Every partition of the job with its shards by state, by name; one query."""
        with self._database.reading() as connection:
            return queries.summaries(connection, job)

    def shards(
        self,
        job: str,
        *,
        partitions: Collection[str] | None = None,
        states: Collection[ShardState] | None = None,
    ) -> list[Shard]:
        """The job's shards as planned, those with a request of *partitions*, in *states*."""
        with self._database.reading() as connection:
            if partitions is None:
                return queries.load_shards(connection, shards.c.job == job, states=states)
            ids = queries.ids_in_partitions(connection, job, partitions)
            return queries.load_shards_by_id(connection, ids, states=states)

    def carriers(
        self, job: str, names: Collection[str], *, states: Collection[ShardState]
    ) -> dict[str, set[str]]:
        """The shards in *states* that carry requests of these partitions, oldest first; of which.

        For many partitions of large shards: `shards` tells of each shard every partition.
        """
        with self._database.reading() as connection:
            return queries.carriers(connection, job, names, states)

    def shard(self, shard_id: str) -> Shard:
        """One shard; UsageError if the ledger has none of that id."""
        with self._database.reading() as connection:
            return self._one(connection, shard_id)

    def history(self, shard_id: str) -> list[BatchRecord]:
        """Every batch the shard has had at a provider, oldest first."""
        with self._database.reading() as connection:
            return queries.history(connection, shard_id)

    def _one(self, connection: Connection, shard_id: str) -> Shard:
        found = queries.load_shards_by_id(connection, [shard_id])
        if not found:
            raise UsageError(
                f"The ledger {self._database.name} has no shard {shard_id!r}. "
                "`batch-pipeline status` lists the shards of a job."
            )
        return found[0]
