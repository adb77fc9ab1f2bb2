"""Looking at batches and stopping them, at every provider: lists to their end, and cancels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from batch_pipeline.errors import NotFound, Refused, Unavailable
from batch_pipeline.model import TERMINAL, Observation, RemoteStatus, Shard
from batch_pipeline.providers.protocol import Client, Known
from batch_pipeline_tests.contract.client_runner import ClientRunner

NOBODYS = "00000000-0000-4000-8000-000000000000"
STOPPING = {RemoteStatus.ENDING, RemoteStatus.CANCELLED}


def crowd(runner: ClientRunner) -> list[Observation]:
    """More than a page of batches, a second apart, oldest first."""
    lines = runner.lines(1)
    file_id = runner.client.upload(lines, name="crowd")
    made: list[Observation] = []
    for number in range(101):
        shard = runner.shard(1, intent=f"intent-{runner.began}-{number}")
        made.append(runner.client.create(shard, lines, file_id=file_id))
        runner.sim.advance(1)
    return made


def test_more_than_a_page_is_listed_newest_first_until_since_and_searched_to_its_end(
    runner: ClientRunner,
) -> None:
    made = crowd(runner)
    listed = [seen.batch_id for seen in runner.client.observe(since=made[0].created_at)]
    assert listed == [seen.batch_id for seen in reversed(made)]
    calls = len(runner.calls("list"))
    assert calls == 2
    recent = [seen.batch_id for seen in runner.client.observe(since=made[-3].created_at)]
    assert recent == listed[:3]
    assert len(runner.calls("list")) == calls + 1  # what is older is not even asked for
    impatient = runner.client_of(tries=3)
    nobodys = runner.shard(7, intent="nobody-s")
    for nth in (1, 2):  # a search that cannot be finished is an error and no false none
        failing = {"operation": "list", "nth": [nth, nth + 1, nth + 2]}
        runner.faults({"do": "drop", **failing})
        with pytest.raises(Unavailable, match="listing of batches failed"):
            impatient.find(nobodys, since=made[0].created_at, known=Known())
        runner.faults()
    assert impatient.find(nobodys, since=made[0].created_at, known=Known()) is None
    if runner.case.names_batches:  # the oldest is on the last page
        first = runner.shard(1, intent=f"intent-{runner.began}-0")
        oldest = runner.client.find(first, since=made[0].created_at, known=Known())
        assert oldest is not None
        assert oldest.batch_id == made[0].batch_id


def test_a_provider_whose_clock_is_behind_ours_is_searched_far_enough(
    runner: ClientRunner,
) -> None:
    made, now = runner.ended(), datetime.fromtimestamp(runner.sim.now, UTC)
    known = Known(is_ours=set(runner.ids(2)).__contains__)
    found = runner.client.find(runner.shard(), since=now + timedelta(minutes=8), known=known)
    assert found is not None
    assert found.batch_id == made.batch_id
    later = now + timedelta(hours=1)
    assert runner.client.find(runner.shard(), since=later, known=known) is None


@pytest.mark.parametrize("fault", [{"do": "fail", "status": 529}, {"do": "cut", "bytes": 5}])
def test_a_look_survives_a_bad_moment(runner: ClientRunner, fault: dict[str, object]) -> None:
    made = runner.send()
    runner.faults({**fault, "operation": ["retrieve", "list"], "times": 2})
    assert runner.client.retrieve(made.batch_id).batch_id == made.batch_id
    assert made.batch_id in [one.batch_id for one in runner.client.observe(since=runner.since)]
    assert runner.waits == [0.5, 1]


def test_a_batch_of_another_account_is_not_found(runner: ClientRunner) -> None:
    looks: list[Callable[[Client], object]] = [
        lambda client: client.retrieve(NOBODYS),
        lambda client: client.cancel(NOBODYS),
    ]
    for look in looks:
        with pytest.raises(NotFound, match="another key, project or base URL"):
            look(runner.client)
    assert runner.waits == []


def test_long_names_are_cut_to_what_metadata_takes(runner: ClientRunner) -> None:
    if not runner.case.names_batches:
        pytest.skip("batches carry no metadata")
    lines = runner.lines()
    shard = replace(runner.shard(), shard_id="s" * 600, intent=f"{runner.shard().intent}" * 60)
    file_id = runner.client.upload(lines, name="s")
    made = runner.client.create(shard, lines, file_id=file_id)
    assert made.metadata["shard"] == "s" * 512
    found = runner.client.find(shard, since=runner.since, known=Known())
    assert found is not None
    assert found.batch_id == made.batch_id


def test_a_shard_without_intent_or_file_is_neither_sent_nor_looked_for(
    runner: ClientRunner,
) -> None:
    if not runner.case.names_batches:
        pytest.skip("batches carry no metadata, and lines go with the create")
    bare: Shard = runner.shard(intent=None)
    with pytest.raises(ValueError, match=f"shard {bare.shard_id} has no intent"):
        runner.client.create(bare, runner.lines(), file_id=NOBODYS)
    with pytest.raises(ValueError, match=f"shard {bare.shard_id} has no intent"):
        runner.client.find(bare, since=runner.since, known=Known())
    with pytest.raises(ValueError, match=f"shard {bare.shard_id} has no file"):
        runner.client.create(runner.shard(), runner.lines(), file_id=None)
    assert runner.calls("create") == []


# --- cancels --------------------------------------------------------------------------------------


def test_a_cancel_is_asked_and_takes_its_time_and_twice_is_no_error(runner: ClientRunner) -> None:
    made = runner.send()
    assert runner.client.cancel(made.batch_id).status in STOPPING
    assert runner.client.cancel(made.batch_id).status in STOPPING
    runner.sim.advance(700)
    ended = runner.client.retrieve(made.batch_id)
    assert ended.status is RemoteStatus.CANCELLED
    assert ended.ended_at is not None


def test_a_cancel_that_comes_too_late_tells_how_the_batch_ended(runner: ClientRunner) -> None:
    done = runner.ended()
    assert runner.client.cancel(done.batch_id).status is RemoteStatus.COMPLETED
    runner.faults({"do": "fail", "operation": "cancel", "status": 400})
    assert runner.client.cancel(done.batch_id).status is RemoteStatus.COMPLETED
    assert runner.waits == []


def test_a_cancel_whose_answer_was_lost_is_seen_to_have_happened(runner: ClientRunner) -> None:
    made = runner.send()
    runner.faults({"do": "drop", "operation": "cancel", "when": "after"})
    seen = runner.client.cancel(made.batch_id)
    assert seen.status in STOPPING
    assert runner.waits == []


def test_a_cancel_that_did_not_happen_is_asked_again_and_said_when_it_never_does(
    runner: ClientRunner,
) -> None:
    made = runner.send()
    runner.faults({"do": "fail", "operation": "cancel", "status": 500})
    with pytest.raises(Unavailable, match=f"cancel of batch {made.batch_id} failed: HTTP 500"):
        runner.client.cancel(made.batch_id)
    assert runner.waits == [0.5, 1, 2, 4, 8]
    runner.faults({"do": "fail", "operation": "cancel", "status": 500, "times": 1})
    assert runner.client.cancel(made.batch_id).status in STOPPING
    assert runner.waits[5:] == [0.5]


def test_a_refused_cancel_is_an_error_while_the_batch_goes_on(runner: ClientRunner) -> None:
    made = runner.send()
    runner.faults({"do": "fail", "operation": "cancel", "status": 400, "message": "No."})
    with pytest.raises(Refused, match=rf"cancel of batch {made.batch_id} failed: HTTP 400: No\."):
        runner.client.cancel(made.batch_id)
    assert runner.client.retrieve(made.batch_id).status not in TERMINAL
