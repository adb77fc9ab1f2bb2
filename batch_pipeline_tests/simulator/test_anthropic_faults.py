"""Scripted faults in Anthropic's own shapes, and what survives a restart."""

import json
from pathlib import Path
from typing import get_args

import anthropic
import httpx2
import pytest
from anthropic import Anthropic

from batch_pipeline.simulator.faults import RowFault
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.anthropic_requests import (
    TOOL,
    TRIAGE,
    Results,
    client_of,
    collect,
    make_request,
    make_requests,
    read,
    run,
    submit,
)

FORMAT = {"format": {"type": "json_schema", "schema": TRIAGE}}


def run_with(sim: Simulator, client: Anthropic, becomes: str, **rule: object) -> Results:
    """Three rows, of which row-2 has the fault."""
    sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2", **rule}]})
    return run(sim, client, make_requests(3, output_config=FORMAT))


@pytest.mark.parametrize(("becomes", "kind"), [("expired", "expired"), ("cancelled", "canceled")])
def test_a_row_may_not_run(sim: Simulator, claude: Anthropic, becomes: str, kind: str) -> None:
    results = run_with(sim, claude, becomes)
    assert results.rows["row-2"] == {"type": kind}
    assert results.counts == {"succeeded": 2, kind: 1}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_a_row_may_be_an_error(sim: Simulator, claude: Anthropic, status: int, kind: str) -> None:
    results = run_with(sim, claude, "error", status=status)
    error = results.error("row-2")
    assert error["error"]["type"] == kind
    assert (error["request_id"] is None) == (status < 429)
    assert results.counts == {"succeeded": 2, "errored": 1}


def test_a_row_may_time_out_or_fail_without_a_word(sim: Simulator, claude: Anthropic) -> None:
    assert run_with(sim, claude, "request_timeout").error("row-2")["error"]["type"] == (
        "timeout_error"
    )
    assert run_with(sim, claude, "lost").error("row-2")["error"]["message"] == ""


def test_a_row_may_be_missing_though_the_counts_add_up(sim: Simulator, claude: Anthropic) -> None:
    results = run_with(sim, claude, "missing")
    assert set(results.rows) == {"row-1", "row-3"}
    assert results.counts == {"succeeded": 3}


def test_a_batch_of_missing_rows_has_empty_results(sim: Simulator, claude: Anthropic) -> None:
    sim.faults({"rows": [{"becomes": "missing"}]})
    results = run(sim, claude, make_requests(2))
    assert results.content == b""
    assert results.batch.results_url


def test_a_row_may_be_refused_with_or_without_words(sim: Simulator, claude: Anthropic) -> None:
    refused = run_with(sim, claude, "refused").message("row-2")
    assert refused["stop_reason"] == "refusal"
    assert refused["stop_details"]["type"] == "refusal"
    assert "can't help" in refused["content"][0]["text"]
    filtered = run_with(sim, claude, "content_filter").message("row-2")
    assert (filtered["stop_reason"], filtered["content"]) == ("refusal", [])


@pytest.mark.parametrize(
    ("becomes", "reason"),
    [("truncated", "max_tokens"), ("context_exceeded", "model_context_window_exceeded")],
)
def test_a_row_may_be_cut(sim: Simulator, claude: Anthropic, becomes: str, reason: str) -> None:
    message = run_with(sim, claude, becomes).message("row-2")
    assert message["stop_reason"] == reason
    with pytest.raises(json.JSONDecodeError):
        json.loads(message["content"][0]["text"])


def test_a_row_may_break_its_schema_or_be_prose(sim: Simulator, claude: Anthropic) -> None:
    broken = run_with(sim, claude, "invalid").message("row-2")
    assert set(TRIAGE["required"]) - set(json.loads(broken["content"][0]["text"]))
    prose = run_with(sim, claude, "not_json").message("row-2")
    assert prose["content"][0]["text"].startswith("Sure!")


def test_a_call_may_break_its_schema_or_be_prose(sim: Simulator, claude: Anthropic) -> None:
    choice = {"type": "tool", "name": "file_ticket"}
    rules = [{"becomes": "invalid", "custom_id": "row-1"}, {"becomes": "not_json"}]
    sim.faults({"rows": rules})
    results = run(sim, claude, make_requests(2, tools=[TOOL], tool_choice=choice))
    call = results.message("row-1")["content"][0]
    assert set(TRIAGE["required"]) - set(call["input"])
    prose = results.message("row-2")
    assert prose["content"][0]["type"] == "text"
    assert prose["stop_reason"] == "end_turn"


def test_a_result_may_be_of_a_type_that_nobody_knows(sim: Simulator, claude: Anthropic) -> None:
    assert run_with(sim, claude, "unknown_type").rows["row-2"]["type"] == "postponed"


def test_a_stranger_and_a_twin_may_be_among_the_rows(sim: Simulator, claude: Anthropic) -> None:
    assert any(name.startswith("never-sent-") for name in run_with(sim, claude, "unknown_id").rows)
    content = run_with(sim, claude, "duplicate").content
    assert content.count(b'"custom_id":"row-2"') == 2


def test_a_line_may_be_unparseable_or_hold_line_separators(
    sim: Simulator, claude: Anthropic
) -> None:
    sim.faults({"rows": [{"becomes": "unparseable", "custom_id": "row-2"}]})
    batch = submit(claude, make_requests(3))
    sim.advance(60)
    (broken,) = [line for line in read(claude, batch.id).split(b"\n") if b'"row-2"' in line]
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken)
    content = run_with(sim, claude, "line_separators").content
    assert len(content.decode().splitlines()) > content.count(b"\n") + 1 == 3


