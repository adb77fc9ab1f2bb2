"""The Mistral client against the simulated API, through the real SDK over loopback HTTP."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from batch_pipeline.errors import (
    BadLines,
    NotFound,
    Refused,
    TooLarge,
    Unauthorized,
)
from batch_pipeline.model import RemoteStatus
from batch_pipeline.providers.mistral.client import MistralClient
from batch_pipeline.providers.mistral.decode import decode_sql
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import LONG_AGO, NO_LINES, NOTHING
from batch_pipeline_tests.providers.fixed_answers import answering, closed
from batch_pipeline_tests.providers.mistral.factories import (
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
    return make_client(sim.urls["mistral"], waits=waits)


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


def test_failed_rows_come_in_a_file_of_their_own_and_are_read(tmp_path: Path) -> None:
    faults = {"rows": [{"becomes": "error", "status": 429, "custom_id": "row-0"}]}
    with Simulator(speed=0, faults=faults) as sim:
        client = make_client(sim.urls["mistral"])
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
        client = make_client(sim.urls["mistral"])
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


def test_a_file_that_is_too_large_is_told_apart_and_not_sent_again(tmp_path: Path) -> None:
    with Simulator(speed=0, limits=Limits(mistral_max_file_bytes=50)) as sim:
        with pytest.raises(TooLarge, match="Cut the shard in two"):
            make_client(sim.urls["mistral"]).upload(write_lines(tmp_path), name="s-1")
        assert len(_statuses(sim, "upload")) == 1


# --- creates: never repeated blindly -----------------------------------------------------------


def test_a_model_that_is_not_ours_is_a_certain_no(client: MistralClient, file_id: str) -> None:
    with pytest.raises(Refused, match="You do not have access to the model"):
        client.create(make_shard(model="nobody-s-model"), NO_LINES, file_id=file_id)
    assert client.find(make_shard(), since=LONG_AGO, known=NOTHING) is None


# --- stopping, fetching, deleting --------------------------------------------------------------


def test_a_batch_that_has_not_begun_is_cancelled_at_once_and_twice_is_no_error(
    client: MistralClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    asked = client.cancel(made.batch_id)
    assert (asked.status, asked.output_file_id) == (RemoteStatus.CANCELLED, None)
    assert client.cancel(made.batch_id).status is RemoteStatus.CANCELLED


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


# --- looking --------------------------------------------------------------------------------------


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


# --- connections ----------------------------------------------------------------------------------


def test_a_closed_client_has_given_back_its_connections() -> None:
    client = make_client(closed())
    client.close()
    assert client._http.is_closed


def test_a_host_that_is_not_there_is_not_waited_for_as_long_as_an_answer() -> None:
    waits: list[object] = []
    with answering(b"{}", status=401) as url:
        client = make_client(url)
        client._http.event_hooks["request"].append(
            lambda request: waits.append(dict(request.extensions["timeout"]))
        )
        with pytest.raises(Unauthorized):
            client.retrieve(JOB_ID)
    assert waits == [{"connect": 5.0, "read": 60.0, "write": 60.0, "pool": 60.0}]


def test_a_slash_behind_the_address_is_the_same_account() -> None:
    plain, slashed = make_client("http://127.0.0.1:1"), make_client("http://127.0.0.1:1/")
    assert plain.account == slashed.account
    plain.close()
    slashed.close()
