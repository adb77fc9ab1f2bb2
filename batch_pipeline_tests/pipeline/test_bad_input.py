"""Bad input is refused with one clear message, before anything is sent or written elsewhere."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.cli.selection import select
from batch_pipeline.errors import BatchPipelineError, DatasetError, StoreError, UsageError
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.world import DAYS, World, rows

DAY = DAYS[0]


@contextmanager
def refused(world: World, *words: str, kind: type[BatchPipelineError]) -> Iterator[None]:
    """The block raises *kind*, its message holds *words*, and nothing was sent."""
    with pytest.raises(kind) as caught:
        yield
    for word in words:
        assert word in str(caught.value)
    assert not world.sim.log()


def test_a_template_that_names_no_column_lists_those_there_are(world: World) -> None:
    with refused(world, "'bdy'", "body", "id", kind=UsageError):
        world.run(world.job(request={"prompt": "How is it? {{ bdy }}"}))
    with world.open() as shell:
        assert shell.steps() == {}


@pytest.mark.parametrize(
    ("second", "words"), [("a", ["not unique", "'a'"]), (None, ["is null in row 2"])]
)
def test_a_key_that_names_no_single_row_is_refused(
    world: World, second: str | None, words: list[str]
) -> None:
    world.write_rows({DAY: [{"id": "a", "body": "1"}, {"id": second, "body": "2"}]})
    with refused(world, *words, "dataset.key", kind=DatasetError):
        world.run()
    assert not [path for path in world.digests() if path.startswith("requests")]


def test_a_bad_dataset_leaves_the_requests_of_before_as_they_were(world: World) -> None:
    world.run()
    before = world.digests()
    world.write_rows({DAY: [{"id": "a", "body": "1"}] * 2})
    with pytest.raises(DatasetError):
        world.run()
    assert world.digests() == before


def test_a_partition_without_files_is_refused(world: World) -> None:
    with refused(world, "'2026-01-09' has no files", kind=DatasetError), world.open() as shell:
        shell.run(["2026-01-09"])


def test_an_empty_partition_is_an_empty_result_and_sends_nothing(world: World) -> None:
    world.write_rows({DAY: []})
    step, summary = world.run()[DAY]
    assert (step, summary.counts.requests, world.results()) == (Step.DONE, 0, [])
    assert not world.batches


def test_a_file_that_is_no_parquet_is_named(world: World) -> None:
    path = world.folder / "rows" / f"day={DAY}" / "part-0.parquet"
    path.write_bytes(b"PAR1 is not enough PAR1")
    with refused(world, str(path), "cannot be read", kind=DatasetError):
        world.run()


def test_a_line_over_the_limit_is_rejected_with_its_size_and_the_others_go(world: World) -> None:
    world.write_rows({DAY: [*rows(2), {"id": "long", "body": "x" * 3000}]})
    step, _ = world.run(world.job(shard={"max_bytes": 2000}))[DAY]
    assert step is Step.DONE
    assert list(world.became().values()) == ["succeeded", "succeeded", "rejected"]
    message = world.results()[2]["error_message"]
    assert message == "line of 3,466 bytes is over the limit of 2,000"
    assert world.results()[2]["cost_usd"] is None


def test_only_rows_over_the_limit_land_without_a_call(world: World) -> None:
    step, summary = world.run(world.job(shard={"max_bytes": 20}))[DAY]
    assert (step, summary.counts.failed) == (Step.DONE, 5)
    assert set(world.became().values()) == {"rejected"}
    assert not world.sim.log()


def open_at(world: World, store: str, ledger: str | None = None) -> Pipeline:
    settings = replace(world.settings, store=store, ledger_url=ledger)
    return Pipeline.open(world.job(), env=world.env, settings=settings, now=world.now)


def test_a_store_that_is_a_file_is_refused(world: World) -> None:
    path = world.folder / "in the way"
    path.write_text("")
    with refused(world, str(path), "BATCH_PIPELINE_STORE", kind=StoreError):
        open_at(world, str(path))


def test_a_ledger_that_is_no_database_is_refused(world: World) -> None:
    path = world.folder / "ledger.db"
    path.write_bytes(b"this is no database, and it is long enough to be seen as none" * 40)
    with refused(world, str(path), "BATCH_PIPELINE_LEDGER_URL", kind=StoreError):
        open_at(world, world.settings.store, f"sqlite:///{path}")


def test_a_store_that_becomes_unwritable_is_an_error_and_no_loss(world: World) -> None:
    world.send()
    world.wait(30)
    raw = world.store.root / "raw"
    raw.write_text("in the way")
    with world.open() as shell, pytest.raises(StoreError, match="Nothing is lost"):
        shell.follow([DAY])
    raw.unlink()
    assert world.run()[DAY][0] is Step.DONE
    assert len(world.batches) == 1


def static(world: World, *names: str) -> BatchJob:
    """A job cut by a text column whose values are *names*."""
    table = pa.table({"id": [f"k{n}" for n in range(len(names))], "region": names})
    pq.write_table(table, world.folder / "regions.parquet")
    return world.job(
        dataset={"path": str(world.folder / "regions.parquet"), "key": "id"},
        partitions={"kind": "static", "column": "region", "values": list(names)},
        request={"prompt": "Where? {{ region }}"},
    )


def test_partitions_with_path_characters_stay_inside_the_store(world: World) -> None:
    names = ["a/b", "..", "../../up", "50% & ü", "a=b", "."]
    job = static(world, *names)
    steps = world.run(job)
    assert {name: step for name, (step, _) in steps.items()} == dict.fromkeys(names, Step.DONE)
    for name in names:
        assert [row["status"] for row in world.results(name)] == ["succeeded"]
    assert world.sendings == {1}
    assert {path.name for path in world.folder.iterdir()} == {"rows", "regions.parquet", "store"}
    with world.open(job) as shell:
        assert shell.reports(names).keys() == set(names)


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_a_partition_that_no_folder_can_carry_is_refused(world: World, name: str) -> None:
    with refused(world, "folder", kind=UsageError):
        world.run(static(world, name))


def test_what_was_never_built_is_refused_and_leaves_no_trace(world: World) -> None:
    with world.open() as shell:
        for verb in (shell.resend, shell.submit):
            with pytest.raises(UsageError, match="has no request table yet"):
                verb([DAY])
        with pytest.raises(UsageError, match="was never built"):
            shell.collect([DAY])
        with pytest.raises(UsageError, match="was never built"):
            select(shell, [DAY], built=True)
        assert shell.steps() == {}
        assert shell.report([DAY]).lines == ()


def test_the_files_of_the_store_are_private_to_nobody_else_than_the_umask_says(
    world: World,
) -> None:
    world.run()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path(world.settings.store).rglob("*.p*")}
    assert all(mode & 0o600 == 0o600 for mode in modes)


def test_a_file_that_cannot_be_read_fails_its_own_day_and_the_others_run(world: World) -> None:
    world.write_rows({day: [{"id": day, "body": "fine"}] for day in DAYS})
    path = world.folder / "rows" / f"day={DAYS[0]}" / "part-0.parquet"
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        world.run()
    assert str(path) in str(caught.value)
    with world.open() as shell:
        steps = shell.steps()
    unsent, *others = ((step, summary) for step, summary in steps.values())
    assert [step for step, _ in others] == [Step.DONE, Step.DONE]
    assert unsent[0] is Step.UNSENT
    assert [str(path) in str(one.problem) for one in unsent[1].asked] == [True]
