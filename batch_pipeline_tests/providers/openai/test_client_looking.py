"""Looking at batches and stopping them: listings to their end, and calls that may be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import NotFound, Refused, Unauthorized, Unavailable
from batch_pipeline.model import Observation, RemoteStatus
from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import (
    LONG_AGO,
    NO_LINES,
    NOTHING,
    make_client,
    make_shard,
    send,
    write_lines,
)


@pytest.fixture(scope="module")
def crowd(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Simulator, list[Observation]]]:
    """More than a page of batches, a minute apart, oldest first."""
    with Simulator(speed=0) as sim:
        client = make_client(sim.openai_url)
        lines = write_lines(tmp_path_factory.mktemp("crowd"))
        file_id = client.upload(lines, name="s-1.jsonl")
        made: list[Observation] = []
        for number in range(101):
            made.append(
                client.create(make_shard(intent=f"intent-{number}"), NO_LINES, file_id=file_id)
            )
            sim.advance(60)
        yield sim, made


def _now(sim: Simulator) -> datetime:
    return datetime.fromtimestamp(sim.now, UTC)


def test_a_look_survives_a_bad_moment(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.faults(
        {"calls": [{"do": "fail", "operation": ["retrieve", "list"], "status": 500, "times": 2}]}
    )
    assert client.retrieve(made.batch_id).batch_id == made.batch_id
    assert [seen.batch_id for seen in client.observe(since=LONG_AGO)] == [made.batch_id]
    assert len(waits) == 2


def test_a_batch_of_another_account_is_not_found(client: OpenAIClient) -> None:
    with pytest.raises(NotFound, match="another key, project or base URL"):
        client.retrieve("batch_of_somebody_else")


def test_a_wrong_key_is_unauthorized(sim: Simulator, waits: list[float]) -> None:
    client = make_client(sim.openai_url, key="sk-invalid-0123456789", waits=waits)
    with pytest.raises(Unauthorized, match="OPENAI_API_KEY"):
        client.retrieve("batch_1")
    assert waits == []


def test_more_than_a_page_of_batches_is_listed_newest_first_until_since(
    crowd: tuple[Simulator, list[Observation]],
) -> None:
    sim, made = crowd
    client = make_client(sim.openai_url)
    listed = [seen.batch_id for seen in client.observe(since=LONG_AGO)]
    assert listed == [seen.batch_id for seen in reversed(made)]
    calls = len(sim.log("list"))
    recent = [seen.batch_id for seen in client.observe(since=made[-3].created_at)]
    assert recent == listed[:3]
    assert len(sim.log("list")) == calls + 1  # what is older is not even asked for


def test_a_batch_on_the_last_page_is_found(
    crowd: tuple[Simulator, list[Observation]],
) -> None:
    sim, made = crowd
    client = make_client(sim.openai_url)
    oldest = client.find(make_shard(intent="intent-0"), since=made[0].created_at, known=NOTHING)
    assert oldest is not None
    assert oldest.batch_id == made[0].batch_id
    assert client.find(make_shard(intent="intent-x"), since=LONG_AGO, known=NOTHING) is None


@pytest.mark.parametrize("nth", [1, 2])
def test_a_search_that_cannot_be_finished_is_an_error_and_no_false_none(
    crowd: tuple[Simulator, list[Observation]], nth: int
) -> None:
    sim, _ = crowd
    client = make_client(sim.openai_url, tries=3)
    sim.faults({"calls": [{"do": "drop", "operation": "list", "nth": [nth, nth + 1, nth + 2]}]})
    with pytest.raises(Unavailable, match="listing of batches"):
        client.find(make_shard(intent="intent-x"), since=LONG_AGO, known=NOTHING)
    assert client.find(make_shard(intent="intent-x"), since=LONG_AGO, known=NOTHING) is None


def test_a_batch_made_in_the_second_in_which_we_began_is_seen(
    client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    later_in_that_second = made.created_at + timedelta(microseconds=999_999)
    seen = [each.batch_id for each in client.observe(since=later_in_that_second)]
    assert seen == [made.batch_id]


def test_a_provider_whose_clock_is_behind_ours_is_searched_far_enough(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    found = client.find(make_shard(), since=_now(sim) + timedelta(minutes=9), known=NOTHING)
    assert found is not None
    assert found.batch_id == made.batch_id
    assert client.find(make_shard(), since=_now(sim) + timedelta(hours=1), known=NOTHING) is None


def test_a_cancel_is_asked_and_takes_its_time(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    asked = client.cancel(made.batch_id)
    assert (asked.status, asked.raw_status) == (RemoteStatus.ENDING, "cancelling")
    assert client.cancel(made.batch_id).status is RemoteStatus.ENDING
    sim.advance(60)
    ended = client.retrieve(made.batch_id)
    assert ended.status is RemoteStatus.CANCELLED
    assert ended.ended_at is not None


def test_a_cancel_that_comes_too_late_tells_how_the_batch_ended(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.advance(60)
    assert client.cancel(made.batch_id).status is RemoteStatus.COMPLETED
    assert waits == []


def test_a_cancel_whose_answer_was_lost_is_seen_to_have_happened(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.faults({"calls": [{"do": "drop", "operation": "cancel", "when": "after"}]})
    assert client.cancel(made.batch_id).status is RemoteStatus.ENDING
    assert waits == []


def test_a_cancel_that_did_not_happen_is_asked_again(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.faults({"calls": [{"do": "fail", "operation": "cancel", "status": 500, "times": 1}]})
    assert client.cancel(made.batch_id).status is RemoteStatus.ENDING
    assert waits == [0.5]


def test_a_refused_cancel_is_an_error_only_while_the_batch_goes_on(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.faults({"calls": [{"do": "fail", "operation": "cancel", "status": 400, "message": "No."}]})
    with pytest.raises(Refused, match=r"cancel of batch batch_\w+ failed: HTTP 400: No\."):
        client.cancel(made.batch_id)
    sim.advance(60)
    assert client.cancel(made.batch_id).status is RemoteStatus.COMPLETED


def test_a_cancel_of_an_unknown_batch_is_not_found(client: OpenAIClient) -> None:
    with pytest.raises(NotFound):
        client.cancel("batch_of_somebody_else")