def test_every_row_fault_leaves_the_other_rows_alone_and_the_counts_whole(
    sim: Simulator, claude: Anthropic
) -> None:
    faults = get_args(RowFault)
    sim.faults({"rows": [{"becomes": each, "custom_id": each} for each in faults]})
    bad = [make_request(name, output_config=FORMAT) for name in faults]
    batch = submit(claude, [*bad, *make_requests(20)])
    sim.advance(60)
    lines = read(claude, batch.id).split(b"\n")
    for number in range(1, 21):
        (line,) = [line for line in lines if f'"row-{number}"'.encode() in line]
        assert json.loads(line)["result"]["type"] == "succeeded"
    counts = claude.messages.batches.retrieve(batch.id).request_counts
    assert counts.processing == 0
    assert sum(counts.model_dump().values()) == len(faults) + 20


def test_a_fault_may_hit_only_the_first_time_a_custom_id_is_seen(
    sim: Simulator, claude: Anthropic
) -> None:
    first = run_with(sim, claude, "expired", first_times=1)
    again = run(sim, claude, make_requests(3))
    assert first.counts == {"succeeded": 2, "expired": 1}
    assert again.counts == {"succeeded": 3}


def test_results_may_show_up_late(sim: Simulator, claude: Anthropic) -> None:
    sim.faults({"batches": [{"do": "late_results", "seconds": 30}]})
    batch = submit(claude, make_requests(1))
    sim.advance(10)
    ended = claude.messages.batches.retrieve(batch.id)
    assert (ended.processing_status, ended.results_url) == ("ended", None)
    with pytest.raises(anthropic.NotFoundError):
        claude.get(f"/v1/messages/batches/{batch.id}/results", cast_to=httpx2.Response)
    sim.advance(30)
    assert collect(claude, batch.id).counts == {"succeeded": 1}


def test_a_cancel_may_lose_finished_rows(sim: Simulator, claude: Anthropic) -> None:
    sim.faults({"batches": [{"do": "lose_finished"}]})
    batch = submit(claude, make_requests(10))
    sim.advance(2)
    claude.messages.batches.cancel(batch.id)
    sim.advance(10)
    assert collect(claude, batch.id).counts == {"canceled": 10}


def test_results_may_be_said_to_lie_on_another_host(sim: Simulator, claude: Anthropic) -> None:
    sim.faults({"batches": [{"do": "foreign_results", "host": "https://evil.invalid"}]})
    batch = submit(claude, make_requests(1))
    sim.advance(60)
    url = claude.messages.batches.retrieve(batch.id).results_url
    assert url == f"https://evil.invalid/v1/messages/batches/{batch.id}/results"


def test_a_create_may_be_refused_whatever_it_holds(sim: Simulator, claude: Anthropic) -> None:
    flaw = {"do": "invalidate", "code": "enforced_spend_limit_reached", "message": "Enough."}
    sim.faults({"batches": [{**flaw, "times": 1}]})
    with pytest.raises(anthropic.BadRequestError) as refused:
        submit(claude, make_requests(1))
    assert refused.value.error_code == "enforced_spend_limit_reached"
    assert "Enough." in refused.value.message
    assert sim.submissions() == {}
    submit(claude, make_requests(1))


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (402, anthropic.APIStatusError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (503, anthropic.InternalServerError, "api_error"),
        (504, anthropic.InternalServerError, "timeout_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_a_call_may_fail_in_anthropics_shape(
    sim: Simulator,
    claude: Anthropic,
    status: int,
    error: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "create", "status": status}]})
    with pytest.raises(error) as failed:
        submit(claude, make_requests(1))
    assert failed.value.type == kind
    assert failed.value.request_id == failed.value.response.json()["request_id"]
    assert sim.submissions() == {}


@pytest.mark.parametrize("do", [{"do": "fail", "status": 529}, {"do": "drop"}])
def test_a_create_may_make_a_batch_and_yet_fail(
    sim: Simulator, claude: Anthropic, do: dict[str, object]
) -> None:
    sim.faults({"calls": [{**do, "operation": "create", "when": "after", "times": 1}]})
    with pytest.raises(anthropic.APIError):
        submit(claude, make_requests(2))
    (batch,) = claude.messages.batches.list().data
    assert batch.request_counts.processing == 2
    assert [entry.effect for entry in sim.log("create")] == [batch.id]


def test_a_download_may_be_cut(sim: Simulator, claude: Anthropic) -> None:
    batch = run(sim, claude, make_requests(3)).batch
    sim.faults({"calls": [{"do": "cut", "operation": "content", "bytes": 100, "nth": 1}]})
    with pytest.raises(httpx2.RemoteProtocolError):
        read(claude, batch.id)
    assert len(read(claude, batch.id)) > 100


def test_a_new_batch_may_not_be_found_or_listed_for_a_while(
    sim: Simulator, claude: Anthropic
) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": ["retrieve", "list"], "seconds": 5}]})
    batch = submit(claude, make_requests(1))
    assert claude.messages.batches.list().data == []
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.batches.retrieve(batch.id)
    assert sim.log()[-1].fault == "lag"
    sim.advance(6)
    assert claude.messages.batches.list().data[0].id == batch.id
    claude.messages.batches.retrieve(batch.id)


def test_everything_is_still_there_after_a_restart(tmp_path: Path) -> None:
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        before = run(sim, client, make_requests(2))
        running = submit(client, make_requests(10))
        sim.advance(2)
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        assert collect(client, before.batch.id).content == before.content
        assert client.messages.batches.retrieve(running.id) == running
        sim.advance(60)
        results = collect(client, running.id)
        assert results.counts == {"succeeded": 10}
        assert len(results.rows) == 10
        assert [entry.operation for entry in sim.log()][:1] == ["create"]
    names = {path.suffix for path in (tmp_path / "blobs").iterdir()}
    assert ".body" not in names
