"""Retries: by the policy through the watch, and by hand through `<job>_retry_failed`."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from batch_pipeline.errors import BatchPipelineError
from batch_pipeline.model import FailureKind
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.orchestration.retry_config import FailedAs
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import DAYS, World

ONE, TWO, THREE = DAYS
FAULTS = {
    "rows": [
        {"becomes": "refused", "regex": "r-000-"},
        {"becomes": "truncated", "regex": "r-001-", "first_times": 1},
        {"becomes": "expired", "regex": "r-002-", "first_times": 1},
    ]
}


@pytest.fixture
def faulty(world: World) -> Iterator[Location]:
    """Of each day's rows one is always refused, one truncated once, one expires once."""
    world.sim.faults(FAULTS)
    with location(world, retry={"kinds": ["expired"]}) as place:
        yield place


def failures(place: Location, day: str = ONE) -> dict[str, str]:
    return {row["id"]: row["failure"] for row in place.world.results(day) if row["failure"]}


def test_the_watch_sends_again_what_the_policy_names_and_only_that(faulty: Location) -> None:
    faulty.submit(ONE)
    told = faulty.finish()
    assert sum("moods_retry_failed" in line for line in told) == 1
    assert failures(faulty) == {"r/000": "refused", "r/001": "truncated"}


def test_a_person_sends_kinds_again_that_the_policy_does_not(faulty: Location) -> None:
    faulty.submit(ONE)
    faulty.finish()
    assert faulty.run("retry_failed", ONE, failure_kinds=["truncated"]).success
    assert faulty.metadata("batches", ONE)["sent_now"] == 1
    faulty.finish()
    assert failures(faulty) == {"r/000": "refused"}


def test_a_person_sends_named_rows_again(faulty: Location) -> None:
    faulty.submit(ONE)
    faulty.finish()
    (truncated,) = [r["custom_id"] for r in faulty.world.results(ONE) if r["id"] == "r/001"]
    assert faulty.run("retry_failed", ONE, custom_ids=[truncated]).success
    faulty.finish()
    assert failures(faulty) == {"r/000": "refused"}


def test_a_person_sends_again_what_failed_in_a_run_of_dagsters_history(faulty: Location) -> None:
    faulty.submit(ONE)
    faulty.submit(TWO)
    faulty.finish()
    oldest_first = list(faulty.instance.get_runs())[::-1]
    run = next(one for one in oldest_first if one.tags.get("dagster/partition") == TWO)
    before = faulty.metadata("batches", ONE)
    assert faulty.run("retry_failed", ONE, TWO, failed_in_run=run.run_id).success
    assert faulty.metadata("batches", ONE) == before  # nothing of it was sent, or recorded
    assert faulty.metadata("batches", TWO)["sent_now"] == 2


def test_a_kind_that_does_not_exist_is_named_with_those_that_do(faulty: Location) -> None:
    faulty.submit(ONE)
    with pytest.raises(dg.DagsterInvalidConfigError, match="FailedAs got truncatd"):
        faulty.run("retry_failed", ONE, failure_kinds=["truncatd"])
    assert {kind.name for kind in FailedAs} == {kind.value for kind in FailureKind}


@pytest.mark.parametrize("named", [{"custom_ids": ["nope"]}, {"failed_in_run": "nope"}])
def test_a_name_that_nobody_has_fails_the_run(faulty: Location, named: dict[str, object]) -> None:
    faulty.submit(ONE)
    done = faulty.run("retry_failed", ONE, **named)
    failed = done.failure_data_for_node("moods__batches")
    assert failed is not None
    assert failed.user_failure_data is not None
    assert "'nope'" in str(failed.user_failure_data.description)


def test_retries_of_neighbours_pass_over_what_is_finished(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "expired", "regex": "r-002-", "first_times": 1}]})
    with location(world) as place:
        place.submit(TWO)
        place.finish()
        place.submit(ONE)
        place.submit(THREE)
        world.wait(60)
        place.tick()  # collects
        assert place.steps() == {ONE: Step.RETRY, TWO: Step.DONE, THREE: Step.RETRY}
        before, finished = place.creates(), place.metadata("batches", TWO)
        (request,) = place.tick().run_requests or []
        assert request.job_name == "moods_retry_failed"
        assert request.tags["dagster/asset_partition_range_end"] == THREE
        assert place.creates() == before + 1
        assert place.metadata("batches", TWO) == finished


def test_what_a_person_cancelled_is_not_sent_by_a_retry_of_its_neighbours(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "expired", "regex": "r-00[0-2]-", "first_times": 1}]})
    with location(world) as place:
        place.submit(*DAYS)
        world.wait(60)
        place.tick()  # collects: all three could be retried
        with world.open(place.job) as shell:
            shell.cancel([TWO])
        asked = place.tick().run_requests or []
        assert [request.tags["dagster/partition"] for request in asked] == [ONE, THREE]
        place.finish()
        assert len(failures(place, TWO)) == 3
        assert place.summary(TWO).held


def test_rows_of_a_batch_that_is_gone_are_sent_again_only_when_a_person_says_lost(
    world: World,
) -> None:
    with location(world) as place:
        place.submit(ONE)
        with world.open(place.job) as shell:
            (shard,) = shell.shards()
            shell.records.ledger.failed(shard.shard_id, message="it is gone", now=world.now())
        ticked = place.tick()
        assert not ticked.run_requests
        assert ticked.skip_reason is not None
        assert ticked.skip_reason.skip_message == "1 blocked. Blocked: it is gone"
        before = place.creates()
        assert place.submit(ONE).success
        assert place.creates() == before
        assert place.run("retry_failed", ONE, lost=True).success
        place.finish()
        assert len(world.results(ONE)) == 5


