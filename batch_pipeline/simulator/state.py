"""Everything the simulator must remember, on disk: one SQLite file and one file per blob."""

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from batch_pipeline.simulator.records import Batch, LogEntry, StoredFile

_TABLES = """
CREATE TABLE IF NOT EXISTS clock (only INTEGER PRIMARY KEY CHECK (only = 1),
    wall REAL NOT NULL, sim REAL NOT NULL, speed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS files (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL,
    dialect TEXT NOT NULL, gone_at REAL, doc BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS gone_files ON files (gone_at);
CREATE TABLE IF NOT EXISTS batches (seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE NOT NULL, dialect TEXT NOT NULL, live INTEGER NOT NULL, doc BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS live_batches ON batches (live) WHERE live = 1;
CREATE TABLE IF NOT EXISTS submissions (custom_id TEXT NOT NULL, batch_seq INTEGER NOT NULL,
    PRIMARY KEY (custom_id, batch_seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL, doc BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS fault_hits (rule TEXT PRIMARY KEY, hits INTEGER NOT NULL);
"""


class FolderInUseError(RuntimeError):
    """Another simulator runs on the folder."""


def _claimed(folder: Path) -> BinaryIO:
    """A lock on the folder; the system lets go of it when the process dies."""
    claim = (folder / "lock").open("wb")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        claim.close()
        raise FolderInUseError(
            f"{folder}: another simulator is using this state folder. Stop it, or name another."
        ) from error
    return claim


