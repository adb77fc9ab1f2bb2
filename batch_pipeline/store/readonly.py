"""A SQLite ledger in a place that we may only read: a mounted backup, somebody else's store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Engine, NullPool, create_engine

from batch_pipeline.errors import StoreError
from batch_pipeline.whole_files import may_write


def is_all_we_may(address: URL) -> bool:
    """True for a SQLite file that is there, and that we may not write to."""
    if address.get_backend_name() != "sqlite":
        return False
    file = _file(address)
    return file.exists() and not (may_write(file) and may_write(file.parent))


def engine(address: URL, name: str) -> Engine:
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