def test_a_person_lets_the_rows_go_that_a_failed_canary_holds(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "."}]})
    targets = [{"provider": "openai", "model": "gpt-5-nano"}]
    with location(world, canary=2, targets=targets) as place:
        place.submit(ONE)
        told = place.finish()
        assert any("canary: 2 of the first 2 requests failed" in line for line in told)
        world.sim.faults(None)
        before = place.creates()
        assert place.run("retry_failed", ONE).success
        assert place.creates() == before
        assert place.run("retry_failed", ONE, release=True).success
        assert place.metadata("batches", ONE)["sent_now"] == 3


def test_the_watch_asks_for_nothing_that_the_account_stops_and_says_why(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "no_credit"}]})
    with location(world) as place:
        place.submit(ONE)
        with pytest.raises(BatchPipelineError, match="for the account's sake"):
            place.finish()  # the collect's own run fails with the sentence, and all is landed
        assert set(world.became(ONE).values()) == {"withheld"}
        skipped = place.tick()
        assert not skipped.run_requests
        assert "for the account's sake" in str(skipped.skip_reason)
        world.sim.faults(None)
        place.submit(ONE)
        world.wait(20)
        place.tick()
        assert set(world.became(ONE).values()) == {"succeeded"}


def test_the_watch_stops_at_the_second_batch_that_fails_alike(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "error"}]})
    with location(world) as place:
        place.submit(ONE)
        told = place.finish()
        assert sum("moods_retry_failed" in line for line in told) == 1
        assert "Two batches in a row failed alike" in told[-1]
        world.sim.faults(None)
        assert place.run("retry_failed", ONE).success
        place.finish()
        assert failures(place) == {}


def test_answers_that_nobody_can_match_go_again_only_by_a_persons_word(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "null_id"}]})
    with location(world) as place:
        place.submit(ONE)
        assert ".unknown.jsonl" in place.finish()[-1]
        world.sim.faults(None)
        place.submit(ONE)
        place.finish()
        assert world.sendings == {1}
        assert place.run("retry_failed", ONE, release=True).success
        place.finish()
        assert failures(place) == {}


def test_rejected_rows_go_again_when_their_kind_is_named(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "error", "status": 400, "regex": "r-000-"}]})
    with location(world) as place:
        place.submit(ONE)
        place.finish()
        world.sim.faults(None)
        assert place.run("retry_failed", ONE, failure_kinds=["rejected"]).success
        place.finish()
        assert failures(place) == {}


def status(place: Location) -> dict[str, str | None]:
    """What Dagster paints each partition of `batches` as."""
    definition = partitions_def(place.job.partitions)
    assert definition is not None
    found = place.instance.get_status_by_partition(place.key("batches"), DAYS, definition) or {}
    return {name: one and one.value for name, one in found.items()}


def test_a_retry_that_fails_leaves_finished_partitions_as_they_are(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "r-000-"}]})
    with location(world) as place:
        place.submit(*DAYS)
        place.finish()
        assert set(status(place).values()) == {"MATERIALIZED"}
        world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 401}]})
        done = place.run("retry_failed", ONE, THREE, failure_kinds=["refused"])
        assert not done.success
        assert set(status(place).values()) == {"MATERIALIZED"}


def test_partitions_are_listed_one_by_one_or_as_a_range(faulty: Location) -> None:
    faulty.submit(*DAYS)
    faulty.finish()
    before = faulty.creates()
    said = {"failure_kinds": ["truncated"]}
    assert faulty.run("retry_failed", partitions=[f"{ONE}...{TWO}"], **said).success
    assert faulty.creates() == before + 1
    faulty.finish()
    days = {day: set(failures(faulty, day).values()) for day in DAYS}
    assert days == {ONE: {"refused"}, TWO: {"refused"}, THREE: {"refused", "truncated"}}


def test_a_run_or_rows_that_are_named_tell_the_partitions(faulty: Location) -> None:
    faulty.submit(ONE)
    sender = next(run for run in faulty.instance.get_runs() if run.job_name == "moods_submit")
    faulty.finish()
    (named,) = [r["custom_id"] for r in faulty.world.results(ONE) if r["id"] == "r/001"]
    assert faulty.run("retry_failed", custom_ids=[named]).success
    faulty.finish()
    assert failures(faulty) == {"r/000": "refused"}
    before = faulty.creates()
    assert faulty.run("retry_failed", failed_in_run=sender.run_id).success
    assert faulty.creates() == before + 1  # the refused row is that run's; the other was mended


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"failure_kinds": ["refused"]}, "nobody said which partitions"),
        ({"partitions": ["2026-01-1"]}, "no partition '2026-01-1'. Did you mean"),
        ({"partitions": ["2026-01-01...2027-01-01"]}, "no partition '2027-01-01'"),
    ],
)
def test_a_retry_without_partitions_that_exist_says_what_to_do(
    faulty: Location, config: dict[str, object], told: str
) -> None:
    faulty.submit(ONE)
    failed = faulty.run("retry_failed", **config).failure_data_for_node("moods__batches")
    assert failed is not None
    assert failed.user_failure_data is not None
    assert told in str(failed.user_failure_data.description)


def test_a_retry_launched_again_sends_nothing_that_was_mended(faulty: Location) -> None:
    faulty.submit(ONE)
    faulty.finish()
    assert faulty.run("retry_failed", ONE, failure_kinds=["truncated"]).success
    faulty.finish()
    before = faulty.creates()
    assert faulty.run("retry_failed", ONE, failure_kinds=["truncated"]).success
    assert faulty.creates() == before
