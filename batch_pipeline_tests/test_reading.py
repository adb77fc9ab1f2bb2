"""Results read from Python: the files' own rows, with the nearest name for what is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.errors import StoreError, UsageError
from batch_pipeline.reading import read_failures, read_results
from batch_pipeline.spec import BatchJob
from batch_pipeline.store.files import Store
from batch_pipeline_tests.world import DAYS, World, made

ODD = "b/ü %2F"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three days that have landed; one row of each was refused."""
    broken = {"rows": [{"becomes": "refused", "custom_id": "r-001-*"}]}
    with made(tmp_path_factory.mktemp("lot=1"), faults=broken, per_day=3) as one:
        one.run()
        yield one


@pytest.fixture
def store(world: World) -> Path:
    return world.store.root


def test_every_row_is_read_in_order_with_its_partition(world: World, store: Path) -> None:
    table = read_results(world.job(), store=store)
    assert table["partition"].to_pylist() == [day for day in DAYS for _ in range(3)]
    rows = table.drop_columns("partition").to_pylist()
    assert rows == [row for day in DAYS for row in world.results(day)]


def test_partitions_and_columns_are_those_that_were_asked_for_in_that_order(store: Path) -> None:
    table = read_results("moods", [DAYS[2], DAYS[0], DAYS[2]], ["text", "id"], store=store)
    assert table.column_names == ["text", "id"]
    assert table.num_rows == 6
    partitions = read_results("moods", [DAYS[2], DAYS[0]], "partition", store=store)
    assert partitions["partition"].unique().to_pylist() == [DAYS[2], DAYS[0]]
    assert read_results("moods", DAYS[1], "id", store=store).num_rows == 3
    nothing = read_results("moods", [], store=store)
    assert nothing.num_rows == 0
    assert nothing.schema == read_results("moods", store=store).schema


def test_pandas_and_polars_take_the_table_as_it_is(world: World, store: Path) -> None:
    table = read_results("moods", store=store)
    costs = [row["cost_usd"] for day in DAYS for row in world.results(day)]
    assert table.to_pandas()["cost_usd"].tolist() == costs
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    assert frame["cost_usd"].to_list() == costs


def test_failures_are_the_failed_rows_whatever_columns_are_asked_for(store: Path) -> None:
    failed = read_failures("moods", columns=["id", "failure"], store=store)
    assert failed.to_pylist() == [{"id": "r/001", "failure": "refused"}] * len(DAYS)
    assert read_failures("moods", DAYS[0], store=store).num_rows == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("moods",), ""),
        (("mood",), "'mood'. Did you mean 'moods'?"),
        (("zzz",), "no results of a job 'zzz'. Name another store"),
        (("../results/moods",), "no results of a job"),
        (("moods", ["2026-01-09"]), "yet of partition '2026-01-09'. Did you mean '2026-01-0"),
        (("moods", "all"), f"partition 'all'. There are {', '.join(DAYS)}."),
        (("moods", None, ["texts"]), "no column 'texts'. Did you mean 'text'?"),
        (("moods", None, "qqq"), "no column 'qqq'. There are id, custom_id, "),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest_that_is(
    store: Path, asked: tuple[str, ...], said: str
) -> None:
    if not said:
        assert read_results(*asked, store=store).num_rows
        return
    for read in (read_results, read_failures):
        with pytest.raises(UsageError) as caught:
            read(*asked, store=store)
        assert said in str(caught.value)


def test_a_job_that_has_not_landed_says_so(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run the job first"):
        read_results(world.job(), store=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_store_is_the_environments_unless_it_is_said(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_PIPELINE_STORE", str(store))
    assert read_results("moods").equals(read_results("moods", store=str(store)))


def test_a_store_that_may_only_be_read_will_do(store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    folders = [path for path in (store, *store.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert read_results("moods", store=store).num_rows == 9
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def landed(folder: Path, **partitions: pa.Table) -> Path:
    """A store of results as other versions, or other schemas of the job, wrote them."""
    for name, table in partitions.items():
        path = Store(folder).results_file("old", name)
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    return folder


def test_what_an_older_version_or_schema_did_not_write_is_null(tmp_path: Path) -> None:
    old = pa.table({"id": ["a"], "status": ["failed"], "output": pa.array([{"mood": "calm"}])})
    vectors = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    new = pa.table(
        {
            "id": ["b"],
            "status": ["succeeded"],
            "extras": ["{}"],
            "output": pa.array([{"mood": "glad", "score": 2}]),
            "embedding": vectors,
        }
    )
    other = new.set_column(4, "embedding", pa.array([[1.0]], pa.list_(pa.float32())))
    store = landed(tmp_path, **{"2025": old, ODD: new, "x": other})
    rows = read_results("old", store=store).to_pylist()
    assert [row["partition"] for row in rows] == ["2025", ODD, "x"]
    assert [row["extras"] for row in rows] == [None, "{}", "{}"]
    assert rows[0]["output"] == {"mood": "calm", "score": None}
    assert [row["embedding"] for row in rows] == [None, [1.0, 2.0], [1.0]]
    assert read_results("old", ODD, "id", store=store).to_pylist() == [{"id": "b"}]
    assert read_failures("old", columns="id", store=store).to_pylist() == [{"id": "a"}]


def test_tables_that_do_not_fit_together_are_said_and_each_can_be_read(tmp_path: Path) -> None:
    text = pa.table({"id": ["a"], "status": ["failed"], "output": ["{}"]})
    typed = pa.table({"id": ["b"], "status": ["failed"], "output": pa.array([{"mood": "calm"}])})
    store = landed(tmp_path, one=text, two=typed)
    with pytest.raises(StoreError, match=r"cannot be read as one table: .*\boutput\b"):
        read_results("old", store=store)
    assert read_results("old", "two", store=store)["output"].to_pylist() == [{"mood": "calm"}]


def test_a_file_that_is_damaged_is_a_store_error(tmp_path: Path) -> None:
    store = landed(tmp_path, one=pa.table({"id": ["a"], "status": ["failed"]}))
    Store(store).results_file("old", "one").write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(StoreError, match="old: the results in"):
        read_results("old", store=store)


def test_a_job_made_in_python_names_its_results(world: World, store: Path) -> None:
    job = BatchJob.model_validate(world.job().model_dump())
    assert read_results(job, columns="id", store=store).num_rows == 9
