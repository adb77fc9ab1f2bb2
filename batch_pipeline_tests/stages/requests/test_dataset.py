from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.errors import DatasetError
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.requests.reading import batches
from batch_pipeline_tests.stages.built_requests import build, connected, make_job, opened, write

DAILY = {"kind": "daily", "column": "day", "start": "2026-01-01"}
MONTHLY = {"kind": "monthly", "column": "at", "start": "2026-01-01"}
HOURLY = {"kind": "hourly", "column": "at", "start": "2026-01-01-00:00"}
BERLIN = ZoneInfo("Europe/Berlin")


def partitions_of(job: BatchJob) -> list[str]:
    return opened(job).partitions()


def ids_of(job: BatchJob, partition: str = "all") -> list[object]:
    selection = opened(job).select(partition)
    found = batches(selection, ["id"], rows=100)
    return [value for batch in found for value in batch.column(0).to_pylist()]


def test_a_folder_is_read_in_the_order_of_its_file_names(tmp_path: Path) -> None:
    write(tmp_path / "b.parquet", {"id": [3]})
    write(tmp_path / "a" / "x.parquet", {"id": [1, 2]})
    assert ids_of(make_job(tmp_path)) == [1, 2, 3]
    assert partitions_of(make_job(tmp_path)) == ["all"]


def test_a_glob_and_a_single_file_are_datasets_too(tmp_path: Path) -> None:
    write(tmp_path / "a1.parquet", {"id": [1]})
    write(tmp_path / "a2.parquet", {"id": [2]})
    write(tmp_path / "b.parquet", {"id": [3]})
    assert ids_of(make_job(tmp_path / "a*.parquet")) == [1, 2]
    assert ids_of(make_job(tmp_path / "b.parquet")) == [3]


def test_hidden_and_unfinished_files_are_no_data(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1]})
    write(tmp_path / "_temporary" / "b.parquet", {"id": [2]})
    write(tmp_path / ".c.parquet", {"id": [3]})
    assert ids_of(make_job(tmp_path)) == [1]


def test_a_fsspec_url_is_read_like_a_folder() -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/shop/day=2026-01-02/x.parquet", "wb") as handle:
        pq.write_table(pa.table({"id": [7]}), handle)
    job = make_job("memory://shop", partitions=DAILY)
    assert partitions_of(job) == ["2026-01-02"]
    assert ids_of(job, "2026-01-02") == [7]


def test_hive_folders_are_partitions_by_their_decoded_name(tmp_path: Path) -> None:
    write(tmp_path / "shop=a%2Fb" / "x.parquet", {"id": [1]})
    write(tmp_path / "shop=007" / "x.parquet", {"id": [2]})
    write(tmp_path / "shop=__HIVE_DEFAULT_PARTITION__" / "x.parquet", {"id": [3]})
    said = {"kind": "static", "column": "shop", "values": ["a/b", "007"]}
    job = make_job(tmp_path, partitions=said)
    assert partitions_of(job) == ["007", "a/b"]
    assert ids_of(job, "a/b") == [1]


def test_a_static_partition_is_found_by_the_text_of_its_column(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1, 2, 3, 4], "shop": [10, 9, 10, None]})
    said = {"kind": "static", "column": "shop", "values": ["9", "10"]}
    job = make_job(tmp_path, partitions=said)
    assert partitions_of(job) == ["10", "9"]
    assert ids_of(job, "10") == [1, 3]


def test_a_day_of_a_date_column_is_that_day(tmp_path: Path) -> None:
    days = [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 1), None]
    write(tmp_path / "x.parquet", {"id": [1, 2, 3, 4], "day": days}, row_group_size=1)
    job = make_job(tmp_path, partitions=DAILY)
    assert partitions_of(job) == ["2026-01-01", "2026-01-02"]
    assert ids_of(job, "2026-01-01") == [1, 3]


def test_a_month_of_instants_is_counted_in_the_partitions_timezone(tmp_path: Path) -> None:
    before = datetime(2026, 1, 31, 22, 59, tzinfo=UTC)  # 23:59 in Berlin
    after = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)  # midnight in Berlin
    write(tmp_path / "x.parquet", {"id": [1, 2], "at": [before, after]})
    job = make_job(tmp_path, partitions={**MONTHLY, "timezone": "Europe/Berlin"})
    assert partitions_of(job) == ["2026-01-01", "2026-02-01"]
    assert ids_of(job, "2026-01-01") == [1]
    assert ids_of(job, "2026-02-01") == [2]


def test_a_wall_clock_without_a_zone_is_the_partitions_own(tmp_path: Path) -> None:
    times = [datetime(2026, 12, 31, 23, 59), datetime(2027, 1, 1)]  # noqa: DTZ001 - that is the point
    write(tmp_path / "x.parquet", {"id": [1, 2], "at": times})
    job = make_job(tmp_path, partitions={**MONTHLY, "timezone": "Asia/Kathmandu"})
    assert partitions_of(job) == ["2026-12-01", "2027-01-01"]
    assert ids_of(job, "2026-12-01") == [1]


