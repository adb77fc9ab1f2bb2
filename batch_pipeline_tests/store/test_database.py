from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import event, insert, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import StatementError
from sqlalchemy.schema import CreateTable

from batch_pipeline.errors import StoreError
from batch_pipeline.model import Ask, Hold, HoldKind, Missed
from batch_pipeline.store import database
from batch_pipeline.store.database import Database
from batch_pipeline.store.ledger import Ledger
from batch_pipeline.store.tables import SCHEMA_VERSION, locks, meta, metadata
from batch_pipeline_tests.store.factories import (
    ACCOUNT,
    JOB,
    LEASE,
    NOON,
    make_observation,
    make_shard,
)


def test_a_ledger_makes_its_folder_and_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'down' / 'ledger.db'}"
    with Ledger.open(url) as first:
        first.plan([make_shard()], now=NOON)
        first.claim("s1", owner="ann", intent="i1", now=NOON, lease=LEASE)
        first.lock("plan", owner="ann", now=NOON, lease=LEASE)
        before = first.shards(JOB)
    with Ledger.open(url) as second:
        assert second.shards(JOB) == before
        assert not second.lock("plan", owner="bob", now=NOON, lease=LEASE)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(SCHEMA_VERSION + 1, "Upgrade batch_pipeline"), (0, "Finish its batches")],
)
def test_a_ledger_of_another_version_is_refused_with_what_to_do(
    url: str, version: int, remedy: str
) -> None:
    opened = Database.open(url)
    with opened.writing() as connection:
        connection.execute(update(meta).values(schema_version=version))
    opened.close()
    with pytest.raises(StoreError, match=f"schema version {version}.*{remedy}"):
        Ledger.open(url)


SINCE_VERSION_3 = (("shards", "simulated"), ("batches", "one_file"), ("batches", "made"))
SINCE_VERSION_2 = (
    ("batches", "failed_as"),
    ("accounts", "skew_seconds"),
    *(("shards", name) for name in ("missed", "missed_since", "looks", "look_at", "doubted_at")),
)


def back_to_version_3(old: sqlite3.Connection) -> None:
    old.execute("ALTER TABLE holds DROP COLUMN until")
    old.execute("ALTER TABLE partitions ADD COLUMN held TEXT")
    for table, column in SINCE_VERSION_3:
        old.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    old.execute("UPDATE meta SET schema_version = 3")


def test_a_ledger_of_version_4_gets_a_table_of_what_was_asked_and_keeps_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as first:
        first.plan([make_shard()], now=NOON)
        before = first.shards(JOB)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as old, old:
        old.execute("DROP TABLE asked")
        old.execute("UPDATE meta SET schema_version = 4")
    with Ledger.open(url) as upgraded:
        assert upgraded.shards(JOB) == before
        assert upgraded.asked.standing(JOB) == []
        upgraded.asked.put([Ask(JOB, "p1", "run", NOON)])
        assert upgraded.asked.standing(JOB) == [Ask(JOB, "p1", "run", NOON)]


