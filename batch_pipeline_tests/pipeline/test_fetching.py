"""What comes in place of a result file, and what is lost from the store: nothing is paid again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from batch_pipeline.errors import ProviderError, StoreError, Unreadable
from batch_pipeline.model import ShardState
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.shards.cut import Only
from batch_pipeline_tests.pipeline.conftest import DAY
from batch_pipeline_tests.providers.recording import recording
from batch_pipeline_tests.world import World, every_provider, rows

TARGETS = {
    "openai": {"provider": "openai", "model": "gpt-4.1-nano"},
    "anthropic": {"provider": "anthropic", "model": "claude-haiku-4-5"},
    "mistral": {"provider": "mistral", "model": "mistral-small-2603"},
}
PAGE: Mapping[str, Any] = {"do": "page", "operation": "content"}
EMPTY: Mapping[str, Any] = {"do": "shorten", "operation": "content", "lines": 0}
SHORT: Mapping[str, Any] = {"do": "shorten", "operation": "content", "lines": 3}


@pytest.fixture(params=TARGETS)
def job(request: pytest.FixtureRequest, world: World) -> BatchJob:
    """The same job at each provider."""
    world.env.update(every_provider(world.sim))
    return world.job(targets=[TARGETS[request.param]])


def raw(world: World) -> list[Path]:
    """Everything that came in place of result files."""
    return sorted(path for path in (world.store.root / "raw").rglob("*") if path.is_file())


@pytest.mark.parametrize("fault", [PAGE, EMPTY, SHORT], ids=["a page", "nothing", "a part"])
def test_what_is_not_the_whole_file_is_fetched_again_and_never_paid_again(
    world: World, job: BatchJob, fault: Mapping[str, Any]
) -> None:
    world.sim.faults({"calls": [{**fault, "times": 3}]})
    assert world.run(job)[DAY][0] is Step.DONE
    assert set(world.became().values()) == {"succeeded"}
    assert world.sendings == {1}
    assert len(world.batches) == 1
    assert len(world.outcomes()) == 5


def test_a_cut_file_is_kept_aside_once_and_its_shard_says_when_it_is_fetched_again(
    world: World,
) -> None:
    job = world.job()
    world.send(job)
    world.wait(60)
    world.sim.faults({"calls": [SHORT]})
    with world.open(job) as shell:
        shell.watch()
        calls = len(world.sim.log("content"))
        for _ in range(3):  # asked again at once, it is not fetched again at once
            shell.collect([DAY])
        assert len(world.sim.log("content")) == calls + 1
        [shard] = shell.shards()
        assert shard.state is ShardState.ENDED
        assert "3 of 5 lines came" in str(shard.message)
        assert shell.steps()[DAY][0] is Step.WAIT
        world.wait(31)
        assert shell.steps()[DAY][0] is Step.COLLECT
        shell.collect([DAY])
        [cut] = raw(world)
        assert cut.name.endswith(".output.jsonl.cut-1")
        world.sim.faults(None)
        assert shell.run([DAY])[DAY][0] is Step.DONE
        [shard] = shell.shards()
        assert (shard.message, shard.not_before) == (None, None)
    assert [path.name for path in raw(world)] == [cut.name.removesuffix(".cut-1"), cut.name]
    assert world.sendings == {1}


def test_a_file_that_stays_cut_is_landed_in_part_and_no_row_of_it_is_paid_again_by_itself(
    world: World, job: BatchJob
) -> None:
    world.sim.faults({"calls": [SHORT]})
    began = world.at
    step, summary = world.run(job)[DAY]
    assert (step, summary.counts.retryable) == (Step.DONE, 0)
    assert 12 * 3600 <= (world.at - began).total_seconds() < 14 * 3600
    assert len(world.sim.log("content")) < 30
    kinds = [row["failure"] for row in world.results()]
    assert sorted(kinds, key=str) == [None] * 3 + ["missing"] * 2
    assert {row["error_code"] for row in world.results()} == {None, "file_cut"}
    with world.open(job) as shell:
        [shard] = shell.shards()
        assert "`run` fetches the file again" in str(shard.message)
        assert shell.run([DAY])[DAY][0] is Step.DONE  # again in vain, and again for free
        assert world.sendings == {1}
        world.sim.faults(None)
        assert shell.run([DAY])[DAY][1].counts.succeeded == 5
        assert shell.shards()[0].message is None
    assert set(world.became().values()) == {"succeeded"}
    assert world.sendings == {1}


def test_a_person_may_pay_again_for_the_rows_of_a_cut_file(world: World) -> None:
    world.sim.faults({"calls": [SHORT]})
    world.run()
    with world.open() as shell:
        ids = [row["custom_id"] for row in world.results() if row["failure"]]
        assert shell.resend([DAY], only=Only(custom_ids=tuple(ids))).requests == 2
        world.sim.faults(None)
        assert shell.follow([DAY])[DAY][0] is Step.DONE
    assert set(world.became().values()) == {"succeeded"}


def test_a_part_that_an_older_version_took_for_the_answers_is_mended_before_anything_is_sent(
    world: World, job: BatchJob
) -> None:
    world.run(job)
    before = world.results()
    path = next(one for one in raw(world) if ".output." in one.name)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    with world.open(job) as shell:
        outcomes_as_they_were_made_then(world, job)
        assert shell.submit([DAY]).requests == 0
        assert shell.run([DAY])[DAY][1].counts.succeeded == 5
    assert world.results() == before
    assert world.sendings == {1}


def outcomes_as_they_were_made_then(world: World, job: BatchJob) -> None:
    """Three rows missing, without a word about the file."""
    [path] = (world.store.root / "outcomes" / "moods").glob("*.parquet")
    table = pq.read_table(path)
    said = table.to_pylist()
    for row in said[2:]:
        row.update(status="failed", failure="missing", error_code=None, text=None, output=None)
    pq.write_table(table.from_pylist(said, schema=table.schema), path)
    with world.open(job) as shell:
        shell.records.ledger.cuts.read(
            shell.shards()[0], succeeded=2, failed=3, left=None, now=world.now()
        )
        shell.collect([DAY])
        assert shell.steps()[DAY][1].counts.retryable == 3


def test_results_outcomes_and_raw_answers_that_are_gone_are_made_again_for_nothing(
    world: World, job: BatchJob
) -> None:
    world.run(job)
    with world.open(job) as shell:
        shell.reports([DAY])
    before = world.digests()
    lost: tuple[tuple[str, ...], ...] = (
        ("results",),
        ("outcomes",),
        ("results", "outcomes", "reports"),
        ("results", "outcomes", "raw"),
    )
    for folders in lost:
        for folder in folders:
            shutil.rmtree(world.store.root / folder)
        with world.open(job) as shell:
            assert shell.run([DAY])[DAY][0] is Step.DONE
            shell.reports([DAY])
        assert world.digests() == before, folders
    assert world.sendings == {1}


def test_results_that_are_gone_are_due_for_the_watch_and_made_for_a_report(world: World) -> None:
    world.run()
    before = world.results()
    path = world.store.results_file("moods", DAY)
    for make in ("watch", "collect", "report"):
        path.unlink()
        with world.open() as shell:
            if make == "watch":
                assert shell.steps()[DAY][0] is Step.COLLECT
                shell.follow([DAY])
            elif make == "collect":
                assert list(shell.collect([DAY]).landed) == [DAY]
            else:
                assert shell.report([DAY]).total.requests == 5
            assert shell.steps()[DAY][0] is Step.DONE
        assert world.results() == before


def test_answers_that_are_gone_here_and_there_are_named_and_not_paid_again(world: World) -> None:
    world.run()
    for folder in ("outcomes", "raw", "results"):
        shutil.rmtree(world.store.root / folder)
    world.sim.faults({"calls": [{"do": "fail", "operation": "content", "status": 404}]})
    with world.open() as shell:
        with pytest.raises(StoreError, match=r"5 answered requests are lost here.*backup"):
            shell.run([DAY])
        world.sim.faults(None)
        shell.run([DAY])
    assert set(world.became().values()) == {"succeeded"}
    assert world.sendings == {1}


def test_reparse_asks_the_provider_for_raw_answers_only_when_told_to(world: World) -> None:
    world.run()
    before = world.digests()
    shutil.rmtree(world.store.root / "raw")
    with world.open() as shell:
        with pytest.raises(StoreError, match="reparse --fetch"):
            shell.reparse([DAY])
        shell.reparse([DAY], fetch=True)
    assert world.digests() == before


def test_a_redirected_download_is_an_error_that_names_where_to_and_loses_nothing(
    world: World, job: BatchJob
) -> None:
    world.send(job)
    world.wait(60)
    moved = {"do": "redirect", "operation": "content", "to": "http://localhost:9", "times": 1}
    world.sim.faults({"calls": [moved]})
    with world.open(job) as shell:
        shell.watch()
        with pytest.raises(ProviderError, match=r"redirect to http://localhost:9/\S+, and no"):
            shell.collect([DAY])
        assert [shard.state for shard in shell.shards()] == [ShardState.ENDED]
        assert shell.run([DAY])[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_a_batch_that_counts_answers_and_names_no_file_is_asked_again_before_any_row_is(
    world: World,
) -> None:
    world.sim.faults({"batches": [{"do": "late_results", "seconds": 4000}]})
    assert world.run()[DAY][0] is Step.DONE
    assert set(world.became().values()) == {"succeeded"}
    assert world.sendings == {1}


def test_one_cut_file_holds_up_no_other_shard(world: World) -> None:
    world.write_rows({DAY: rows(6)})
    job = world.job(shard={"max_requests": 3})
    world.send(job)
    world.wait(60)
    with world.open(job) as shell:
        shell.watch()
        first = shell.shards(states=[ShardState.ENDED])[0].remote
        assert first is not None
        world.sim.faults({"calls": [{**SHORT, "lines": 1, "id": first.output_file_id}]})
        assert len(shell.collect([DAY]).shards) == 1
        world.sim.faults(None)
        assert shell.run([DAY])[DAY][1].counts.succeeded == 6
    assert world.sendings == {1}


def test_strangers_of_odd_shape_blind_no_look_and_are_counted(world: World) -> None:
    job = world.job()
    world.sim.faults({"calls": [{"do": "strangers", "operation": "list"}]})
    world.send(job)
    with world.open(job) as shell:
        seen = shell.watch()
        assert (seen.looked, seen.odd) == (True, 2)
        assert shell.run([DAY])[DAY][0] is Step.DONE
    assert world.sendings == {1}


def test_one_batch_of_ours_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    world.write_rows({DAY: rows(2)})
    job = world.job(shard={"max_requests": 1})
    made = {"created_at": int(world.at.timestamp()), "status": "validating"}
    a, b = {**made, "id": "batch_a"}, {**made, "id": "batch_b"}
    done = {**b, "status": "completed", "output_file_id": "file-b"}
    answers = {
        "POST /v1/files": [b'{"id":"file-1"}'],
        "POST /v1/batches": [json.dumps(one).encode() for one in (a, b)],
        "GET /v1/batches": [json.dumps({"data": [{"id": "batch_a"}, done]}).encode()],
        "GET /v1/batches/batch_a": [b'{"id":"batch_a"}'],
    }
    with recording(answers) as (url, _):
        world.env["OPENAI_BASE_URL"] = f"{url}/v1"
        assert len(world.send(job).sent) == 2
        with world.open(job) as shell:
            with pytest.raises(Unreadable, match="look at batch batch_a failed"):
                shell.watch()
            states = {one.batch_id: one.state for one in shell.shards()}
    assert states == {"batch_a": ShardState.SUBMITTED, "batch_b": ShardState.ENDED}