def test_weeks_start_on_sunday_and_last_seven_days(tmp_path: Path) -> None:
    days = [date(2026, 11, 14), date(2026, 11, 15), date(2026, 11, 21), date(2026, 11, 22)]
    write(tmp_path / "x.parquet", {"id": [1, 2, 3, 4], "at": days})
    job = make_job(tmp_path, partitions={**MONTHLY, "kind": "weekly"})
    assert partitions_of(job) == ["2026-11-08", "2026-11-15", "2026-11-22"]
    assert ids_of(job, "2026-11-15") == [2, 3]


def test_an_hour_shown_twice_on_the_clock_is_two_partitions(tmp_path: Path) -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # both 02:30 in Berlin
    write(tmp_path / "x.parquet", {"id": [1, 2], "at": [first, second]})
    job = make_job(tmp_path, partitions={**HOURLY, "timezone": "Europe/Berlin"})
    assert partitions_of(job) == ["2026-10-25-02:00", "2026-10-25-02:00+0100"]
    assert ids_of(job, "2026-10-25-02:00") == [1]
    assert ids_of(job, "2026-10-25-02:00+0100") == [2]
    with pytest.raises(DatasetError, match=r"is part of '2026-10-25-02:00'"):
        ids_of(job, "2026-10-25-02:00+0200")  # a second name would send its rows twice


def test_times_that_no_clock_shows_are_in_the_hour_that_follows_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times = [datetime(2026, 3, 29, hour, 30) for hour in range(5)]  # noqa: DTZ001 - the point
    write(tmp_path / "x.parquet", {"id": [0, 1, 2, 3, 4], "at": times})
    job = make_job(tmp_path, partitions={**HOURLY, "timezone": "Europe/Berlin"})
    names = [f"2026-03-29-0{hour}:00" for hour in (0, 1, 3, 4)]
    assert partitions_of(job) == names
    assert [ids_of(job, name) for name in names] == [[0], [1], [2, 3], [4]]
    assert "no clock in Europe/Berlin shows, such as 2026-03-29 02:30" in caplog.text
    with pytest.raises(DatasetError, match=r"no clock shows that time.*'2026-03-29-03:00'"):
        ids_of(job, "2026-03-29-02:00")


def test_times_shown_twice_without_a_zone_are_in_the_first_of_the_two_hours(tmp_path: Path) -> None:
    times = [datetime(2026, 10, 25, hour, 30) for hour in (1, 2, 3)]  # noqa: DTZ001 - the point
    write(tmp_path / "x.parquet", {"id": [1, 2, 3], "at": times})
    job = make_job(tmp_path, partitions={**HOURLY, "timezone": "Europe/Berlin"})
    assert partitions_of(job) == [f"2026-10-25-0{hour}:00" for hour in (1, 2, 3)]
    assert ids_of(job, "2026-10-25-02:00") == [2]
    assert ids_of(job, "2026-10-25-02:00+0100") == []


def test_days_by_the_hour_are_in_their_first_hour(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1, 2], "at": [date(2026, 5, 1), date(2026, 5, 2)]})
    job = make_job(tmp_path, partitions=HOURLY)
    assert partitions_of(job) == ["2026-05-01-00:00", "2026-05-02-00:00"]
    assert ids_of(job, "2026-05-01-00:00") == [1]
    assert ids_of(job, "2026-05-01-23:00") == []


@pytest.mark.parametrize("said", [DAILY, {**DAILY, "kind": "weekly"}, {**DAILY, "kind": "monthly"}])
def test_dates_kept_as_text_that_are_no_partitions_are_named(
    tmp_path: Path, said: dict[str, str]
) -> None:
    days = ["2026-03-01", "2026-3-8", "2026-3-15", "2026-3-22", "soon"]
    write(tmp_path / "x.parquet", {"id": [1, 2, 3, 4, 5], "day": days})
    wanted = r"'day' holds '2026-3-15', '2026-3-22', '2026-3-8' and 1 more.*Dagster would not know"
    with pytest.raises(DatasetError, match=wanted):
        partitions_of(make_job(tmp_path, partitions=said))


def test_a_folder_whose_date_is_spelled_otherwise_is_named(tmp_path: Path) -> None:
    write(tmp_path / "day=2026-01-01" / "x.parquet", {"id": [1]})
    write(tmp_path / "day=2026-1-2" / "x.parquet", {"id": [2]})
    job = make_job(tmp_path, partitions=DAILY)
    with pytest.raises(DatasetError, match=r"'day' holds '2026-1-2', which is no name"):
        partitions_of(job)
    with pytest.raises(DatasetError, match=r"'2026-1-2' is no daily partition"):
        ids_of(job, "2026-1-2")
    assert ids_of(job, "2026-01-01") == [1]


@pytest.mark.parametrize(
    ("said", "name", "part_of"),
    [
        ({**MONTHLY, "kind": "weekly"}, "2026-01-07", "2026-01-04"),
        (MONTHLY, "2026-01-15", "2026-01-01"),
        ({**MONTHLY, "kind": "daily"}, "2026-1-7", "2026-01-07"),
        (HOURLY, "2026-01-01-03:30", "2026-01-01-03:00"),
    ],
)
def test_a_time_within_a_partition_is_not_another_one(
    tmp_path: Path, said: dict[str, str], name: str, part_of: str
) -> None:
    write(tmp_path / "x.parquet", {"id": [1], "at": [datetime(2026, 1, 7, tzinfo=UTC)]})
    with pytest.raises(DatasetError, match=f"is part of '{part_of}'"):
        ids_of(make_job(tmp_path, partitions=said), name)


