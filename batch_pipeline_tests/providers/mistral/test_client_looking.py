"""Looking at Mistral's batches: listings to their end, and calls that may be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import NotFound, Unauthorized, Unavailable
from batch_pipeline.model import Observation
from batch_pipeline.providers.mistral.client import MistralClient
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import LONG_AGO, NO_LINES, NOTHING
from batch_pipeline_tests.providers.mistral.factories import (
    JOB_ID,
    make_client,
    make_shard,
    send,
    write_lines,
)


@pytest.fixture
def client(sim: Simulator, waits: list[float]) -> MistralClient:
    return make_client(sim.mistral_url, waits=waits)


@pytest.fixture(scope="module")
def crowd(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Simulator, list[Observation]]]:
    """More than a page of batches, a minute apart, oldest first."""
    with Simulator(speed=0) as sim:
        client = make_client(sim.mistral_url)
        file_id = client.upload(write_lines(tmp_path_factory.mktemp("crowd")), name="s-1")
        made: list[Observation] = []
        for number in range(101):
            shard = make_shard(intent=f"intent-{number}")
            made.append(client.create(shard, NO_LINES, file_id=file_id))
            sim.advance(60)
        yield sim, made


def test_more_than_a_page_of_batches_is_listed_newest_first_until_since(
    crowd: tuple[Simulator, list[Observation]],
) -> None:
    sim, made = crowd
    client = make_client(sim.mistral_url)
    listed = [seen.batch_id for seen in client.observe(since=LONG_AGO)]
    assert listed == [seen.batch_id for seen in reversed(made)]
    calls = len(sim.log("list"))
    recent = [seen.batch_id for seen in client.observe(since=made[-3].created_at)]
    assert recent == listed[:3]
    assert len(sim.log("list")) == calls + 1  # what is older is not even asked for


def test_a_batch_on_the_last_page_is_found_and_none_is_said_only_at_the_end(
    crowd: tuple[Simulator, list[Observation]],
) -> None:
    sim, made = crowd
    client = make_client(sim.mistral_url, tries=1)
    first, none = make_shard(intent="intent-0"), make_shard(intent="intent-x")
    oldest = client.find(first, since=made[0].created_at, known=NOTHING)
    assert oldest is not None
    assert oldest.batch_id == made[0].batch_id
    sim.faults({"calls": [{"do": "drop", "operation": "list", "nth": 2}]})
    with pytest.raises(Unavailable, match="listing of batches"):
        client.find(none, since=LONG_AGO, known=NOTHING)
    assert client.find(none, since=LONG_AGO, known=NOTHING) is None


def test_a_clock_that_is_behind_ours_is_searched_far_enough(
    sim: Simulator, client: MistralClient, tmp_path: Path
) -> None:
    made, now = send(client, tmp_path), datetime.fromtimestamp(sim.now, UTC)
    found = client.find(make_shard(), since=now + timedelta(minutes=9), known=NOTHING)
    assert found is not None
    assert found.batch_id == made.batch_id
    assert client.find(make_shard(), since=now + timedelta(hours=1), known=NOTHING) is None


def test_a_look_survives_a_bad_moment_and_a_new_batch_may_be_unknown_for_one(
    sim: Simulator, client: MistralClient, waits: list[float], tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    broken = {"do": "fail", "operation": ["retrieve", "list"], "status": 500, "times": 2}
    sim.faults({"calls": [broken, {"do": "lag", "operation": "retrieve", "times": 1}]})
    assert [seen.batch_id for seen in client.observe(since=LONG_AGO)] == [made.batch_id]
    assert len(waits) == 2
    with pytest.raises(NotFound):
        client.retrieve(made.batch_id)
    assert client.retrieve(made.batch_id).batch_id == made.batch_id


def test_a_wrong_key_is_unauthorized_and_a_strange_batch_not_found(
    sim: Simulator, client: MistralClient, waits: list[float]
) -> None:
    with pytest.raises(Unauthorized, match=r"Invalid API Key.*MISTRAL_API_KEY"):
        make_client(sim.mistral_url, key="invalid-0123456789").retrieve(JOB_ID)
    with pytest.raises(NotFound, match="another key, project or base URL"):
        client.retrieve(JOB_ID)
    assert waits == []
