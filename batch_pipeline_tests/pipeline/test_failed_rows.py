"""Which rows failed, and what is said of a retry: as the retry itself then does."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch_pipeline.errors import UsageError
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.failed_rows import Failures
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.again import OnRetry
from batch_pipeline.stages.results.failed_rows import FAILED_ROWS
from batch_pipeline.stages.shards.cut import Only
from batch_pipeline_tests.world import DAYS, World, made, rows

ONE, TWO, THREE = DAYS
FAULTS = {
    "rows": [
        {"becomes": "refused", "regex": "r-000-"},
        {"becomes": "truncated", "regex": "r-001-", "first_times": 1},
        {"becomes": "expired", "regex": "r-002-", "first_times": 2},
        {"becomes": "error", "status": 400, "regex": "r-003-"},
    ]
}
RETRY = {"kinds": ["expired"], "max_attempts": 2}


@pytest.fixture
def job(world: World) -> BatchJob:
    """A job of which a row is refused, one truncated, one expires twice, one is rejected."""
    world.sim.faults(FAULTS)
    return world.job(retry=RETRY)


def collected(world: World, shell: Pipeline, *partitions: str, run_id: str) -> None:
    """One round: what may be sent is, and what comes back is landed."""
    shell.build(partitions)
    shell.submit(partitions, run_id=run_id)
    world.wait(60)
    shell.watch()
    shell.collect(partitions)


def said(found: Failures, day: str = ONE) -> dict[str, OnRetry]:
    return {row.key: row.on_retry for row in found.partitions[day].first}


def test_each_failed_row_says_what_becomes_of_it(world: World, job: BatchJob) -> None:
    with world.open(job) as shell:
        collected(world, shell, ONE, run_id="first")
        found = shell.failed_rows([ONE])
        assert said(found) == {
            "r/000": OnRetry.KIND,
            "r/001": OnRetry.KIND,
            "r/002": OnRetry.AGAIN,
            "r/003": OnRetry.REJECTED,
        }
        collected(world, shell, ONE, run_id="second")
        found = shell.failed_rows([ONE])
        assert said(found)["r/002"] is OnRetry.ATTEMPTS
    (row,) = [row for row in found.whole.first if row.key == "r/002"]
    assert (row.partition, row.failure, row.attempt, row.run_id) == (ONE, "expired", 2, "second")
    assert row.batch_id is not None
    assert found.whole.by_kind == {"expired": 1, "refused": 1, "rejected": 1, "truncated": 1}


def test_what_is_said_to_go_again_is_what_a_submit_sends(world: World, job: BatchJob) -> None:
    with world.open(job) as shell:
        collected(world, shell, ONE, TWO, run_id="first")
        going = shell.failed_rows([ONE, TWO]).whole.by_next[OnRetry.AGAIN]
        sent = shell.submit([ONE, TWO], run_id="second", by_itself=True)
        assert sent.requests == going == 2
        assert said(shell.failed_rows([ONE]))["r/002"] is OnRetry.ON_ITS_WAY


def test_all_failed_rows_of_a_partition_are_in_its_file_until_none_is_left(
    world: World, job: BatchJob
) -> None:
    with world.open(job) as shell:
        collected(world, shell, ONE, TWO, run_id="first")
        found = shell.failed_rows([ONE, TWO, THREE])
        assert set(found.files) == {ONE, TWO}
        table = pq.ParquetFile(found.files[ONE]).read()
        assert table.schema.equals(FAILED_ROWS)
        assert table["key"].to_pylist() == [row.key for row in found.partitions[ONE].first]
        world.sim.faults(None)
        kinds = tuple(found.whole.by_kind)
        shell.resend([ONE], run_id="mend", only=Only(kinds=kinds))
        world.wait(60)
        shell.watch()
        shell.collect([ONE])
        again = shell.failed_rows([ONE])
    assert not again.whole.total
    assert not again.files
    assert not found.files[ONE].exists()
    assert found.files[TWO].exists()


def test_a_run_tells_what_failed_of_what_it_had_sent_and_what_became_of_it(
    world: World, job: BatchJob
) -> None:
    with world.open(job) as shell:
        collected(world, shell, ONE, run_id="first")
        collected(world, shell, TWO, run_id="other")
        shell.resend([ONE], run_id="mend", only=Only(kinds=("truncated",)))
        world.wait(60)
        shell.watch()
        shell.collect([ONE])
        found = shell.failed_in_run("first")
        assert found.sent == 5
        assert set(found.partitions) == {ONE}
        assert said(found) == {
            "r/000": OnRetry.KIND,
            "r/001": OnRetry.ANSWERED,
            "r/002": OnRetry.AGAIN,
            "r/003": OnRetry.REJECTED,
        }
        assert found.file is not None
        assert pq.ParquetFile(found.file).read().num_rows == 4
        assert found.whole.to_send == 3
        assert shell.failed_in_run("mend").whole.total == 0


def test_what_a_run_had_collected_can_be_sent_again_by_its_name(
    world: World, job: BatchJob
) -> None:
    with world.open(job) as shell:
        days = [ONE, TWO]
        shell.build(days)
        shell.submit([ONE], run_id="one")
        shell.submit([TWO], run_id="two")
        world.wait(60)
        shell.watch()
        first = shell.collect(days)
        shell.failed_in_run("collector", first.shards)
        assert shell.failed_in_run("collector").whole.total == 8
        world.sim.faults(None)
        sent = shell.resend(days, run_id="mend", only=Only(run_id="collector"))
        assert sent.requests == 8
        world.wait(60)
        shell.watch()
        shell.collect(days)
        again = shell.resend(days, run_id="again", only=Only(run_id="collector"))
        assert again.requests == 0
        with pytest.raises(UsageError, match="no run 'nobody' sent anything"):
            shell.failed_in_run("nobody")


def test_a_row_that_has_changed_since_is_said_to_be_another_one(
    world: World, job: BatchJob
) -> None:
    with world.open(job) as shell:
        collected(world, shell, ONE, run_id="first")
        changed = [{**row, "body": "Now it is bad"} for row in rows(5)]
        world.write_rows({ONE: changed})
        shell.build([ONE])
        assert set(said(shell.failed_in_run("first")).values()) == {OnRetry.CHANGED}
        assert not shell.failed_rows([ONE]).whole.total


def test_a_hold_keeps_what_would_go_again(world: World, job: BatchJob) -> None:
    with world.open(job) as shell:
        collected(world, shell, ONE, run_id="first")
        shell.cancel([ONE])
        assert said(shell.failed_rows([ONE]))["r/002"] is OnRetry.HELD


def test_a_row_that_was_rejected_before_sending_cannot_be_sent(world: World) -> None:
    world.write_rows({ONE: [{"id": "long", "body": "x" * 3000}, {"id": "ok", "body": "good"}]})
    with world.open(world.job(shard={"max_bytes": 2000})) as shell:
        collected(world, shell, ONE, run_id="first")
        found = shell.failed_rows([ONE])
    assert said(found) == {"long": OnRetry.NO_LINE}
    assert found.whole.to_send == 0
    assert found.whole.retry_cost is None
    assert found.whole.unpriced == 0
    assert "2,000" in str(found.whole.first[0].error_message)


def test_a_retry_is_priced_by_what_the_rows_cost_last_else_by_their_neighbours(
    world: World, job: BatchJob
) -> None:
    with world.open(job) as shell:
        collected(world, shell, ONE, run_id="first")
        whole = shell.failed_rows([ONE]).whole
        by_key = {row["id"]: row["cost_usd"] for row in world.results(ONE)}
    mean = by_key["r/004"]  # the only answered one
    told = [by_key[key] for key in ("r/000", "r/001")]
    assert None not in told
    assert whole.unpriced == 0
    assert whole.retry_cost == sum(told, Decimal(0)) + 2 * mean


def test_without_a_price_the_cost_of_a_retry_is_unknown(world: World) -> None:
    world.sim.faults(FAULTS)
    targets = [{"provider": "openai", "model": "ft:gpt-4.1-nano:of-nobody-we-know"}]
    with world.open(world.job(retry=RETRY, targets=targets)) as shell:
        collected(world, shell, ONE, run_id="first")
        whole = shell.failed_rows([ONE]).whole
    assert whole.retry_cost is None
    assert whole.unpriced == 4


def test_the_first_rows_are_shown_and_all_are_in_the_file(
    tmp_path: Path,
) -> None:
    faults = {"rows": [{"becomes": "error", "status": 400, "regex": "."}]}
    with (
        made(tmp_path, faults=faults, per_day=60, days=[ONE]) as world,
        world.open(world.job()) as shell,
    ):
        collected(world, shell, ONE, run_id="first")
        found = shell.failed_rows([ONE])
    assert found.whole.total == 60
    assert len(found.whole.first) == 50
    assert pq.ParquetFile(found.files[ONE]).read().num_rows == 60


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three days of five rows."""
    with made(tmp_path) as one:
        yield one