def test_names_are_in_the_order_of_their_times_whatever_their_format(tmp_path: Path) -> None:
    days = [date(2026, 2, 1), date(2025, 12, 31), date(2026, 1, 15)]
    write(tmp_path / "x.parquet", {"id": [1, 2, 3], "day": days})
    said = {**DAILY, "start": "01.01.2025", "format": "%d.%m.%Y"}
    assert partitions_of(make_job(tmp_path, partitions=said)) == [
        *("31.12.2025", "15.01.2026", "01.02.2026")
    ]


def test_the_hours_there_are_named_as_they_are_selected(tmp_path: Path) -> None:
    times = [datetime(2026, 5, 1, hour, 59, tzinfo=BERLIN) for hour in (0, 13)]
    write(tmp_path / "x.parquet", {"id": [1, 2], "at": times})
    job = make_job(tmp_path, partitions={**HOURLY, "timezone": "Europe/Berlin"})
    assert partitions_of(job) == ["2026-05-01-00:00", "2026-05-01-13:00"]
    assert ids_of(job, "2026-05-01-13:00") == [2]


def test_a_partition_name_that_fits_no_date_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1], "day": [date(2026, 1, 1)]})
    with pytest.raises(DatasetError, match=r"'january' is no daily partition.*%Y-%m-%d"):
        ids_of(make_job(tmp_path, partitions=DAILY), "january")


def test_a_partition_without_files_names_the_nearest(tmp_path: Path) -> None:
    for day in range(1, 6):
        write(tmp_path / f"day=2026-01-0{day}" / "x.parquet", {"id": [1]})
    job = make_job(tmp_path, partitions=DAILY)
    with pytest.raises(
        DatasetError, match=r"'2026-01-09' has no files. The nearest are: 2026-01-0"
    ):
        ids_of(job, "2026-01-09")
    with pytest.raises(DatasetError, match=r"There are: 2026-01-01, .* and 2 more"):
        ids_of(job, "xyz")


def test_a_path_with_nothing_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path / "absent*.parquet"):
        with pytest.raises(DatasetError, match=r"absent.*nothing here"):
            ids_of(make_job(path))


def test_a_folder_without_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DatasetError, match="no Parquet file here"):
        ids_of(make_job(tmp_path))


def test_an_unknown_kind_of_url_is_named() -> None:
    with pytest.raises(DatasetError, match="nowhere://x: the dataset cannot be listed"):
        ids_of(make_job("nowhere://x"))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1]})
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match=r"b\.parquet: this Parquet file cannot be read"):
        ids_of(make_job(tmp_path))


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1], "text": ["a"]})
    with pytest.raises(DatasetError, match=r"dataset\.key names 'idd'.*mean 'id'.*id, text"):
        ids_of(make_job(tmp_path, key="idd"))
    with pytest.raises(DatasetError, match=r"dataset\.columns names 'zzz'.*id, text"):
        ids_of(make_job(tmp_path, columns=["zzz"]))
    with pytest.raises(DatasetError, match=r"partitions\.column names 'day'"):
        ids_of(make_job(tmp_path, partitions=DAILY))


def test_files_of_another_schema_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": ["1"], "text": ["t"]})
    write(tmp_path / "b.parquet", {"id": [[1]], "text": ["t"]})
    with connected() as con:
        with pytest.raises(DatasetError, match=r"b\.parquet: column 'id' is list.*string in.*a\."):
            build(con, make_job(tmp_path), tmp_path)
        write(tmp_path / "b.parquet", {"other": [1], "text": ["t"]})
        with pytest.raises(DatasetError, match=r"b\.parquet: there is no column 'id' in this file"):
            build(con, make_job(tmp_path), tmp_path)


def test_a_column_that_widens_between_files_is_read_as_each_has_it(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": pa.array([1], pa.int64())})
    write(tmp_path / "b.parquet", {"id": pa.array([2], pa.int32())})
    assert ids_of(make_job(tmp_path)) == [1, 2]


def test_a_column_that_is_empty_in_the_first_files_has_its_type_from_a_later_one(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.parquet", {"id": [1], "text": [None]})
    write(tmp_path / "b.parquet", {"id": [2]})
    write(tmp_path / "c.parquet", {"id": [3], "text": ["x"]})
    write(tmp_path / "d.parquet", {"id": [4], "text": [5]})
    assert ids_of(make_job(tmp_path)) == [1, 2, 3, 4]


def test_a_partition_of_no_rows_is_a_partition(tmp_path: Path) -> None:
    write(tmp_path / "day=2026-01-01" / "x.parquet", {"id": pa.array([], pa.int64())})
    assert ids_of(make_job(tmp_path, partitions=DAILY), "2026-01-01") == []
