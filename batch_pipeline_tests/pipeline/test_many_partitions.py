"""Small partitions are built and landed together, and come out as if each had been alone."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.errors import DatasetError, Throttled
from batch_pipeline.pipeline import building, landing
from batch_pipeline.pipeline.collecting import Stuck
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.crashing import Crasher, Place, crasher
from batch_pipeline_tests.world import DAYS, World, live, made, rows

FAULTS = {"rows": [{"becomes": "expired", "custom_id": "r-001*", "first_times": 1}]}
SIZES = dict(zip(DAYS, (4, 0, 7), strict=True))
LEDGER = "batch_pipeline.store.ledger:Ledger"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three days of different sizes, one of them empty, and a row that needs two attempts."""
    with made(tmp_path, days=DAYS, faults=FAULTS) as one:
        one.write_rows({day: rows(size) for day, size in SIZES.items()})
        yield one


def in_one_file(world: World, *, day: pa.DataType) -> None:
    """The same rows in one file, mixed up; a column tells the day."""
    every = [(name, row) for name, size in SIZES.items() for row in rows(size)]
    random.Random(7).shuffle(every)  # noqa: S311 - an order, and no secret
    days = pa.array([name for name, _ in every], pa.string())
    if not pa.types.is_string(day):
        days = days.cast(pa.date32()).cast(pa.timestamp("us")).cast(day)
    columns = {name: [row[name] for _, row in every] for name in ("id", "body")}
    folder = world.folder / "mixed"
    folder.mkdir()
    table = pa.table({**columns, "day": days})
    for number, start in enumerate(range(0, len(every), 6)):
        pq.write_table(table.slice(start, 6), folder / f"{number}.parquet", row_group_size=2)


def requests_of(world: World) -> dict[str, str]:
    return {name: said for name, said in world.digests().items() if name.startswith("requests/")}


def results_of(world: World) -> dict[str, str]:
    return {name: said for name, said in world.digests().items() if name.startswith("results/")}


def test_partitions_built_together_are_those_built_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.open() as shell:
        shell.build(DAYS)
    together = requests_of(world)
    monkeypatch.setattr(building, "BLOCK_ROWS", 1)
    world.settings = replace(world.settings, store=str(world.folder / "alone"))
    with world.open() as shell:
        assert {name: one.requests for name, one in shell.build(DAYS).items()} == SIZES
    assert requests_of(world) == together
    assert len(together) == 2 * len(DAYS)


