"""The OpenAI client against the simulated API, through the real SDK over loopback HTTP."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from batch_pipeline.errors import Refused, TooLarge
from batch_pipeline.model import RemoteStatus
from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import (
    KEY,
    NO_LINES,
    make_client,
    make_shard,
    send,
    write_lines,
)


def _statuses(sim: Simulator, operation: str) -> list[int]:
    return [entry.status for entry in sim.log(operation)]


def test_a_file_s_name_ends_as_openai_wants_it(client: OpenAIClient, tmp_path: Path) -> None:
    assert client.upload(write_lines(tmp_path), name="s-1").startswith("file-")


def test_completed_with_only_an_error_file_names_only_that(tmp_path: Path) -> None:
    faults = {"rows": [{"becomes": "error", "status": 500, "share": 1.0}]}
    with Simulator(speed=0, faults=faults) as sim:
        client = make_client(sim.urls["openai"])
        made = send(client, tmp_path)
        sim.advance(60)
        done = client.retrieve(made.batch_id)
    assert done.status is RemoteStatus.COMPLETED
    assert done.output_file_id is None
    assert done.error_file_id is not None


def test_an_empty_error_file_id_is_no_file(tmp_path: Path) -> None:
    with Simulator(speed=0, faults={"batches": [{"do": "empty_error_id"}]}) as sim:
        client = make_client(sim.urls["openai"])
        made = send(client, tmp_path)
        sim.advance(60)
        assert client.retrieve(made.batch_id).error_file_id is None


def test_a_batch_refused_as_a_whole_tells_its_problems(sim: Simulator, tmp_path: Path) -> None:
    client = make_client(sim.urls["openai"])
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


def test_a_file_that_is_too_large_is_told_apart_and_not_sent_again(
    waits: list[float], tmp_path: Path
) -> None:
    with Simulator(speed=0, limits=Limits(max_file_bytes=50)) as sim:
        client = make_client(sim.urls["openai"], waits=waits)
        with pytest.raises(TooLarge, match=r"File is too large\. Cut the shard in two"):
            client.upload(write_lines(tmp_path), name="s-1.jsonl")
        assert len(_statuses(sim, "upload")) == 1
    assert waits == []


# --- result files ------------------------------------------------------------------------------


def test_a_batch_is_never_deleted_at_openai_and_the_answer_says_what_can_be(
    sim: Simulator, client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    sim.advance(60)
    with pytest.raises(Refused, match=f"batch {made.batch_id} cannot be deleted.*Its files can"):
        client.delete_batch(made.batch_id)


# --- looking --------------------------------------------------------------------------------------


def test_a_batch_made_in_the_second_in_which_we_began_is_seen(
    client: OpenAIClient, tmp_path: Path
) -> None:
    made = send(client, tmp_path)
    later_in_that_second = made.created_at + timedelta(microseconds=999_999)
    seen = [each.batch_id for each in client.observe(since=later_in_that_second)]
    assert seen == [made.batch_id]


# --- whose it is ----------------------------------------------------------------------------------


def test_an_empty_organization_is_none_and_not_an_empty_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "")
    client = OpenAIClient.from_env({**os.environ, "OPENAI_API_KEY": KEY})
    assert "" not in client._sdk.default_headers.values()


def test_only_openai_s_own_batches_have_a_page() -> None:
    official = OpenAIClient.from_env({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": ""})
    europe = make_client("https://eu.api.openai.com/v1")
    page = "https://platform.openai.com/batches/batch_1"
    assert official.dashboard_url("batch_1") == europe.dashboard_url("batch_1") == page
    assert make_client("https://notapi.openai.com.evil/v1").dashboard_url("batch_1") is None
    assert make_client("http://127.0.0.1:1/v1").dashboard_url("batch_1") is None
