"""The Anthropic client against the simulated API, through the real SDK over loopback HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import (
    Ambiguous,
    NotFound,
    OutOfCredit,
    Refused,
    StoreError,
    Throttled,
    TooLarge,
    Unauthorized,
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
    return make_anthropic(sim.anthropic_url, waits=waits)


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
        client = make_anthropic(sim.anthropic_url)
        with pytest.raises(Refused, match="temperature: Extra inputs are not permitted"):
            send_claude(client, tmp_path, temperature=1)
        assert sim.submissions() == {}


# --- creates: never made twice ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"do": "fail", "status": 500}, Ambiguous),
        ({"do": "fail", "status": 502, "when": "after"}, Ambiguous),
        ({"do": "fail", "status": 504}, Ambiguous),
        ({"do": "fail", "status": 529}, Ambiguous),
        ({"do": "fail", "status": 408}, Ambiguous),
        ({"do": "fail", "status": 409}, Ambiguous),
        ({"do": "fail", "status": 400, "code": "request_body_timeout"}, Ambiguous),
        ({"do": "drop"}, Ambiguous),
        ({"do": "drop", "when": "after"}, Ambiguous),
        ({"do": "cut", "bytes": 5}, Ambiguous),
        ({"do": "fail", "status": 401}, Unauthorized),
        ({"do": "fail", "status": 403}, Unauthorized),
        ({"do": "fail", "status": 402}, OutOfCredit),
        ({"do": "fail", "status": 429, "code": "enforced_spend_limit_reached"}, OutOfCredit),
        ({"do": "fail", "status": 400, "code": "organization_on_hold"}, OutOfCredit),
        (
            {"do": "fail", "status": 400, "message": "Your credit balance is too low to access"},
            OutOfCredit,
        ),
        ({"do": "fail", "status": 429, "code": "ramp_limit_exceeded"}, Throttled),
        ({"do": "fail", "status": 413}, TooLarge),
        ({"do": "fail", "status": 400}, Refused),
    ],
)
def test_a_failed_create_is_made_once_and_says_whether_a_batch_may_exist(
    long_lived: Simulator,
    waits: list[float],
    tmp_path: Path,
    fault: dict[str, object],
    error: type[Exception],
) -> None:
    before = len(long_lived.log("create"))
    long_lived.faults({"calls": [{**fault, "operation": "create"}]})
    with pytest.raises(error) as caught:
        send_claude(make_anthropic(long_lived.anthropic_url, waits=waits), tmp_path)
    assert type(caught.value) is error
    assert len(long_lived.log("create")) == before + 1
    assert waits == []
    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    with Simulator(speed=0, limits=Limits(anthropic_queue_requests=3)) as sim:
        client = make_anthropic(sim.anthropic_url)
        send_claude(client, tmp_path)
        with pytest.raises(Throttled, match="queue") as caught:
            send_claude(client, tmp_path)
    assert caught.value.retry_after == 60


def test_a_body_over_the_limit_is_too_large(tmp_path: Path) -> None:
    with (
        Simulator(speed=0, limits=Limits(anthropic_max_body_bytes=100)) as sim,
        pytest.raises(TooLarge, match="Cut the shard in two"),
    ):
        send_claude(make_anthropic(sim.anthropic_url), tmp_path)


def test_a_bad_custom_id_refuses_the_batch_in_the_provider_s_words(
    claude: AnthropicClient, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=r"requests\.0\.custom_id: String should match pattern"):
        send_claude(claude, tmp_path, prefix="a.b")


def test_a_file_that_is_not_there_is_said_before_anything_is_sent(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=r"none\.jsonl"):
        claude.create(make_claude_shard(), tmp_path / "none.jsonl", file_id=None)
    assert sim.log() == []


def test_a_client_that_logs_everything_sends_the_same_and_keeps_its_key(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        made = send_claude(claude, tmp_path)
    assert sim.custom_ids(made.batch_id) == ["row-0", "row-1"]
    assert "batch created" in caplog.messages
    assert KEY not in caplog.text
    assert "Say hello" not in caplog.text


# --- looking ------------------------------------------------------------------------------------


def test_everything_is_listed_newest_first_over_pages(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    made = []
    for number in range(102):
        made.append(send_claude(claude, tmp_path, rows=1, prefix=f"b{number}"))
        sim.advance(1)
    seen = list(claude.observe(since=made[0].created_at))
    assert [one.batch_id for one in seen] == [one.batch_id for one in reversed(made)]
    assert len(sim.log("list")) == 2
    later = list(claude.observe(since=made[-2].created_at + timedelta(milliseconds=1)))
    assert [one.batch_id for one in later] == [made[-1].batch_id]


@pytest.mark.parametrize("fault", [{"do": "fail", "status": 529}, {"do": "drop"}, {"do": "cut"}])
def test_a_look_that_fails_for_a_moment_is_made_again(
    sim: Simulator,
    claude: AnthropicClient,
    waits: list[float],
    tmp_path: Path,
    fault: dict[str, object],
) -> None:
    made = send_claude(claude, tmp_path)
    sim.faults({"calls": [{**fault, "operation": ["retrieve", "list"], "nth": [1, 2]}]})
    assert claude.retrieve(made.batch_id).batch_id == made.batch_id
    assert waits == [0.5, 1.0]


def test_a_batch_of_another_account_is_not_found(claude: AnthropicClient) -> None:
    with pytest.raises(NotFound, match=r"msgbatch_1.*not found"):
        claude.retrieve("msgbatch_1")


def test_a_wait_longer_than_our_patience_is_not_sat_out(
    sim: Simulator, claude: AnthropicClient, waits: list[float]
) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "any", "status": 429, "retry_after": 900}]})
    with pytest.raises(Throttled) as caught:
        claude.retrieve("msgbatch_1")
    assert (caught.value.retry_after, waits) == (900, [])


# --- ends ---------------------------------------------------------------------------------------


def test_a_cancelled_batch_keeps_its_finished_rows(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    sim.faults({"batches": [{"do": "stall", "after": 0.5}]})
    made = send_claude(claude, tmp_path, rows=4)
    sim.advance(60)
    assert claude.cancel(made.batch_id).status is RemoteStatus.ENDING
    assert claude.cancel(made.batch_id).status is RemoteStatus.ENDING
    sim.advance(3600)
    done = claude.retrieve(made.batch_id)
    assert (done.status, done.total, done.completed, done.failed) == (
        RemoteStatus.CANCELLED,
        4,
        2,
        2,
    )
    claude.download(made.batch_id, tmp_path / "out")
    assert sorted(rows_of(tmp_path / "out").values()) == [
        *("canceled", "canceled", "succeeded", "succeeded")
    ]
    assert claude.cancel(made.batch_id).status is RemoteStatus.CANCELLED


def test_a_cancel_that_fails_while_the_batch_runs_is_said(
    sim: Simulator, claude: AnthropicClient, waits: list[float], tmp_path: Path
) -> None:
    made = send_claude(claude, tmp_path)
    sim.faults({"calls": [{"do": "fail", "operation": "cancel"}]})
    with pytest.raises(Unavailable):
        claude.cancel(made.batch_id)
    assert len(waits) == 5


def test_a_batch_whose_window_closed_is_expired(
    sim: Simulator, claude: AnthropicClient, tmp_path: Path
) -> None:
    sim.faults({"batches": [{"do": "stall", "after": 0.5}]})
    made = send_claude(claude, tmp_path, rows=4)
    sim.advance(DAY + 60)
    done = claude.retrieve(made.batch_id)
    assert (done.status, done.completed, done.failed) == (RemoteStatus.EXPIRED, 2, 2)


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
        client = make_anthropic(sim.anthropic_url)
        made = send_claude(client, tmp_path)
        sim.advance(60)
        client.download(made.batch_id, tmp_path / "out")
        assert sim.log("content")[0].path.endswith(f"/v1/messages/batches/{made.batch_id}/results")
    assert len(rows_of(tmp_path / "out")) == 2
