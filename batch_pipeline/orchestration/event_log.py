"""Dagster's event log in SQLite, kept open while a run writes many events to it.

For each event Dagster makes two or three SQLAlchemy engines, opens the files and closes them again:
every statement is compiled anew, and every last close writes SQLite's log back and deletes it. That
is three quarters of an event's time. No storage of Dagster's own writes several events at once
(`store_event_batch` is a loop), so what an event is and how it is stored stays Dagster's; only the
connections that it asks its storage for are kept, and what it asks each time of the tables.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from threading import RLock

import dagster as dg
from sqlalchemy import Connection, Engine, create_engine

_Connect = Callable[[str], AbstractContextManager[Connection]]
_BUSY_SECONDS = 60


@contextmanager
def kept_open(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Iterator[None]:
    """Keep the files open that the run's events go to; other storages are left alone."""
    try:
        from dagster._core.storage.event_log.sqlite.sqlite_event_log import (  # noqa: PLC0415 - brings alembic, and only a run writes events
            INDEX_SHARD_NAME,
            SqliteEventLogStorage,
        )
    except ImportError:  # a later Dagster keeps it elsewhere: then its events take their time
        yield
        return
    storage = context.instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    with ExitStack() as stack:
        engines = {}
        for file in (INDEX_SHARD_NAME, context.run.run_id):
            with storage.run_connection(file):  # Dagster makes the file, if it is not there
                address = storage.conn_string_for_shard(file)
            engines[file] = create_engine(address, connect_args={"timeout": _BUSY_SECONDS})
            stack.callback(engines[file].dispose)
        connect = _connecting(engines, otherwise=storage.run_connection)
        own = {
            "run_connection": connect,
            "index_connection": lambda: connect(INDEX_SHARD_NAME),
            "has_table": cache(storage.has_table),
        }
        vars(storage).update(own)
        stack.callback(lambda: [vars(storage).pop(name, None) for name in own])
        yield


def _connecting(engines: dict[str, Engine], *, otherwise: _Connect) -> _Connect:
    """Connections to these files as the storage gives them: one at a time, in a transaction."""
    alone = RLock()

    @contextmanager
    def connect(file: str) -> Iterator[Connection]:
        if file not in engines:
            with otherwise(file) as connection:
                yield connection
            return
        with alone, engines[file].begin() as connection:
            yield connection

    return connect
