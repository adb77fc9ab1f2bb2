"""Who may read the store, and what can be done with one that may only be read."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from batch_pipeline.errors import StoreError
from batch_pipeline.model import Hold, HoldKind
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.whole_files import written_aside
from batch_pipeline_tests.world import DAYS, World, made

DAY = DAYS[0]
NOBODY = 65534


@contextmanager
def open_umask() -> Iterator[None]:
    """The umask under which everybody could read what is made."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """The mode of everything below *folder*, and its own."""
    every = [folder, *folder.rglob("*")]
    return {str(one.relative_to(folder.parent)): oct(one.stat().st_mode & 0o777) for one in every}


def test_store_and_ledger_are_their_users_alone_whatever_the_umask(world: World) -> None:
    with open_umask():
        world.send(world.job(shard={"max_requests": 3}))
        ledger = world.store.root / "ledger.db"
        with closing(sqlite3.connect(ledger)):  # keeps -wal and -shm there
            world.run(world.job(shard={"max_requests": 3}))
            with world.open() as shell:
                shell.report([DAY])
                found = modes(world.store.root)
    assert {"0o700"} == {mode for name, mode in found.items() if (world.folder / name).is_dir()}
    assert {"0o600"} == {mode for name, mode in found.items() if (world.folder / name).is_file()}
    for kept in ("requests", "shards", "raw", "outcomes", "results", "reports", "ledger.db-wal"):
        assert any(name.startswith(f"store/{kept}") for name in found), kept


def test_what_a_user_opened_on_purpose_stays_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with written_aside(tmp_path / "new" / "file") as part:
        part.write_bytes(b"x")
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.fixture
def shared() -> Iterator[World]:
    """A world that has run, in a folder that others may enter."""
    with tempfile.TemporaryDirectory() as folder, made(Path(folder), days=[DAY]) as world:
        world.folder.chmod(0o755)
        world.run()
        yield world
        _set_modes(world.store.root, folders=0o700, files=0o600)


def _set_modes(root: Path, *, folders: int, files: int) -> None:
    for one in (root, *root.rglob("*")):
        one.chmod(folders if one.is_dir() else files)


@contextmanager
def reading(world: World) -> Iterator[Pipeline]:
    """The job's shell for somebody who may read the store and write nothing there."""
    _set_modes(world.store.root, folders=0o555, files=0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        with Pipeline.open(
            world.job(), env=world.env, settings=world.settings, now=world.now, reading=True
        ) as shell:
            yield shell
    finally:
        os.seteuid(user)


def test_a_store_that_may_only_be_read_shows_status_and_report(shared: World) -> None:
    before = shared.digests()
    with reading(shared) as shell:
        assert shell.standing(shell.steps())["succeeded"] == 5
        assert shell.report([DAY]).total.succeeded == 5
        assert not shell.writable
    assert shared.digests() == before


def test_a_ledger_that_somebody_writes_to_can_be_read_meanwhile(shared: World) -> None:
    with shared.open() as writing:
        hold = Hold("moods", DAY, HoldKind.PERSON, "a person", shared.now())
        writing.records.ledger.holds.put("moods", [hold])
        with reading(shared) as shell:
            assert shell.steps()[DAY][1].held == "a person"


def test_a_log_that_cannot_be_read_without_writing_is_an_error_that_says_so(shared: World) -> None:
    ledger = shared.store.root / "ledger.db"
    with closing(sqlite3.connect(ledger)) as held:
        held.execute("PRAGMA user_version = 7")
        log = Path(f"{ledger}-wal").read_bytes()
    Path(f"{ledger}-wal").write_bytes(log)
    with pytest.raises(StoreError, match=r"can only be read here.*ledger\.db-wal"), reading(shared):
        pass


def test_other_verbs_need_a_store_that_can_be_written(shared: World) -> None:
    with reading(shared), pytest.raises(StoreError, match="cannot be written"):
        Pipeline.open(shared.job(), env=shared.env, settings=shared.settings)
