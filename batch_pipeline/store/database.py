"""Opening the ledger's database: its address, its tables, its transactions, its errors."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    func,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from batch_pipeline.errors import StoreError
from batch_pipeline.store.tables import SCHEMA_VERSION, UPGRADES, UtcTime, meta, metadata
from batch_pipeline.whole_files import folder_made, may_write, private_file

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_SECONDS = 30
"""How long a SQLite writer waits for another one; every transaction of ours is far shorter."""
_WAL_TRIES = 100
_WAL_PAUSE = 0.02
_ADVISORY_KEY = 0x626174636870  # "batchp": any constant that every process of ours shares
_POSTGRES_DRIVERS = ("psycopg", "psycopg2", "pg8000")


class Database:
    """A ledger database: `reading()` and `writing()` are its only two kinds of transaction."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        # Two selects of one look must agree; in SQLite every transaction sees one state anyway.
        postgres = engine.dialect.name == "postgresql"
        isolation = {"isolation_level": "REPEATABLE READ"} if postgres else {}
        self._reader = engine.execution_options(**isolation)
        self._writer = engine.execution_options(writes=True)
        self.name = name  # the address without password, for messages

    @classmethod
    def open(cls, url: str, *, reading: bool = False) -> Database:
        """Connect, create the tables if there are none; StoreError if it cannot be used.

        With *reading*, a SQLite file that we may not write to is opened to be read alone.
        """
        address = _address(url)
        name = address.set(query={}).render_as_string(hide_password=True)
        if reading and _only_readable(address):
            return cls._read_only(address, name)
        database = cls(_engine(address, name), name)
        try:
            database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def _read_only(cls, address: URL, name: str) -> Database:
        database = cls(_reading_engine(address, name), name)
        try:
            with database.reading() as connection:
                found = connection.scalar(select(func.max(meta.c.schema_version)))
        except BaseException:
            database.close()
            raise
        if found in UPGRADES:
            raise StoreError(
                f"The ledger {name} has schema version {found} and can only be read here. Run "
                "`batch-pipeline status` once where it can be written: that brings it up to date."
            )
        if found != SCHEMA_VERSION:
            raise StoreError(database._wrong_version(found))
        return database

    def close(self) -> None:
        """Return every connection."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent look; StoreError when the database fails."""
        with self._errors_named(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that may write; it waits for other writers, then sees what they did."""
        with self._errors_named(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:  # its own text repeats SQL and values; the cause is enough
            raise StoreError(
                f"The ledger {self.name} cannot be read or written: {error.orig}. Check that it "
                "exists, is writable and reachable, or set BATCH_PIPELINE_LEDGER_URL to another."
            ) from error

    def _prepare(self) -> None:
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":  # two first openings must not both create
                connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_KEY)))
            metadata.create_all(connection, tables=[meta])
            found = connection.scalar(select(func.max(meta.c.schema_version)))
            if found is None:
                metadata.create_all(connection)
                connection.execute(insert(meta).values(schema_version=SCHEMA_VERSION))
            elif found in UPGRADES:
                _upgrade(connection, found)
            elif found != SCHEMA_VERSION:
                raise StoreError(self._wrong_version(found))

    def _wrong_version(self, found: int) -> str:
        remedy = (
            "Upgrade batch_pipeline to the version that wrote it"
            if found > SCHEMA_VERSION
            else "Finish its batches with the version that wrote it"
        )
        return (
            f"The ledger {self.name} has schema version {found}, this batch_pipeline reads "
            f"{SCHEMA_VERSION}. {remedy}, or set BATCH_PIPELINE_LEDGER_URL to a new ledger."
        )


def _upgrade(connection: Connection, found: int) -> None:
    """Bring an older ledger to our version, in the transaction that looked at it."""
    kind = UtcTime().dialect_impl(connection.dialect).compile(connection.dialect)
    for version in range(found, SCHEMA_VERSION):
        for statement in UPGRADES[version]:
            connection.execute(text(statement.format(time=kind)))
    metadata.create_all(connection)
    connection.execute(update(meta).values(schema_version=SCHEMA_VERSION))


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as error:  # its text repeats the URL, and the URL may hold a password
        raise StoreError(
            "The ledger's URL cannot be read. Write BATCH_PIPELINE_LEDGER_URL as "
            "sqlite:////folder/ledger.db or postgresql://user:password@host/database."
        ) from error
    family, _, driver = address.drivername.partition("+")
    if family == "sqlite":
        return _sqlite_address(address)
    if family not in {"postgresql", "postgres"}:
        raise StoreError(
            f"The ledger cannot live in {family!r}: it runs on sqlite or postgresql. "
            "Set BATCH_PIPELINE_LEDGER_URL to a URL that begins with one of them."
        )
    return address.set(drivername=f"postgresql+{driver or _postgres_driver()}")


def _sqlite_address(address: URL) -> URL:
    if address.database in {None, "", ":memory:"}:
        raise StoreError(
            "The ledger cannot live in memory: it must outlive the process that sends a batch. "
            "Name a file, for example sqlite:///data/store/ledger.db."
        )
    return address


def _postgres_driver() -> str:
    for driver in _POSTGRES_DRIVERS:
        if find_spec(driver) is not None:
            return driver
    raise StoreError(
        "The ledger's URL asks for Postgres, but no driver is installed "
        f"({', '.join(_POSTGRES_DRIVERS)}). Run: pip install 'psycopg[binary]'."
    )


def _engine(address: URL, name: str) -> Engine:
    try:
        if address.get_backend_name() != "sqlite":
            return create_engine(address, pool_pre_ping=True)
        file = Path(str(address.database)).absolute()
        folder_made(file.parent)
        private_file(file)  # SQLite gives -wal and -shm the mode of the file
        engine = create_engine(address, connect_args={"timeout": BUSY_SECONDS})
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            f"The ledger {name} needs a database driver that is not installed: {error}. "
            "Install it, or write the URL without +driver to use one that is."
        ) from error
    except OSError as error:
        raise StoreError(
            f"The ledger's folder cannot be made: {error}. Make it writable, or set "
            "BATCH_PIPELINE_STORE or BATCH_PIPELINE_LEDGER_URL to another place."
        ) from error
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")  # an intent must survive a power cut
    _enter_wal(cursor)
    cursor.close()


def _enter_wal(cursor: DBAPICursor) -> None:
    """Readers and the writer do not wait for each other; the mode stays with the file.

    Two first openings at once collide without regard to the busy timeout, so ask again.
    """
    for _ in range(_WAL_TRIES):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(_WAL_PAUSE)
        else:
            return
    cursor.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads, then writes, fails at once when another wrote in between;
    # an immediate one queues before it reads.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _only_readable(address: URL) -> bool:
    """True for a SQLite file that is there, and that we may not write to."""
    if address.get_backend_name() != "sqlite":
        return False
    file = _file(address)
    return file.exists() and not (may_write(file) and may_write(file.parent))


def _reading_engine(address: URL, name: str) -> Engine:
    """Connections that only read; StoreError when SQLite cannot read without writing.

    Without a write-ahead log the file is all there is, and needs no lock; with one, SQLite also
    needs its index, which it cannot make here.
    """
    file = _file(address)
    log = file.with_name(f"{file.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    if has_log and not file.with_name(f"{file.name}-shm").exists():
        raise StoreError(
            f"The ledger {name} can only be read here, and {log.name} beside it holds changes that "
            "SQLite has to write into it first. Run `batch-pipeline status` once where it can be "
            "written, or copy ledger.db and its -wal file to a folder of your own."
        )
    uri = f"file:{quote(str(file))}?mode=ro{'' if has_log else '&immutable=1'}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True)

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def _file(address: URL) -> Path:
    return Path(str(address.database)).absolute()
