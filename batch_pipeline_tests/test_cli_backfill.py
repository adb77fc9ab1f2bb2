"""`batch-pipeline backfill`: one submission of many partitions, and who does the rest."""

from __future__ import annotations

from batch_pipeline.pipeline.asking import Wish
from batch_pipeline_tests.test_cli import Type, typed, world
from batch_pipeline_tests.world import DAYS, World, rows

__all__ = ["typed", "world"]  # fixtures


def written(world: World) -> None:
    world.write_rows({day: rows(5, prefix=day[-2:]) for day in DAYS})


def test_all_partitions_are_one_batch_and_what_is_still_to_come_is_said(
    world: World, typed: Type
) -> None:
    written(world)
    done = typed("backfill", "JOB")
    assert done.code == 0
    assert "3 partitions: 15 requests are at the provider in 1 batch." in done.out
    assert "Still to come" in done.out
    assert "`batch-pipeline run moods`" in done.out
    assert len(world.batches) == 1
    assert typed("run", "JOB").code == 0
    again = typed("backfill", "JOB", "--from", DAYS[1])
    assert "2 of them are finished; nothing of these was sent again." in again.out
    assert "Still to come" not in again.out
    assert world.sendings == {1}


def test_a_partition_that_cannot_be_read_is_told_and_the_others_are_sent(
    world: World, typed: Type
) -> None:
    written(world)
    world.write_rows({DAYS[1]: [*rows(3), *rows(1)]})
    done = typed("backfill", "JOB", "-p", DAYS[0], "-p", DAYS[1])
    assert (done.code, len(world.batches)) == (2, 1)
    assert "not sent 2026-01-02: " in done.out
    assert "the key 'id' is not unique" in done.err
    told = typed("status", "JOB", "--json").document["partitions"]
    assert [told[day]["step"] for day in DAYS[:2]] == ["wait", "unsent"]
    assert "not unique" in told[DAYS[1]]["unread"]


def test_status_says_what_was_asked_for_and_is_not_there(world: World, typed: Type) -> None:
    written(world)
    with world.open() as shell:
        shell.ask(DAYS, Wish(), run_id="killed")
    status = typed("status", "JOB")
    assert "asked for, not sent yet: 2026-01-01 … 2026-01-03 (3)" in status.out
    assert "never built" in typed("retry", "JOB", "-p", DAYS[0]).err
    assert "no partition was built yet" in typed("report", "JOB").err
    assert typed("cancel", "JOB").code == 0
    assert "asked for" not in typed("status", "JOB").out