@pytest.mark.parametrize("kind", [pa.string(), pa.date32(), pa.timestamp("us", "UTC")], ids=str)
def test_partitions_that_a_column_tells_are_read_together_as_each_alone(
    world: World, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one_file(world, day=kind)
    job = world.job(dataset={"path": str(world.folder / "mixed"), "key": "id"})
    names = [name for name, size in SIZES.items() if size]
    with world.open(job) as shell:
        assert shell.partitions() == names
        assert {n: one.requests for n, one in shell.build(names).items()} == {
            name: SIZES[name] for name in names
        }
    together = requests_of(world)
    world.settings = replace(world.settings, store=str(world.folder / "alone"))
    for name in names:
        with world.open(job) as shell:
            shell.build([name])
    assert requests_of(world) == together
    monkeypatch.setattr(building, "BLOCK_ROWS", 1)
    world.settings = replace(world.settings, store=str(world.folder / "one by one"))
    with world.open(job) as shell:
        shell.build(names)
    assert requests_of(world) == together


def test_a_day_that_no_row_is_of_has_no_rows(world: World) -> None:
    in_one_file(world, day=pa.date32())
    job = world.job(dataset={"path": str(world.folder / "mixed"), "key": "id"})
    with world.open(job) as shell:
        assert shell.build(["2026-01-02"])["2026-01-02"].requests == 0
        assert {n: one.requests for n, one in shell.build(DAYS).items()} == SIZES


def test_partitions_landed_together_are_those_landed_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {step for step, _ in world.run().values()} == {Step.DONE}
    together = results_of(world)
    assert len(together) == len(DAYS)
    assert [row["attempt"] for row in world.results(DAYS[2])] == [1, 2, 1, 1, 1, 1, 1]
    monkeypatch.setattr(landing, "BLOCK_ROWS", 1)
    with world.open() as shell:
        for name in DAYS:
            shell.results_file(name).unlink()
        assert set(shell.reparse(DAYS).landed) == set(DAYS)
    assert results_of(world) == together


def test_of_partitions_built_together_the_one_that_cannot_be_fails_alone(world: World) -> None:
    world.write_rows({DAYS[2]: [*rows(3), *rows(1)]})
    with world.open() as shell:
        built, unread = shell.build_each(DAYS)
        assert list(built) == list(DAYS[:2])
        assert list(unread) == [DAYS[2]]
        assert "'2026-01-03': the key 'id' is not unique" in str(unread[DAYS[2]])
        with pytest.raises(DatasetError, match="not unique"):
            shell.run(DAYS)
        assert [step for step, _ in shell.steps().values()] == [Step.DONE, Step.DONE, Step.UNSENT]


def test_of_partitions_landed_together_the_one_that_cannot_be_fails_alone(world: World) -> None:
    world.send()
    world.wait(60)
    taken = world.store.results_file("moods", DAYS[2]).parent
    taken.parent.mkdir(parents=True)
    taken.write_text("a file where a folder should be", encoding="utf-8")
    with world.open() as shell:
        shell.watch()
        with pytest.raises(Stuck, match=f"partition {DAYS[2]}: ") as caught:
            shell.collect(DAYS)
        assert set(caught.value.collected.landed) | set(caught.value.collected.waiting) == set(
            DAYS[:2]
        )
        taken.unlink()
        assert {step for step, _ in shell.follow(DAYS).values()} == {Step.DONE}
    assert world.sendings == {1, 2}


def test_a_partition_that_somebody_else_lands_is_waited_for_with_its_neighbours(
    world: World,
) -> None:
    world.send()
    world.wait(60)
    with world.open() as shell, world.open() as other:
        shell.watch()
        counts = shell.records.ledger.partition(shell.job.name, DAYS[0])
        name = landing._lease(counts)
        with other.runtime.lease(name, seconds=900), pytest.raises(Throttled, match="another run"):
            shell.collect(DAYS)
        assert not any(path.exists() for path in map(shell.results_file, DAYS))
        assert set(shell.collect(DAYS).landed) == set(DAYS)


@pytest.fixture(scope="module")
def killer() -> Iterator[Crasher]:
    with crasher() as started:
        yield started


@pytest.mark.parametrize(
    "place",
    [
        (f"{LEDGER}.landed", "before", 1),
        ("batch_pipeline.stages.results.land:write_groups", "after", 2),
        ("batch_pipeline.pipeline.building:_swap", "after", 2),
        (f"{LEDGER}.built", "before", 1),
    ],
    ids=["landed, untold", "half landed", "half replaced", "built, untold"],
)
def test_a_process_killed_among_many_partitions_loses_and_pays_nothing(
    place: Place, killer: Crasher, tmp_path: Path
) -> None:
    with live(tmp_path) as world:
        world.write_rows({day: rows(3) for day in DAYS})
        ended = killer.run(place, ["run", str(world.job_file()), "--json"], world.whole_env)
        assert ended == -signal.SIGKILL
        assert {step for step, _ in world.run().values()} == {Step.DONE}
        for day in DAYS:
            assert list(world.became(day).values()) == ["succeeded"] * 3
        assert world.sendings == {1}


def test_processes_that_land_overlapping_partitions_at_once_land_each_whole(
    tmp_path: Path,
) -> None:
    never: Place = (f"{LEDGER}.landed", "before", 99)
    with live(tmp_path) as world, ExitStack() as stack:
        world.write_rows({day: rows(3) for day in DAYS})
        racers = [stack.enter_context(crasher()) for _ in range(2)]
        spans = (["--to", DAYS[1]], ["--from", DAYS[1]])
        file = str(world.job_file())
        with ThreadPoolExecutor(len(racers)) as threads:
            codes = list(
                threads.map(
                    lambda racer, span: racer.run(
                        never, ["run", file, "--json", *span], world.whole_env
                    ),
                    racers,
                    spans,
                )
            )
        assert codes == [0, 0]
        assert world.sendings == {1}
        for day in DAYS:
            assert list(world.became(day).values()) == ["succeeded"] * 3