def test_what_version_3_said_in_texts_and_ids_is_typed_and_nothing_is_lost(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ids = ["batch_simulated1", "facade00-2", "batch_3", "refused_upload_4"]
    breaker = Hold(JOB, "p1", HoldKind.BREAKER, "two batches", NOON)
    with Ledger.open(url) as first:
        for number, batch_id in enumerate(ids):
            shard_id = f"s{number}"
            first.plan([make_shard(shard_id, partitions={f"p{number}": 1})], now=NOON)
            seen = make_observation(batch_id)
            first.submitted(shard_id, observation=seen, account=ACCOUNT, run_id=None, now=NOON)
        first.holds.put(JOB, [breaker])
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as old, old:
        back_to_version_3(old)
        old.execute("UPDATE partitions SET held = 'cancelled by a person' WHERE partition = 'p1'")
        old.execute("UPDATE partitions SET held = 'canary: 2 of 2' WHERE partition = 'p2'")
        old.execute("UPDATE batches SET error_file_id = '' WHERE batch_id = 'batch_3'")
    with Ledger.open(url) as upgraded:
        found = [(one.partition, one.kind, one.reason) for one in upgraded.holds.standing(JOB)]
        assert found == [
            ("p1", HoldKind.BREAKER, "two batches"),
            ("p1", HoldKind.PERSON, "cancelled by a person"),
            ("p2", HoldKind.CANARY, "canary: 2 of 2"),
        ]
        shards = upgraded.shards(JOB)
        assert [shard.simulated for shard in shards] == [True, True, False, False]
        seen_of = [shard.remote for shard in shards if shard.remote is not None]
        assert [(seen.made, seen.one_file) for seen in seen_of] == [
            (True, False),
            (True, False),
            (True, True),
            (False, False),
        ]
        assert [seen.error_file_id for seen in seen_of] == [None] * 4


def test_a_shard_that_version_2_gave_up_is_looked_at_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as first:
        first.plan([make_shard(), make_shard("s2"), make_shard("s3")], now=NOON)
        for shard_id in ("s1", "s3"):
            seen = make_observation(f"batch_{shard_id}")
            first.submitted(shard_id, observation=seen, account=ACCOUNT, run_id=None, now=NOON)
        first.failed("s1", message="results are lost", now=NOON)
        first.failed("s2", message="a line is too large", now=NOON)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as old, old:
        back_to_version_3(old)
        old.execute("DROP TABLE holds")
        for table, column in SINCE_VERSION_2:
            old.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        old.execute("UPDATE meta SET schema_version = 2")
    with Ledger.open(url) as upgraded:
        given_up = upgraded.shard("s1")
        assert (given_up.missed, given_up.missed_since) == (Missed.BATCH, NOON)
        assert given_up.look_at == NOON
        assert upgraded.shard("s2").look_at is None
        assert [shard.shard_id for shard in upgraded.to_poll("openai")] == ["s1", "s3"]


def test_a_ledger_of_the_first_version_is_brought_up_to_date_and_keeps_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Ledger.open(url) as first:
        first.plan([make_shard()], now=NOON)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as old, old:
        back_to_version_3(old)
        old.execute("DROP TABLE canaries")
        old.execute("DROP TABLE holds")
        for table, column in (
            ("shards", "options"),
            ("shards", "canary"),
            ("batches", "results_until"),
            ("partitions", "deferred"),
            *SINCE_VERSION_2,
        ):
            old.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        old.execute("UPDATE meta SET schema_version = 1")
    with Ledger.open(url) as upgraded:
        (shard,) = upgraded.shards(JOB)
        assert (shard.options, shard.canary) == ({}, None)
        assert upgraded.partition(JOB, "p1").deferred == 0
        assert upgraded.canaries.decided(JOB, "v") is None
        assert upgraded.holds.standing(JOB) == []
    with Ledger.open(url) as again:
        assert again.shards(JOB) == [shard]


def test_a_summary_of_many_partitions_is_one_query(url: str) -> None:
    opened = Database.open(url)
    ledger = Ledger(opened)
    asked: list[str] = []
    ledger.plan([make_shard(f"s{n}", partitions={f"p{n}": 1}) for n in range(50)], now=NOON)
    event.listen(opened._engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    assert len(ledger.summary(JOB)) == 50
    ledger.close()
    assert [sql.split()[0] for sql in asked if not sql.startswith("BEGIN")] == ["SELECT"]


def test_sqlite_waits_for_other_writers_and_keeps_what_it_said(tmp_path: Path) -> None:
    opened = Database.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    with opened.reading() as connection:
        asked = ["journal_mode", "busy_timeout", "foreign_keys", "synchronous"]
        told = [connection.scalar(text(f"PRAGMA {name}")) for name in asked]
    opened.close()
    assert told == ["wal", 30_000, 1, 2]


class LockedFor:
    """A cursor of a file that others are opening, too, for the first *tries* asks."""

    def __init__(self, tries: int, said: str = "database is locked") -> None:
        self.left, self.said = tries, said

    def execute(self, _: str) -> None:
        self.left -= 1
        if self.left >= 0:
            raise sqlite3.OperationalError(self.said)


def test_a_first_opening_that_meets_another_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_WAL_PAUSE", 0.0)
    met = LockedFor(2)
    database._enter_wal(met)  # type: ignore[arg-type]  # as much of a cursor as it needs
    assert met.left == -1
    for hopeless in (LockedFor(10**6), LockedFor(1, "disk I/O error")):
        with pytest.raises(sqlite3.OperationalError, match=hopeless.said):
            database._enter_wal(hopeless)  # type: ignore[arg-type]  # as above


def test_a_failed_transaction_leaves_nothing(url: str) -> None:
    opened = Database.open(url)
    one = insert(locks).values(name="n", owner="o", expires_at=NOON)

    def write_it_twice() -> None:
        with opened.writing() as connection:
            connection.execute(one)
            connection.execute(one)

    with pytest.raises(StoreError, match="cannot be read or written"):
        write_it_twice()
    with opened.reading() as connection:
        assert connection.execute(locks.select()).all() == []
    opened.close()


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError, match=r"folder cannot be made.*store.*BATCH_PIPELINE_STORE"):
        Ledger.open(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}")


def test_a_ledger_that_cannot_be_written_is_named() -> None:
    with pytest.raises(StoreError, match=r"/proc/version.*cannot be read or written"):
        Ledger.open("sqlite:////proc/version")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("no database, " * 100)
    with pytest.raises(StoreError, match=r"ledger\.db.*not a database"):
        Ledger.open(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="must outlive the process"):
        Ledger.open(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "cannot be read"),
        ("mysql://me:secret@host/db", "runs on sqlite or postgresql"),
        ("postgresql+nosuch://me:secret@host/db?password=secret", "not installed"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as refused:
        Ledger.open(url)
    assert "secret" not in str(refused.value)


def test_postgres_without_a_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_POSTGRES_DRIVERS", ("no_such_driver",))
    with pytest.raises(StoreError, match=r"pip install 'psycopg\[binary\]'"):
        Ledger.open("postgresql://me:secret@host/db")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_plain_postgres_url_gets_the_driver_that_is_installed(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = ModuleType("pg8000")
    driver.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "pg8000", driver)
    monkeypatch.setattr(database, "_POSTGRES_DRIVERS", ("no_such_driver", "pg8000"))
    address = database._address(f"{scheme}://me:secret@host/db")
    assert address.drivername == "postgresql+pg8000"


def test_the_tables_can_be_written_for_postgres() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    written = {
        table.name: str(CreateTable(table).compile(dialect=dialect))
        for table in metadata.sorted_tables
    }
    assert "TIMESTAMP WITH TIME ZONE" in written["shards"]
    assert "ENUM" not in written["shards"], "a new state must not need a new type"


def test_times_come_back_in_utc_whatever_zone_they_were_given_in(ledger: Ledger) -> None:
    tokyo = timezone(timedelta(hours=9))
    ledger.plan([make_shard()], now=NOON.astimezone(tokyo))
    created_at = ledger.shard("s1").created_at
    assert created_at == NOON
    assert created_at is not None
    assert created_at.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    naive = datetime(2026, 11, 21)  # noqa: DTZ001 - the mistake under test
    with pytest.raises(StatementError, match="has no time zone"):
        ledger.plan([make_shard()], now=naive)
