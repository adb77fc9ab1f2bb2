"""The Anthropic client against the simulated API, through the real SDK over loopback HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import (
    Ambiguous,
    NotFound,
    OutOfCredit,
    Refused,
    Throttled,
    TooLarge,
    Unavailable,
)
from batch_pipeline.model import RemoteStatus
from batch_pipeline.providers.anthropic.client import AnthropicClient
from batch_pipeline.providers.protocol import Client
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.anthropic.factories import (
    KEY,
    make_anthropic,
    make_claude_shard,
    send_claude,
    write_claude_lines,
)

DAY = 24 * 3600.0


@pytest.fixture
def claude(sim: Simulator, waits: list[float]) -> AnthropicClient:
    return make_anthropic(sim.urls["anthropic"], waits=waits)


@pytest.fixture(scope="module")
def long_lived() -> Iterator[Simulator]:
    """One simulator for many calls that fail; starting one takes longer than all of them."""
    with Simulator(speed=0) as simulator:
        yield simulator


def rows_of(path: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    return {line["custom_id"]: line["result"]["type"] for line in lines}


def test_a_shard_goes_out_runs_and_comes_back_whole(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    client: Client = claude
    lines = write_claude_lines(tmp_path, 3)
    assert client.upload(lines, name="s-1") is None
    assert sim.log() == []
    made = client.create(make_claude_shard(requests=3), lines, file_id=None)
    assert (made.status, made.raw_status) == (RemoteStatus.RUNNING, "in_progress")
    assert (made.total, made.completed, made.failed) == (3, 0, 0)
    assert made.expires_at == made.created_at + timedelta(hours=24)
    assert (made.output_file_id, made.error_file_id, made.one_file) == (None, None, True)
    sim.advance(60)
    done = client.retrieve(made.batch_id)
    assert (done.status, done.total, done.completed) == (RemoteStatus.COMPLETED, 3, 3)
    assert done.ended_at is not None
    assert done.output_file_id == made.batch_id
    target = tmp_path / "raw" / "b.output.jsonl"
    size = client.download(made.batch_id, target)
    assert size == target.stat().st_size
    assert rows_of(target) == dict.fromkeys(["row-0", "row-1", "row-2"], "succeeded")
    assert list(target.parent.iterdir()) == [target]


def test_a_create_is_one_call_that_says_its_version_and_its_betas(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    send_claude(claude, tmp_path)
    send_claude(claude, tmp_path, options={"betas": "a-1,b-2", "api_version": "2023-06-01"})
    first, second = sim.log("create")
    assert first.notes == {"version": "2026-10-21"}
    assert second.notes == {"version": "2023-06-01", "betas": "a-1,b-2"}


@pytest.mark.parametrize(
    ("version", "became"), [("2023-06-01", "succeeded"), ("2026-10-21", "errored")]
)
def test_temperature_works_in_the_version_that_has_it(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path, version: str, became: str
) -> None:
    made = send_claude(claude, tmp_path, options={"api_version": version}, temperature=0.5)
    sim.advance(60)
    claude.download(made.batch_id, tmp_path / "out")
    assert set(rows_of(tmp_path / "out").values()) == {became}


def test_temperature_may_be_refused_at_the_create_and_then_nothing_runs(tmp_path: Path) -> None:
    limits = Limits(anthropic_sampling_refused_on_create=True)
    with Simulator(speed=0, limits=limits) as sim:
        client = make_anthropic(sim.urls["anthropic"])
        with pytest.raises(Refused, match="temperature: Extra inputs are not permitted"):
            send_claude(client, tmp_path, temperature=1)
        assert sim.submissions() == {}


# --- creates: never made twice ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"do": "fail", "status": 400, "code": "request_body_timeout"}, Ambiguous),
        ({"do": "fail", "status": 499}, Ambiguous),
        ({"do": "fail", "status": 429, "code": "enforced_spend_limit_reached"}, OutOfCredit),
        ({"do": "fail", "status": 400, "code": "organization_on_hold"}, OutOfCredit),
        (
            {"do": "fail", "status": 400, "message": "Your credit balance is too low to access"},
            OutOfCredit,
        ),
        ({"do": "fail", "status": 429, "code": "ramp_limit_exceeded"}, Throttled),
    ],
)
def test_a_code_says_more_than_the_status_whether_a_batch_may_exist(
    long_lived: Simulator,
    waits: list[float],
    tmp_path: Path,
    fault: dict[str, object],
    error: type[Exception],
) -> None:
    before = len(long_lived.log("create"))
    long_lived.faults({"calls": [{**fault, "operation": "create"}]})
    with pytest.raises(error) as caught:
        send_claude(make_anthropic(long_lived.urls["anthropic"], waits=waits), tmp_path)
    assert type(caught.value) is error
    assert len(long_lived.log("create")) == before + 1
    assert waits == []
    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    with Simulator(speed=0, limits=Limits(anthropic_queue_requests=3)) as sim:
        client = make_anthropic(sim.urls["anthropic"])
        send_claude(client, tmp_path)
        with pytest.raises(Throttled, match="queue") as caught:
            send_claude(client, tmp_path)
    assert caught.value.retry_after == 60


def test_a_body_over_the_limit_is_too_large(tmp_path: Path) -> None:
    with (
        Simulator(speed=0, limits=Limits(anthropic_max_body_bytes=100)) as sim,
        pytest.raises(TooLarge, match="Cut the shard in two"),
    ):
        send_claude(make_anthropic(sim.urls["anthropic"]), tmp_path)


def test_a_bad_custom_id_refuses_the_batch_in_the_provider_s_words(
    claude: AnthropicClient, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=r"requests\.0\.custom_id: String should match pattern"):
        send_claude(claude, tmp_path, prefix="a.b")


# --- ends ---------------------------------------------------------------------------------------


def test_a_batch_is_deleted_once_it_has_ended_and_may_be_deleted_again(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    made = send_claude(claude, tmp_path)
    with pytest.raises(Refused, match="cannot be deleted"):
        claude.delete_batch(made.batch_id)
    sim.advance(60)
    claude.delete_batch(made.batch_id)
    claude.delete_batch(made.batch_id)
    claude.delete_file(made.batch_id)
    with pytest.raises(NotFound):
        claude.retrieve(made.batch_id)


# --- results ------------------------------------------------------------------------------------


def test_results_that_are_still_to_come_may_be_asked_for_again(
    claude: AnthropicClient, waits: list[float], tmp_path: Path
) -> None:
    made = send_claude(claude, tmp_path)
    with pytest.raises(Unavailable, match="no available results"):
        claude.download(made.batch_id, tmp_path / "out")
    assert len(waits) == 5
    assert not (tmp_path / "out").exists()


def test_archived_results_are_lost_and_asking_says_so(
    sim: Simulator, claude: AnthropicClient, waits: list[float], tmp_path: Path
) -> None:
    made = send_claude(claude, tmp_path)
    sim.advance(30 * DAY)
    seen = claude.retrieve(made.batch_id)
    assert (seen.status, seen.output_file_id) == (RemoteStatus.COMPLETED, made.batch_id)
    for batch_id in (made.batch_id, "msgbatch_1"):
        with pytest.raises(NotFound):
            claude.download(batch_id, tmp_path / "out")
    assert waits == []


def test_results_are_fetched_from_our_base_url_whatever_the_batch_names(tmp_path: Path) -> None:
    with Simulator(speed=0, faults={"batches": [{"do": "foreign_results"}]}) as sim:
        client = make_anthropic(sim.urls["anthropic"])
        made = send_claude(client, tmp_path)
        sim.advance(60)
        client.download(made.batch_id, tmp_path / "out")
        assert sim.log("content")[0].path.endswith(f"/v1/messages/batches/{made.batch_id}/results")
    assert len(rows_of(tmp_path / "out")) == 2
