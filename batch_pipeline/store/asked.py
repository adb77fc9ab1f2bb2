"""What runs were asked to send, by partition: written before anything is built, gone when planned.

What was asked for is in the ledger while nothing else of it may be, so it survives its run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict

from sqlalchemy import Connection, and_, bindparam, delete, insert, select, update

from batch_pipeline.model import Ask
from batch_pipeline.store.database import Database
from batch_pipeline.store.queries import chunks
from batch_pipeline.store.tables import asked

_KEY = ("job", "partition", "run_id")
_OLDER = [asked.c[name] == bindparam(f"of_{name}") for name in _KEY]
_THIS = [*_OLDER, asked.c.asked_at == bindparam("of_asked_at")]


class Asked:
    """A part of the ledger, in the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, asks: Iterable[Ask]) -> None:
        """Write what a run is asked to send, over what the same run was asked before."""
        rows = [asdict(one) for one in asks]
        with self._database.writing() as connection:
            if rows:
                connection.execute(delete(asked).where(*_OLDER), [_named(row) for row in rows])
                connection.execute(insert(asked), rows)

    def standing(self, job: str, partitions: Collection[str] | None = None) -> list[Ask]:
        """What was asked of the job, or of these partitions, and is not planned; oldest first."""
        query = select(asked).where(asked.c.job == job)
        with self._database.reading() as connection:
            found = [
                Ask(**row)
                for some in (chunks(partitions) if partitions is not None else [None])
                for row in connection.execute(
                    query if some is None else query.where(asked.c.partition.in_(some))
                ).mappings()
            ]
        return sorted(found, key=lambda one: (one.asked_at, one.partition, one.run_id))

    def forget(self, asks: Collection[Ask]) -> None:
        """Nothing is left to do for these; what a run was asked for since then stays."""
        if asks:
            with self._database.writing() as connection:
                forget(connection, asks)

    def built(self, asks: Collection[Ask], problems: Mapping[str, str]) -> None:
        """Their request tables are new, or their data is no data: *problems* by partition.

        A problem is kept once for a partition, and gone when its data could be read.
        """
        broken = [one for one in asks if one.partition in problems]
        newest = {one.partition: one for one in broken}  # they come oldest first
        good = [one for one in asks if one.partition not in problems]
        over = [one for one in broken if one is not newest[one.partition]]
        with self._database.writing() as connection:
            forget(connection, [*over, *(one for one in good if one.problem is not None)])
            _set(connection, good, "to_build", dict.fromkeys((g.partition for g in good), False))
            _set(connection, newest.values(), "problem", problems)

    def let_go(self, job: str, *, owner: str) -> None:
        """The owner has come to an end, well or not: what it leaves is anybody's."""
        these = and_(asked.c.job == job, asked.c.owner == owner)
        with self._database.writing() as connection:
            connection.execute(update(asked).where(these).values(owner=None, busy_until=None))


def forget(connection: Connection, asks: Collection[Ask]) -> None:
    """In the transaction that plans what was asked for."""
    if asks:
        connection.execute(delete(asked).where(*_THIS), [_named(asdict(one)) for one in asks])


def _set(
    connection: Connection, asks: Collection[Ask], column: str, values: Mapping[str, object]
) -> None:
    rows = [{**_named(asdict(one)), "new": values[one.partition]} for one in asks]
    if rows:
        changed = update(asked).where(*_THIS).values({column: bindparam("new")})
        connection.execute(changed, rows)


def _named(row: Mapping[str, object]) -> dict[str, object]:
    return {f"of_{name}": row[name] for name in (*_KEY, "asked_at")}
