"""Scripted faults of HTTP calls, as the SDK sees them."""

import time

import httpx2
import openai
import pytest
from openai import OpenAI

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.lines import make_lines, submit, upload


def create(client: OpenAI, file_id: str) -> str:
    return client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    ).id


def fired(sim: Simulator) -> list[tuple[str, int, str | None, bool]]:
    return [
        (entry.operation, entry.status, entry.fault, entry.effect is not None)
        for entry in sim.log()
    ]


def test_an_error_before_the_effect_creates_nothing(sim: Simulator, client: OpenAI) -> None:
    sim.faults(
        """
        calls:
          - do: fail
            operation: create
            status: 503
            retry_after: 7
            code: busy
            message: Not now.
            times: 1
        """
    )
    file = upload(client, b"{}")
    with pytest.raises(openai.InternalServerError) as failed:
        create(client, file.id)
    assert failed.value.status_code == 503
    assert failed.value.response.headers["retry-after"] == "7"
    assert (failed.value.code, failed.value.type) == ("busy", "server_error")
    assert client.batches.list().data == []
    assert create(client, file.id)
    assert fired(sim)[1] == ("create", 503, "fail", False)


def test_an_error_after_the_effect_leaves_a_batch_behind(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "create", "when": "after", "times": 1}]})
    file = upload(client, b"{}")
    with pytest.raises(openai.InternalServerError):
        create(client, file.id)
    (orphan,) = client.batches.list().data
    (entry,) = sim.log("create")
    assert entry.effect == orphan.id
    assert (entry.status, entry.fault) == (500, "fail")


@pytest.mark.parametrize(("when", "left_behind"), [("before", 0), ("after", 1)])
def test_a_dropped_create_is_a_connection_error_with_or_without_effect(
    sim: Simulator, client: OpenAI, when: str, left_behind: int
) -> None:
    sim.faults({"calls": [{"do": "drop", "operation": "create", "when": when, "times": 1}]})
    file = upload(client, b"{}")
    with pytest.raises(openai.APIConnectionError):
        create(client, file.id)
    assert len(client.batches.list().data) == left_behind
    (entry,) = sim.log("create")
    assert (entry.status, entry.fault) == (0, "drop")


@pytest.mark.parametrize(("when", "left_behind"), [("before", 0), ("after", 1)])
def test_a_dropped_upload_is_a_connection_error_with_or_without_effect(
    sim: Simulator, client: OpenAI, when: str, left_behind: int
) -> None:
    sim.faults({"calls": [{"do": "drop", "operation": "upload", "when": when, "times": 1}]})
    with pytest.raises(openai.APIConnectionError):
        upload(client, b"x" * 3_000_000)
    assert len(client.files.list().data) == left_behind


def test_a_cut_download_breaks_off_before_its_promised_length(
    sim: Simulator, client: OpenAI
) -> None:
    content = b"0123456789" * 500_000
    file = upload(client, content)
    sim.faults({"calls": [{"do": "cut", "operation": "content", "bytes": 4_000_000, "times": 1}]})
    received: list[bytes] = []
    with client.files.with_streaming_response.content(file.id) as download:
        assert download.headers["content-length"] == str(len(content))
        with pytest.raises(httpx2.RemoteProtocolError):
            received.extend(download.iter_bytes())
    assert b"".join(received) == content[:4_000_000]
    assert sim.log("content")[0].response_bytes == 4_000_000
    assert client.files.content(file.id).content == content


def test_the_nth_call_fails_and_the_others_do_not(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "list", "status": 429, "nth": [2, 3]}]})
    client.batches.list()
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            client.batches.list()
    client.batches.list()


def test_a_fault_can_be_about_one_id_and_about_several_operations(
    sim: Simulator, client: OpenAI
) -> None:
    first, second = upload(client, b"1"), upload(client, b"2")
    sim.faults({"calls": [{"do": "fail", "operation": ["file", "content"], "id": first.id}]})
    for look in (client.files.retrieve, client.files.content):
        with pytest.raises(openai.InternalServerError):
            look(first.id)
        look(second.id)


def test_any_means_every_operation(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "any", "status": 502}]})
    with pytest.raises(openai.InternalServerError):
        client.files.list()
    with pytest.raises(openai.InternalServerError):
        client.batches.cancel("batch_x")


def test_a_new_file_cannot_be_found_for_a_while(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "create", "seconds": 5}]})
    file = upload(client, b"{}")
    with pytest.raises(openai.BadRequestError, match="Cannot find file") as refused:
        create(client, file.id)
    assert refused.value.param == "file_id"
    assert sim.log("create")[0].fault == "lag"
    sim.advance(5)
    assert create(client, file.id)


def test_a_new_batch_cannot_be_found_by_its_first_polls(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "retrieve", "times": 2}]})
    for batch in (submit(client, make_lines(1)), submit(client, make_lines(1))):
        for _ in range(2):
            with pytest.raises(openai.NotFoundError, match="No batch found"):
                client.batches.retrieve(batch.id)
        assert client.batches.retrieve(batch.id).id == batch.id


def test_an_auth_failure_and_a_spent_budget_can_be_scripted(sim: Simulator, client: OpenAI) -> None:
    rule = {
        "do": "fail",
        "operation": "create",
        "status": 400,
        "code": "billing_hard_limit_reached",
    }
    sim.faults({"calls": [rule, {"do": "fail", "operation": "list", "status": 403}]})
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, upload(client, b"{}").id)
    assert refused.value.code == "billing_hard_limit_reached"
    with pytest.raises(openai.PermissionDeniedError):
        client.batches.list()


def test_a_dropped_call_does_not_hang(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"calls": [{"do": "drop", "operation": "list"}]})
    started = time.monotonic()
    with pytest.raises(openai.APIConnectionError):
        client.batches.list()
    assert time.monotonic() - started < 2
