"""The OpenAI client against the simulated API, through the real SDK over loopback HTTP."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import NotFound, Refused, Throttled, TooLarge, Unavailable
from batch_pipeline.model import RemoteStatus
from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline.simulator.limits import Limits
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


def _statuses(sim: Simulator, operation: str) -> list[int]:
    return [entry.status for entry in sim.log(operation)]


def test_a_shard_goes_up_runs_and_comes_back_whole(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path, rows=3)
    assert made.status is RemoteStatus.VALIDATING
    assert made.metadata == {
        "intent": "intent-1",
        "job": "reviews",
        "shard": "s-1",
        "attempt": "1",
    }
    assert made.expires_at == made.created_at + timedelta(hours=24)
    sim.advance(60)
    done = client.retrieve(made.batch_id)
    assert (done.status, done.total, done.completed, done.failed) == (
        RemoteStatus.COMPLETED,
        3,
        3,
        0,
    )
    assert done.ended_at is not None
    assert done.output_file_id is not None
    assert done.error_file_id is None
    target = tmp_path / "raw" / "b.output.jsonl"
    size = client.download(done.output_file_id, target)
    assert size == target.stat().st_size
    assert target.read_bytes().count(b"\n") == 3
    assert list(target.parent.iterdir()) == [target]


def test_a_file_s_name_ends_as_openai_wants_it(client: OpenAIClient, tmp_path: Path) -> None:
    assert client.upload(write_lines(tmp_path), name="s-1").startswith("file-")


def test_completed_with_only_an_error_file_names_only_that(tmp_path: Path) -> None:
    faults = {"rows": [{"becomes": "error", "status": 500, "share": 1.0}]}
    with Simulator(speed=0, faults=faults) as sim:
        client = make_client(sim.openai_url)
        made = send(client, tmp_path)
        sim.advance(60)
        done = client.retrieve(made.batch_id)
    assert done.status is RemoteStatus.COMPLETED
    assert done.output_file_id is None
    assert done.error_file_id is not None


def test_an_empty_error_file_id_is_no_file(tmp_path: Path) -> None:
    with Simulator(speed=0, faults={"batches": [{"do": "empty_error_id"}]}) as sim:
        client = make_client(sim.openai_url)
        made = send(client, tmp_path)
        sim.advance(60)
        assert client.retrieve(made.batch_id).error_file_id is None


def test_a_batch_refused_as_a_whole_tells_its_problems(sim: Simulator, tmp_path: Path) -> None:
    client = make_client(sim.openai_url)
    lines = tmp_path / "bad.jsonl"
    lines.write_bytes(write_lines(tmp_path).read_bytes() + b"{broken\n")
    made = client.create(make_shard(), NO_LINES, file_id=client.upload(lines, name="bad.jsonl"))
    sim.advance(60)
    failed = client.retrieve(made.batch_id)
    assert failed.status is RemoteStatus.FAILED
    assert [(problem.code, problem.line) for problem in failed.problems] == [
        ("invalid_json_line", 2)
    ]
    assert failed.ended_at is not None
    assert (failed.output_file_id, failed.error_file_id) == (None, None)


# --- uploads: free to repeat -------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "fail", "status": 500},
        {"do": "fail", "status": 408},
        {"do": "fail", "status": 409},
        {"do": "fail", "status": 502, "when": "after"},
        {"do": "drop"},
        {"do": "drop", "when": "after"},
        {"do": "cut", "bytes": 5},
    ],
)
def test_an_upload_that_fails_for_a_moment_is_sent_again_from_its_first_byte(
    sim: Simulator,
    client: OpenAIClient,
    waits: list[float],
    tmp_path: Path,
    fault: dict[str, object],
) -> None:
    sim.faults({"calls": [{**fault, "operation": "upload", "times": 2}]})
    made = send(client, tmp_path, rows=3)
    assert waits == [0.5, 1.0]
    sim.advance(60)
    assert client.retrieve(made.batch_id).completed == 3


def test_an_upload_waits_as_long_as_the_server_asks(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    sim.faults(
        {
            "calls": [
                {"do": "fail", "operation": "upload", "status": 429, "retry_after": 3, "times": 1}
            ]
        }
    )
    client.upload(write_lines(tmp_path), name="s-1.jsonl")
    assert waits == [3.0]


def test_an_upload_that_keeps_failing_gives_up(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "upload", "status": 503}]})
    with pytest.raises(Unavailable, match=r"upload of s-1\.jsonl failed: HTTP 503"):
        client.upload(write_lines(tmp_path), name="s-1.jsonl")
    assert len(_statuses(sim, "upload")) == 6
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_file_that_is_too_large_is_told_apart_and_not_sent_again(
    waits: list[float], tmp_path: Path
) -> None:
    with Simulator(speed=0, limits=Limits(max_file_bytes=50)) as sim:
        client = make_client(sim.openai_url, waits=waits)
        with pytest.raises(TooLarge, match=r"File is too large\. Cut the shard in two"):
            client.upload(write_lines(tmp_path), name="s-1.jsonl")
        assert len(_statuses(sim, "upload")) == 1
    assert waits == []


# --- creates: never repeated blindly -----------------------------------------------------------


def test_a_create_waits_for_a_file_that_openai_does_not_see_yet(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "create", "times": 3}]})
    assert send(client, tmp_path).status is RemoteStatus.VALIDATING
    assert waits == [1.0, 2.0, 4.0]
    assert _statuses(sim, "create") == [400, 400, 400, 200]


def test_a_create_gives_up_on_a_file_that_never_shows_after_a_minute(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "create"}]})
    with pytest.raises(NotFound, match="Cannot find file"):
        send(client, tmp_path)
    assert sum(waits) == 60
    assert client.find(make_shard(), since=LONG_AGO, known=NOTHING) is None


def test_a_throttled_create_says_when_and_is_left_to_the_caller(
    sim: Simulator, client: OpenAIClient, waits: list[float], tmp_path: Path
) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429, "retry_after": 2}]})
    with pytest.raises(Throttled) as caught:
        send(client, tmp_path)
    assert caught.value.retry_after == 2
    assert (waits, len(_statuses(sim, "create"))) == ([], 1)


def test_a_create_that_is_refused_says_why(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    file_id = client.upload(write_lines(tmp_path), name="s-1.jsonl")
    sim.faults(
        {
            "calls": [
                {"do": "fail", "operation": "create", "status": 400, "message": "Bad endpoint."}
            ]
        }
    )
    with pytest.raises(Refused, match=r"HTTP 400: Bad endpoint\. The same call would be refused"):
        client.create(make_shard(), NO_LINES, file_id=file_id)


def test_a_create_needs_the_file_of_an_upload(client: OpenAIClient) -> None:
    with pytest.raises(ValueError, match="shard s-1 has no file: upload its lines first"):
        client.create(make_shard(), NO_LINES, file_id=None)


def test_long_names_are_cut_to_what_metadata_takes(client: OpenAIClient, tmp_path: Path) -> None:
    shard = make_shard(shard_id="s" * 600, intent="i" * 600)
    made = client.create(
        shard, NO_LINES, file_id=client.upload(write_lines(tmp_path), name="s.jsonl")
    )
    assert made.metadata["shard"] == "s" * 512
    found = client.find(shard, since=LONG_AGO, known=NOTHING)
    assert found is not None
    assert found.batch_id == made.batch_id


# --- result files ------------------------------------------------------------------------------


def test_an_orphan_file_is_deleted_once_and_asking_again_is_fine(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    file_id = client.upload(write_lines(tmp_path), name="s-1.jsonl")
    client.delete_file(file_id)
    client.delete_file(file_id)
    assert _statuses(sim, "delete") == [200, 404]


def test_a_batch_is_never_deleted_at_openai_and_the_answer_says_what_can_be(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.advance(60)
    with pytest.raises(Refused, match=f"batch {made.batch_id} cannot be deleted.*Its files can"):
        client.delete_batch(made.batch_id)


# --- the log -----------------------------------------------------------------------------------


def test_each_change_is_one_record_with_its_ids(
    client: OpenAIClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="batch_pipeline")
    made = send(client, tmp_path)
    client.cancel(made.batch_id)
    list(client.observe(since=LONG_AGO))
    assert made.input_file_id is not None
    client.delete_file(made.input_file_id)
    ours = [record for record in caplog.records if record.name.startswith("batch_pipeline")]
    assert [record.getMessage() for record in ours] == [
        "file uploaded",
        "batch created",
        "batch cancel asked",
        "file deleted",
    ]
    assert {vars(record)["account"] for record in ours} == {client.account}
    assert vars(ours[1])["batch_id"] == made.batch_id
    assert (vars(ours[1])["shard"], vars(ours[1])["attempt"]) == ("s-1", 1)
    assert "hello" not in repr([vars(record) for record in ours])
