"""`/_sim`: the log, the submissions, the clock, the faults."""

from collections.abc import Iterator

import httpx2
import openai
import pytest
from openai import OpenAI

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.conftest import client_of
from batch_pipeline_tests.simulator.lines import make_lines, submit, upload


@pytest.fixture
def control(sim: Simulator) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{sim.url}/_sim") as client:
        yield client


def test_the_log_says_who_did_what_with_which_effect(
    sim: Simulator, client: OpenAI, control: httpx2.Client
) -> None:
    batch = submit(client, make_lines(1))
    client.batches.cancel(batch.id)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_x")
    entries = control.get("/log").json()
    assert [entry["seq"] for entry in entries] == [1, 2, 3, 4]
    assert [(entry["operation"], entry["status"], entry["effect"]) for entry in entries] == [
        ("upload", 200, batch.input_file_id),
        ("create", 200, batch.id),
        ("cancel", 200, batch.id),
        ("retrieve", 404, None),
    ]
    assert entries[1]["path"] == "/openai/v1/batches"
    assert entries[1]["method"] == "POST"
    assert entries[0]["request_bytes"] > 100
    assert entries[0]["response_bytes"] > 100
    assert control.get("/log", params={"operation": "create"}).json() == [entries[1]]
    assert [entry.effect for entry in sim.log("create")] == [batch.id]


def test_the_log_never_holds_a_key_and_can_be_cleared(
    sim: Simulator, control: httpx2.Client
) -> None:
    with client_of(sim, "sk-very-secret") as client:
        client.batches.list()
    assert "secret" not in control.get("/log").text
    assert control.delete("/log").status_code == 204
    assert control.get("/log").json() == []


def test_submissions_count_in_how_many_accepted_batches_a_custom_id_was(
    sim: Simulator, client: OpenAI, control: httpx2.Client
) -> None:
    first = submit(client, make_lines(2))
    submit(client, make_lines(1))
    failed = submit(client, make_lines(3) + make_lines(1))
    sim.advance(60)
    assert control.get("/submissions").json() == {"row-1": 2, "row-2": 1}
    assert control.get(f"/batches/{first.id}/custom_ids").json() == ["row-1", "row-2"]
    assert sim.custom_ids(first.id) == ["row-1", "row-2"]
    assert control.get(f"/batches/{failed.id}/custom_ids").json() == []
    assert control.get("/batches/batch_x/custom_ids").status_code == 404


def test_an_advance_over_http_does_all_that_is_due(client: OpenAI, control: httpx2.Client) -> None:
    before = control.get("/clock").json()
    batch = submit(client, make_lines(100))
    after = control.post("/clock/advance", json={"seconds": 60}).json()
    assert after["now"] == pytest.approx(before["now"] + 60)
    assert before["speed"] == 0
    assert client.batches.retrieve(batch.id).status == "completed"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"seconds": -1}', b'{"seconds": "x"}'])
def test_a_wrong_advance_is_refused(control: httpx2.Client, body: bytes) -> None:
    assert control.post("/clock/advance", content=body).status_code == 400


def test_faults_are_replaced_while_running(client: OpenAI, control: httpx2.Client) -> None:
    answer = control.put("/faults", content="calls: [{do: fail, operation: list, times: 1}]")
    assert answer.json()["calls"][0]["do"] == "fail"
    assert control.get("/faults").json() == answer.json()
    with pytest.raises(openai.InternalServerError):
        client.batches.list()
    client.batches.list()
    control.put("/faults", content="calls: [{do: fail, operation: list, times: 1}]")
    with pytest.raises(openai.InternalServerError):
        client.batches.list()


def test_a_wrong_script_is_refused_and_the_old_one_stays(
    client: OpenAI, control: httpx2.Client
) -> None:
    control.put("/faults", content="calls: [{do: fail, operation: files}]")
    refused = control.put("/faults", content="cals: []")
    assert refused.status_code == 400
    assert "did you mean 'calls'" in refused.json()["error"]
    with pytest.raises(openai.InternalServerError):
        client.files.list()


def test_uploads_of_the_same_bytes_are_different_files(client: OpenAI) -> None:
    assert upload(client, b"{}").id != upload(client, b"{}").id
