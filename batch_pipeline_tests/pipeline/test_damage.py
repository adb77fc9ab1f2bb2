"""A store that lacks files, a disk that is full: one sentence that helps, and nothing is lost."""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from batch_pipeline.errors import BatchPipelineError, StoreError
from batch_pipeline.pipeline.collecting import Stuck
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.stages.results.bounded_tables import write_groups
from batch_pipeline.whole_files import written_aside
from batch_pipeline_tests.world import DAYS, World, rows

if TYPE_CHECKING:
    from batch_pipeline.pipeline import Pipeline

DAY, NEXT = DAYS[:2]
VERBS: dict[str, Callable[[Pipeline], object]] = {
    "status": lambda shell: shell.standing(shell.steps()),
    "report": lambda shell: shell.report([DAY]),
    "submit": lambda shell: shell.submit([DAY]),
    "retry": lambda shell: shell.resend([DAY]),
    "reparse": lambda shell: shell.reparse([DAY]),
    "collect": lambda shell: shell.collect([DAY]),
    "cancel": lambda shell: shell.cancel([DAY]),
    "release": lambda shell: shell.release(),
    "run": lambda shell: shell.run([DAY]),
}


@pytest.mark.parametrize(
    ("gone", "ended"),
    [
        *(("shards", False), ("shards", True), ("requests", True), ("raw", True)),
        *(("outcomes", True), ("results", True)),
    ],
)
def test_a_folder_that_is_gone_costs_no_verb_more_than_a_sentence(
    world: World, gone: str, *, ended: bool
) -> None:
    world.send()
    if ended:
        world.run()
    for name, verb in VERBS.items():
        shutil.rmtree(world.store.root / gone, ignore_errors=True)
        with world.open() as shell:
            try:
                verb(shell)
            except BatchPipelineError as error:
                told = str(error)
                assert re.search(r"`[A-Za-z -]+`|backup", told), (name, told)
    assert len(world.batches) == 1


def test_a_shard_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    world.write_rows({NEXT: rows(3)})
    job = world.job(shard={"max_requests": 3})
    world.send(job)
    world.wait(60)
    with world.open(job) as shell:
        shell.watch()
        broken, *_ = [shard for shard in shell.shards() if shard.partitions == {DAY: 3}]
        table = world.store.shard_requests("moods", broken.shard_id)
        kept = table.read_bytes()
        table.write_bytes(b"no table")
        with pytest.raises(Stuck, match=rf"shard {broken.shard_id}.*requests\.parquet") as stuck:
            shell.collect([DAY, NEXT])
        assert list(stuck.value.collected.landed) == [NEXT]
        assert len(world.results(NEXT)) == 3
        table.write_bytes(kept)
        shell.collect([DAY])
    assert len(world.results(DAY)) == 5
    assert world.sendings == {1}


def test_a_run_does_all_it_can_before_it_says_what_is_stuck(world: World) -> None:
    world.write_rows({NEXT: rows(3)})
    job = world.job(shard={"max_requests": 5})
    world.send(job)
    with world.open(job) as shell:
        [broken] = [shard for shard in shell.shards() if shard.partitions == {DAY: 5}]
        table = world.store.shard_requests("moods", broken.shard_id)
        kept = table.read_bytes()
        table.write_bytes(b"no table")
        with pytest.raises(StoreError, match=broken.shard_id):
            shell.follow([DAY, NEXT])
        assert shell.steps()[NEXT][1].counts.succeeded == 3
        table.write_bytes(kept)
        assert shell.run([DAY, NEXT])[DAY][1].counts.succeeded == 5
    assert world.sendings == {1}


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process may grow beyond *size* bytes: a full disk, without a mount."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_table_and_says_which_one(tmp_path: Path) -> None:
    into = tmp_path / "results.parquet"
    into.write_bytes(b"old")
    noise = np.random.default_rng(1).bytes(1 << 20)
    table = pa.table({"noise": [noise]})

    def write() -> None:
        with files_end_at(1 << 16), written_aside(into) as part:
            write_groups(part, table.schema, iter([table]), repeating=[])

    with pytest.raises(StoreError, match=rf"{into} cannot be written: File too large.*make room"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["results.parquet"]
    assert into.read_bytes() == b"old"


def test_a_disk_that_fills_up_in_a_run_loses_nothing(world: World) -> None:
    with files_end_at(1 << 14), pytest.raises(StoreError, match="cannot be"):
        world.run()
    assert world.run()[DAY][1].counts.succeeded == 5
    assert world.sendings == {1}


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (MemoryError(), "BATCH_PIPELINE_MEMORY"),
        (duckdb.OutOfMemoryException("could not allocate block"), "BATCH_PIPELINE_MEMORY"),
        (OSError(28, "No space left on device"), "disk is full"),
        (
            FileNotFoundError(2, "No such file", "/s/outcomes/j/x.parquet"),
            "x.parquet is gone.*reparse",
        ),
        (
            duckdb.IOException('No files found that match the pattern "/s/raw/j/x"'),
            "/s/raw/j/x is gone",
        ),
        (pa.ArrowInvalid("Parquet magic bytes not found"), "magic bytes"),
        (
            PermissionError(13, "Permission denied", "/s/ledger.db"),
            "/s/ledger.db: Permission denied",
        ),
    ],
)
def test_what_is_no_error_of_ours_becomes_one(trouble: Exception, words: str) -> None:
    with pytest.raises(StoreError, match=words), said():
        raise trouble


@pytest.mark.parametrize(
    "trouble", [duckdb.InterruptException("Interrupted!"), RuntimeError("Query interrupted")]
)
def test_an_interrupted_query_is_a_ctrl_c(trouble: Exception) -> None:
    with pytest.raises(KeyboardInterrupt), said():
        raise trouble
