"""The Mistral client against the simulated API, through the real SDK over loopback HTTP."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from batch_pipeline.errors import (
    BadLines,
    NotFound,
    OutOfCredit,
    Refused,
    Throttled,
    TooLarge,
    Unauthorized,
)
from batch_pipeline.model import RemoteStatus
from batch_pipeline.providers.mistral.client import MistralClient
from batch_pipeline.providers.mistral.decode import decode_sql
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import LONG_AGO, NO_LINES, NOTHING
from batch_pipeline_tests.providers.mistral.factories import (
    FILE_ID,
    JOB_ID,
    make_client,
    make_shard,
    request_line,
    send,
    write_lines,
)

HOUR = 3600


@pytest.fixture
def client(sim: Simulator, waits: list[float]) -> MistralClient:
    return make_client(sim.mistral_url, waits=waits)


@pytest.fixture
def file_id(client: MistralClient, tmp_path: Path) -> str:
    return client.upload(write_lines(tmp_path), name="s-1")


def _statuses(sim: Simulator, operation: str) -> list[int]:
    return [entry.status for entry in sim.log(operation)]


def _decoded(raw: Path) -> list[tuple[str, str | None, str | None]]:
    """custom_id, failure and error code of each line of a result file."""
    con = duckdb.connect()
    lines = raw.read_text(encoding="utf-8").split("\n")
    con.execute("CREATE TABLE lines (line VARCHAR, source VARCHAR, position BIGINT)")
    rows = [(line, "output", number) for number, line in enumerate(lines) if line]
    con.executemany("INSERT INTO lines VALUES (?, ?, ?)", rows)
    query = decode_sql("/v1/chat/completions")
    return con.sql(
        f"SELECT custom_id, failure, error_code FROM ({query}) ORDER BY custom_id"  # noqa: S608 - ours
    ).fetchall()


def test_a_shard_goes_up_runs_and_comes_back_whole(
    sim: Simulator, client: MistralClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path, rows=3)
    assert (made.status, made.total) == (RemoteStatus.VALIDATING, 0)
    assert made.metadata == {
        "intent": "intent-1",
        "job": "reviews",
        "shard": "s-1",
        "attempt": "1",
        "timeout_hours": "24",
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
    assert done.results_until == done.ended_at + timedelta(hours=24)
    assert done.error_file_id is None
    assert done.output_file_id is not None
    target = tmp_path / "raw" / "b.output.jsonl"
    assert client.download(done.output_file_id, target) == target.stat().st_size
    assert _decoded(target) == [(f"row-{number}", None, None) for number in range(3)]
    assert list(target.parent.iterdir()) == [target]


def test_failed_rows_come_in_a_file_of_their_own_and_are_read(tmp_path: Path) -> None:
    faults = {"rows": [{"becomes": "error", "status": 429, "custom_id": "row-0"}]}
    with Simulator(speed=0, faults=faults) as sim:
        client = make_client(sim.mistral_url)
        made = send(client, tmp_path)
        sim.advance(60)
        done = client.retrieve(made.batch_id)
        assert (done.status, done.completed, done.failed) == (RemoteStatus.COMPLETED, 1, 1)
        assert done.problems == ()
        assert done.error_file_id is not None
        client.download(done.error_file_id, tmp_path / "error.jsonl")
    ((custom_id, failure, _),) = _decoded(tmp_path / "error.jsonl")
    assert (custom_id, failure) == ("row-0", "errored")


def test_the_window_is_the_target_s_and_what_ran_in_it_is_kept(tmp_path: Path) -> None:
    with Simulator(speed=0, faults={"batches": [{"do": "stall", "after": 0.5}]}) as sim:
        client = make_client(sim.mistral_url)
        made = send(client, tmp_path, shard=make_shard(options={"timeout_hours": "2"}))
        assert made.expires_at == made.created_at + timedelta(hours=2)
        sim.advance(2 * HOUR + 60)
        late = client.retrieve(made.batch_id)
        assert (late.status, late.raw_status) == (RemoteStatus.EXPIRED, "TIMEOUT_EXCEEDED")
        assert late.output_file_id is not None
        client.download(late.output_file_id, tmp_path / "out.jsonl")
    assert len(_decoded(tmp_path / "out.jsonl")) == late.completed == 1


# --- uploads: read by Mistral, free to repeat --------------------------------------------------


def test_lines_that_mistral_will_not_take_are_named_before_anything_costs(
    sim: Simulator, client: MistralClient, waits: list[float], tmp_path: Path
) -> None:
    lines = tmp_path / "bad.jsonl"
    lines.write_bytes(
        request_line("row-0")
        + request_line("row-1", temperature=1.6)
        + b"{broken\n"
        + request_line("row-3", messages=[])
    )
    with pytest.raises(BadLines, match=r"upload of bad\.jsonl failed: line 2: .*Nothing was billed"
    ) as caught:  # fmt: skip
        client.upload(lines, name="bad.jsonl")
    assert list(caught.value.lines) == [2, 3, 4]
    assert "newline delimited JSON" in caught.value.lines[3]
    assert (_statuses(sim, "upload"), waits) == ([422], [])


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "fail", "status": 502},
        {"do": "fail", "status": 500, "when": "after"},
        {"do": "drop"},
        {"do": "cut", "bytes": 5},
    ],
)
def test_an_upload_that_fails_for_a_moment_is_sent_again_from_its_first_byte(
    sim: Simulator,
    client: MistralClient,
    waits: list[float],
    tmp_path: Path,
    fault: dict[str, object],
) -> None:
    sim.faults({"calls": [{**fault, "operation": "upload", "times": 2}]})
    made = send(client, tmp_path, rows=3)
    assert waits == [0.5, 1.0]
    sim.advance(60)
    assert client.retrieve(made.batch_id).completed == 3


def test_a_file_that_is_too_large_is_told_apart_and_not_sent_again(tmp_path: Path) -> None:
    with Simulator(speed=0, limits=Limits(mistral_max_file_bytes=50)) as sim:
        with pytest.raises(TooLarge, match="Cut the shard in two"):
            make_client(sim.mistral_url).upload(write_lines(tmp_path), name="s-1")
        assert len(_statuses(sim, "upload")) == 1


# --- creates: never repeated blindly -----------------------------------------------------------


def test_a_create_waits_for_a_file_that_mistral_does_not_see_yet(
    sim: Simulator, client: MistralClient, waits: list[float], tmp_path: Path
) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "create", "times": 3}]})
    assert send(client, tmp_path).status is RemoteStatus.VALIDATING
    assert waits == [1.0, 2.0, 4.0]
    assert _statuses(sim, "create") == [404, 404, 404, 200]


def test_a_create_gives_up_on_a_file_that_never_shows_after_a_minute(
    client: MistralClient, waits: list[float]
) -> None:
    with pytest.raises(NotFound, match="not found"):
        client.create(make_shard(), NO_LINES, file_id=FILE_ID)
    assert sum(waits) == 60


def test_a_certain_no_is_no_doubt(sim: Simulator, client: MistralClient, file_id: str) -> None:
    with pytest.raises(Refused, match="You do not have access to the model"):
        client.create(make_shard(model="nobody-s-model"), NO_LINES, file_id=file_id)
    for status, kind in ((402, OutOfCredit), (429, Throttled), (401, Unauthorized)):
        sim.faults({"calls": [{"do": "fail", "operation": "create", "status": status}]})
        with pytest.raises(kind):
            client.create(make_shard(), NO_LINES, file_id=file_id)
    assert client.find(make_shard(), since=LONG_AGO, known=NOTHING) is None


def test_long_names_are_cut_to_what_metadata_takes(client: MistralClient, file_id: str) -> None:
    shard = replace(make_shard(intent="i" * 600), shard_id="s" * 600)
    made = client.create(shard, NO_LINES, file_id=file_id)
    assert made.metadata["shard"] == "s" * 512
    found = client.find(shard, since=LONG_AGO, known=NOTHING)
    assert found is not None
    assert found.batch_id == made.batch_id


# --- stopping, fetching, deleting --------------------------------------------------------------


def test_a_batch_that_has_not_begun_is_cancelled_at_once_and_twice_is_no_error(
    client: MistralClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    asked = client.cancel(made.batch_id)
    assert (asked.status, asked.output_file_id) == (RemoteStatus.CANCELLED, None)
    assert client.cancel(made.batch_id).status is RemoteStatus.CANCELLED


def test_a_batch_that_runs_is_cancelled_in_its_time_with_what_was_answered(
    tmp_path: Path,
) -> None:
    with Simulator(speed=0, faults={"batches": [{"do": "stall", "after": 0.5}]}) as sim:
        client = make_client(sim.mistral_url)
        made = send(client, tmp_path)
        sim.advance(60)
        asked = client.cancel(made.batch_id)
        assert (asked.status, asked.raw_status) == (RemoteStatus.ENDING, "CANCELLATION_REQUESTED")
        assert client.cancel(made.batch_id).status is RemoteStatus.ENDING
        sim.advance(60)
        ended = client.retrieve(made.batch_id)
        assert (ended.status, ended.completed) == (RemoteStatus.CANCELLED, 1)
        assert ended.output_file_id is not None
        client.download(ended.output_file_id, tmp_path / "out.jsonl")
    assert len(_decoded(tmp_path / "out.jsonl")) == 1


def test_a_cancel_that_comes_too_late_tells_how_the_batch_ended(
    sim: Simulator, client: MistralClient, waits: list[float], tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.advance(60)
    assert client.cancel(made.batch_id).status is RemoteStatus.COMPLETED
    assert waits == []
    with pytest.raises(NotFound):
        client.cancel(JOB_ID)


@pytest.fixture
def output_id(sim: Simulator, client: MistralClient, tmp_path: Path) -> str:
    made = send(client, tmp_path)
    sim.advance(60)
    output_id = client.retrieve(made.batch_id).output_file_id
    assert output_id is not None
    return output_id


def test_results_are_gone_when_the_observation_said_so(
    sim: Simulator, client: MistralClient, waits: list[float], output_id: str, tmp_path: Path
) -> None:
    (seen,) = client.observe(since=LONG_AGO)
    assert seen.results_until is not None
    left = seen.results_until.timestamp() - sim.now
    sim.advance(left - 60)
    client.download(output_id, tmp_path / "out.jsonl")
    sim.advance(120)
    with pytest.raises(NotFound, match="may have expired"):
        client.download(output_id, tmp_path / "late.jsonl")
    assert waits == []


def test_files_and_batches_are_deleted_once_and_asking_again_is_fine(
    sim: Simulator, client: MistralClient, output_id: str
) -> None:
    (seen,) = client.observe(since=LONG_AGO)
    for _ in range(2):
        client.delete_file(output_id)
        client.delete_batch(seen.batch_id)
    assert _statuses(sim, "delete") == [200, 200, 404, 404]
    assert list(client.observe(since=LONG_AGO)) == []


def test_each_change_is_one_record_with_its_ids(
    client: MistralClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="batch_pipeline")
    made = send(client, tmp_path)
    client.cancel(made.batch_id)
    list(client.observe(since=LONG_AGO))
    assert made.input_file_id is not None
    client.delete_file(made.input_file_id)
    client.delete_batch(made.batch_id)
    ours = [record for record in caplog.records if record.name.startswith("batch_pipeline.prov")]
    assert [record.getMessage() for record in ours] == [
        "file uploaded",
        "batch created",
        "batch cancel asked",
        "file deleted",
        "batch deleted",
    ]
    assert {vars(record)["account"] for record in ours} == {client.account}
    assert (vars(ours[1])["batch_id"], vars(ours[1])["shard"]) == (made.batch_id, "s-1")
    assert "hello" not in json.dumps([vars(record) for record in ours], default=repr)
