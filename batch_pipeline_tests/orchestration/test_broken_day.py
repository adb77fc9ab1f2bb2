"""A day of a range whose data cannot be read: the others are built, sent and landed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.orchestration.checks import READ
from batch_pipeline.orchestration.partitions import range_tags
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.orchestration.test_surfacing import described
from batch_pipeline_tests.world import DAYS, World, rows

FIRST, BROKEN, LAST = DAYS
GOOD = {FIRST, LAST}


def empty(file: Path) -> None:
    file.write_bytes(b"")


def no_parquet(file: Path) -> None:
    file.write_bytes(b"PAR1 and no more")


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def repeated_key(file: Path) -> None:
    pq.write_table(pa.table({"id": ["a", "a"], "body": ["x", "y"]}), file)


def null_key(file: Path) -> None:
    pq.write_table(pa.table({"id": ["a", None], "body": ["x", "y"]}), file)


def no_column(file: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "other": ["x"]}), file)


def two_types(file: Path) -> None:
    pq.write_table(pa.table({"id": ["b"], "body": [[1, 2]]}), file.with_name("part-1.parquet"))


def broken(world: World, day: str, how: Callable[[Path], None] = empty) -> None:
    how(world.folder / "rows" / f"day={day}" / "part-0.parquet")


def built_then_broken(place: Location) -> None:
    with place.world.open(place.job) as shell:
        shell.build(DAYS)
    broken(place.world, BROKEN)


def verdicts(place: Location) -> dict[str | None, bool]:
    return {name: one.passed for name, one in place.evaluations("requests", READ).items()}


def watched(place: Location, *days: str) -> None:
    """Ticks until these days are done."""
    for _ in range(20):
        if all(place.steps()[day] is Step.DONE for day in days):
            return
        place.tick()
        place.world.wait(10)
    pytest.fail(f"not done: {place.steps()}")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (empty, "day=2026-01-02/part-0.parquet: this Parquet file cannot be read"),
        (no_parquet, "day=2026-01-02/part-0.parquet: this Parquet file cannot be read"),
        (cut_short, "day=2026-01-02/part-0.parquet: this Parquet file cannot be read"),
        (repeated_key, "partition '2026-01-02': the key 'id'"),
        (null_key, "partition '2026-01-02': the key 'id'"),
        (no_column, "no column 'body'"),
        (two_types, "day=2026-01-02/part-1.parquet: column 'body' is list"),
    ],
)
def test_a_day_that_cannot_be_read_stops_no_other_day_of_its_range(
    place: Location, how: Callable[[Path], None], said: str
) -> None:
    broken(place.world, BROKEN, how)
    done = place.submit(*DAYS)
    why, metadata = described(done, "batches")
    assert why.startswith("1 partition was not sent, for the data cannot be read; the others were.")
    assert said in why
    assert metadata["kind"] == "DatasetError"
    assert place.landed("requests") == place.landed("batches") == GOOD
    assert verdicts(place) == {FIRST: True, BROKEN: False, LAST: True}
    assert said in str(place.evaluations("requests", READ)[BROKEN].description)
    watched(place, *GOOD)
    assert place.landed("results") == place.landed("cost_report") == GOOD
    assert place.creates() == 1


def test_a_mended_day_goes_out_and_no_other_row_again(place: Location) -> None:
    broken(place.world, BROKEN)
    place.submit(*DAYS)
    watched(place, *GOOD)
    place.world.write_rows({BROKEN: rows(5)})
    assert place.submit(*DAYS).success
    assert place.metadata("batches", BROKEN)["sent_now"] == 5
    assert place.metadata("batches", FIRST)["sent_now"] == 0
    assert verdicts(place) == dict.fromkeys(DAYS, True)
    watched(place, *DAYS)
    assert place.landed("results") == set(DAYS)


def test_what_was_built_of_a_day_before_it_broke_is_not_sent_by_that_run(place: Location) -> None:
    built_then_broken(place)
    assert not place.submit(*DAYS).success
    assert place.steps() == {FIRST: Step.WAIT, BROKEN: Step.UNSENT, LAST: Step.WAIT}


def test_nor_by_runs_that_go_on_from_where_it_failed(place: Location) -> None:
    built_then_broken(place)
    done = place.submit(*DAYS)
    for _ in range(2):
        done = place.dagster.execute(
            "moods_submit",
            tags={**range_tags(FIRST, LAST), "dagster/parent_run_id": done.run_id},
            asset_selection=[place.key("batches")],
        )
        assert "1 partition was not sent" in described(done, "batches")[0]
    assert place.steps()[BROKEN] is Step.UNSENT


@pytest.mark.parametrize("days", [DAYS, DAYS[:1]])
def test_with_no_day_that_can_be_read_nothing_is_built_and_every_check_is_red(
    place: Location, days: tuple[str, ...]
) -> None:
    for day in days:
        broken(place.world, day)
    done = place.submit(*days)
    why, _ = described(done, "requests")
    assert all(f"day={day}/part-0.parquet" in why for day in days)
    assert place.landed("requests") == set()
    assert verdicts(place) == dict.fromkeys(days, False)
    assert place.creates() == 0


def test_an_unpartitioned_dataset_that_cannot_be_read_is_a_red_check_too(world: World) -> None:
    data = {"path": str(world.folder / "rows" / f"day={FIRST}"), "key": "id"}
    with location(world, partitions={"kind": "none"}, dataset=data) as place:
        assert place.dagster.submit("moods").success
        assert verdicts(place) == {None: True}
        broken(world, FIRST)
        assert not place.dagster.submit("moods").success
        assert verdicts(place) == {None: False}


def test_materializing_every_asset_over_a_broken_day_sends_the_others(place: Location) -> None:
    broken(place.world, BROKEN)
    everything = place.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=place.instance, tags=range_tags(FIRST, LAST), raise_on_error=False
    )
    assert not everything.success
    assert place.landed("batches") == GOOD
    watched(place, *GOOD)
    assert place.landed("cost_report") == GOOD
