from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pytest
from hypothesis import given
from hypothesis.strategies import text

from batch_pipeline.errors import StoreError, UsageError
from batch_pipeline.store.files import Store, partition_folder
from batch_pipeline.whole_files import written_aside
from batch_pipeline_tests.store.factories import JOB, NOON


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_every_file_has_its_one_place(store: Store) -> None:
    paths = [
        store.requests_lines(JOB, "a/b"),
        store.requests_table(JOB, "a/b"),
        store.shard_lines(JOB, "s1"),
        store.shard_requests(JOB, "s1"),
        store.raw_file(JOB, "s1", "batch_1", "output"),
        store.raw_file(JOB, "s1", "../../x", "error"),
        store.outcomes_file(JOB, "s1"),
        store.results_file(JOB, "2026-11-21"),
        store.report_file(JOB, "md"),
        store.report_file(JOB, "json", partition="all"),
    ]
    assert [str(path.relative_to(store.root)) for path in paths] == [
        "requests/reviews/partition=a%2Fb/lines.jsonl",
        "requests/reviews/partition=a%2Fb/requests.parquet",
        "shards/reviews/s1/lines.jsonl",
        "shards/reviews/s1/requests.parquet",
        "raw/reviews/s1/batch_1.output.jsonl",
        "raw/reviews/s1/..%2F..%2Fx.error.jsonl",
        "outcomes/reviews/s1.parquet",
        "results/reviews/partition=2026-11-21/results.parquet",
        "reports/reviews/report.md",
        "reports/reviews/partition=all/report.json",
    ]
    assert store.requests_dir(JOB, "a/b").parent == store.root / "requests" / JOB
    assert store.shards_dir(JOB) == store.shard_dir(JOB, "s1").parent


def test_naming_a_path_makes_nothing(store: Store) -> None:
    store.results_file(JOB, "p1")
    assert not store.root.exists()


@given(text(min_size=1, max_size=15))
def test_any_partition_is_one_folder_that_decodes_to_its_name(partition: str) -> None:
    folder = partition_folder(partition)
    assert Path("root", folder).parts == ("root", folder)
    assert unquote(folder) == f"partition={partition}"


@pytest.mark.parametrize("partition", [".", "..", "../up", "a b", "50%", "ü", "x=y"])
def test_parquet_readers_decode_a_partitions_folder(store: Store, partition: str) -> None:
    path = store.results_file(JOB, partition)
    path.parent.mkdir(parents=True)
    with duckdb.connect() as con:
        con.sql("SELECT 1 AS n").write_parquet(str(path))
        everything = f"{store.root}/results/{JOB}/*/*.parquet"
        query = "FROM read_parquet(?, hive_partitioning = true)"
        assert con.execute(query, [everything]).fetchall() == [(1, partition)]


def test_a_partition_without_a_name_has_no_folder() -> None:
    with pytest.raises(UsageError, match="name is empty"):
        partition_folder("")


def test_a_partition_with_an_absurdly_long_name_is_refused() -> None:
    assert partition_folder("x" * 200)
    with pytest.raises(UsageError, match="needs 201 bytes"):
        partition_folder("x" * 201)
    with pytest.raises(UsageError, match="needs 402 bytes"):
        partition_folder("ü" * 67)


def test_a_store_makes_its_root_and_leaves_no_trace_of_the_try(store: Store) -> None:
    store.check_writable()
    store.check_writable()
    assert list(store.root.iterdir()) == []


def test_a_file_in_place_of_the_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text("a file")
    with pytest.raises(StoreError, match=rf"{path} cannot be written.*BATCH_PIPELINE_STORE"):
        Store(path).check_writable()


def test_a_store_that_refuses_files_is_named() -> None:
    with pytest.raises(StoreError, match="/proc/store cannot be written"):
        Store("/proc/store").check_writable()


def test_a_url_is_no_local_folder() -> None:
    with pytest.raises(StoreError, match=r"'s3://bucket/store' is a URL.*local folder"):
        Store("s3://bucket/store")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    for data in (b"one", b"two"):
        with written_aside(path) as part:
            part.write_bytes(data)
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "taken" / "by a folder").mkdir(parents=True)
    with (
        pytest.raises(StoreError, match="taken cannot be written: Is a directory"),
        written_aside(tmp_path / "taken") as part,
    ):
        part.write_bytes(b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_sweep_removes_what_a_crash_left_and_nothing_younger_or_whole(store: Store) -> None:
    whole = store.results_file(JOB, "p1")
    old, young = whole.with_name(".results.parquet.ab.part"), whole.with_name(".x.cd.part")
    spill = store.scratch()
    for path in (whole, old, young, spill / "block.tmp"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for path in (whole, old, spill):
        os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    assert set(store.sweep(before=NOON + timedelta(seconds=1))) == {old, spill}
    assert [old.exists(), spill.exists(), young.exists(), whole.exists()] == [
        False,
        False,
        True,
        True,
    ]


def test_a_file_that_vanishes_during_a_sweep_is_no_trouble(store: Store) -> None:
    link = store.scratch()
    link.symlink_to(store.root / "nowhere")
    assert store.sweep(before=NOON) == []


def test_two_scratch_places_are_never_the_same(store: Store) -> None:
    assert store.scratch() != store.scratch()