class State:
    """The folder; safe to use from many threads, and to kill at any moment."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts are in it
        self._blobs.mkdir(mode=0o700, exist_ok=True)
        self._claim = _claimed(folder)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            folder / "simulator.sqlite", check_same_thread=False, isolation_level=None
        )
        # the process may be killed, the machine is not: the system's cache is safe enough
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;{_TABLES}")

    def close(self) -> None:
        """Let go of the database file."""
        with self._lock:
            self._db.close()
            self._claim.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that happen together or not at all."""
        with self._lock:
            if self._db.in_transaction:  # joins the transaction of its caller
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def blob(self, file_id: str) -> Path:
        """Where the bytes of a file are."""
        return self._blobs / file_id

    def read_clock(self) -> tuple[float, float, float] | None:
        """The saved anchor: wall time, simulated time, speed."""
        with self._lock:
            row = self._db.execute("SELECT wall, sim, speed FROM clock").fetchone()
        return None if row is None else (float(row[0]), float(row[1]), float(row[2]))

    def write_clock(self, wall: float, sim: float, speed: float) -> None:
        """Save the anchor."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?)", (wall, sim, speed))

    def put_file(self, file: StoredFile) -> None:
        """Add a file, or replace what is known about it."""
        gone_at = 0.0 if file.deleted else file.expires_at
        with self.transaction() as db:
            db.execute(
                "INSERT INTO files (id, dialect, gone_at, doc) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET gone_at = excluded.gone_at, doc = excluded.doc",
                (file.id, file.dialect, gone_at, msgspec.json.encode(file)),
            )

    def gone_files(self, now: float) -> list[StoredFile]:
        """The files that are deleted or expired and not yet dropped."""
        with self._lock:
            rows = self._db.execute("SELECT doc FROM files WHERE gone_at <= ?", (now,)).fetchall()
        return [msgspec.json.decode(row[0], type=StoredFile) for row in rows]

    def drop_file(self, file_id: str) -> None:
        """Forget a file for good."""
        with self.transaction() as db:
            db.execute("DELETE FROM files WHERE id = ?", (file_id,))

    def file(self, file_id: str) -> StoredFile | None:
        """The file of that id, also when it is deleted or expired."""
        with self._lock:
            row = self._db.execute("SELECT doc FROM files WHERE id = ?", (file_id,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=StoredFile)

    def files(self, dialect: str | None = None) -> list[StoredFile]:
        """All files, oldest first."""
        query = "SELECT doc FROM files WHERE dialect = ? OR ? IS NULL ORDER BY seq"
        with self._lock:
            rows = self._db.execute(query, (dialect, dialect)).fetchall()
        return [msgspec.json.decode(row[0], type=StoredFile) for row in rows]

    def add_batch(self, batch: Batch) -> Batch:
        """Add a batch; it gets its place in the order of creation."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO batches (id, dialect, live, doc) VALUES (?, ?, ?, x'')",
                (batch.id, batch.dialect, batch.live),
            )
            (seq,) = db.execute("SELECT last_insert_rowid()").fetchone()
            return self.change_batch(msgspec.structs.replace(batch, seq=int(seq)))

    def change_batch(self, batch: Batch, change: Callable[[Batch], Batch] | None = None) -> Batch:
        """Save *batch*, or apply *change* to what is saved now, so that no other change is lost."""
        with self.transaction() as db:
            if change is not None:
                batch = change(self.batch(batch.id) or batch)
            db.execute(
                "UPDATE batches SET live = ?, doc = ? WHERE id = ?",
                (batch.live, msgspec.json.encode(batch), batch.id),
            )
        return batch

    def batch(self, batch_id: str) -> Batch | None:
        """The batch of that id."""
        with self._lock:
            row = self._db.execute("SELECT doc FROM batches WHERE id = ?", (batch_id,)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Batch)

    def batches(self, *, dialect: str | None = None, live: bool = False) -> list[Batch]:
        """All batches, oldest first; with *live* only those that have not ended."""
        query = (
            "SELECT doc FROM batches WHERE (dialect = ? OR ? IS NULL) AND live >= ? ORDER BY seq"
        )
        with self._lock:
            rows = self._db.execute(query, (dialect, dialect, live)).fetchall()
        return [msgspec.json.decode(row[0], type=Batch) for row in rows]

    def record_submissions(self, batch: Batch, custom_ids: Iterable[str]) -> None:
        """Note that *batch* was accepted with these custom_ids."""
        with self.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO submissions VALUES (?, ?)",
                ((custom_id, batch.seq) for custom_id in custom_ids),
            )

    def times_submitted(self, custom_id: str, *, until: Batch) -> int:
        """How often the custom_id was accepted, up to and with the batch *until*."""
        query = "SELECT count(*) FROM submissions WHERE custom_id = ? AND batch_seq <= ?"
        with self._lock:
            return int(self._db.execute(query, (custom_id, until.seq)).fetchone()[0])

    def submissions(self) -> dict[str, int]:
        """Every custom_id that was ever accepted, and how often."""
        query = "SELECT custom_id, count(*) FROM submissions GROUP BY custom_id"
        with self._lock:
            return {str(row[0]): int(row[1]) for row in self._db.execute(query)}

    def custom_ids(self, batch: Batch) -> list[str]:
        """The custom_ids that were accepted with *batch*."""
        query = "SELECT custom_id FROM submissions WHERE batch_seq = ? ORDER BY custom_id"
        with self._lock:
            return [str(row[0]) for row in self._db.execute(query, (batch.seq,))]

    def add_log(self, entry: LogEntry) -> None:
        """Append to the log; the entry gets its number."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO log (operation, doc) VALUES (?, ?)",
                (entry.operation, msgspec.json.encode(entry)),
            )

    def log(self, operation: str | None = None) -> list[LogEntry]:
        """The calls so far, oldest first."""
        query = "SELECT seq, doc FROM log WHERE operation = ? OR ? IS NULL ORDER BY seq"
        with self._lock:
            rows = self._db.execute(query, (operation, operation)).fetchall()
        decoded = ((row[0], msgspec.json.decode(row[1], type=LogEntry)) for row in rows)
        return [msgspec.structs.replace(entry, seq=int(seq)) for seq, entry in decoded]

    def clear_log(self) -> None:
        """Forget the calls; numbering goes on."""
        with self.transaction() as db:
            db.execute("DELETE FROM log")

    def hit(self, rule: str) -> int:
        """Count one more match of a fault rule; returns how many that makes."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO fault_hits VALUES (?, 1) ON CONFLICT (rule) DO UPDATE "
                "SET hits = hits + 1",
                (rule,),
            )
            row = db.execute("SELECT hits FROM fault_hits WHERE rule = ?", (rule,)).fetchone()
            return int(row[0])

    def forget_hits(self) -> None:
        """Start counting again: the fault script was replaced."""
        with self.transaction() as db:
            db.execute("DELETE FROM fault_hits")
