"""Scripted faults in Mistral's own shapes: of calls, of rows, of whole jobs."""

import json
from typing import get_args

import httpx2
import jsonschema_rs
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from batch_pipeline.simulator.faults import RowFault
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.lines import TRIAGE, TRIAGE_FORMAT
from batch_pipeline_tests.simulator.mistral_requests import (
    EMBEDDINGS,
    Results,
    body_in,
    collect,
    content_of,
    counts,
    error_of,
    job_of,
    line_of,
    lines_of,
    message_in,
    post,
    run,
    submit,
    told,
    upload,
    wish,
)


def test_a_job_may_fail_whatever_it_holds(sim: Simulator, mistral: Mistral) -> None:
    sim.faults({"batches": [{"do": "invalidate", "code": "x", "message": "Out of credit."}]})
    ended = run(sim, mistral, lines_of(1)).job
    assert (ended.status, ended.output_file, ended.error_file) == ("FAILED", None, None)
    assert [error.message for error in ended.errors] == ["Out of credit."]


def test_a_new_job_cannot_be_found_for_a_while(sim: Simulator, mistral: Mistral) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "retrieve", "seconds": 5}]})
    job = submit(mistral, lines_of(1))
    with pytest.raises(SDKError) as hidden:
        job_of(mistral, job)
    assert hidden.value.status_code == 404
    sim.advance(5)
    assert job_of(mistral, job).id == job.id


def test_a_new_job_may_be_missing_from_the_list_for_a_while(
    sim: Simulator, mistral: Mistral
) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "list", "seconds": 5}]})
    submit(mistral, lines_of(1))
    assert mistral.batch.jobs.list().total == 0
    sim.advance(5)
    assert mistral.batch.jobs.list().total == 1


def test_a_new_file_cannot_be_used_for_a_while(sim: Simulator, mistral: Mistral) -> None:
    sim.faults({"calls": [{"do": "lag", "operation": "create", "times": 1}]})
    file = upload(mistral, lines_of(1))
    for status in (404, 200):
        answer = post(sim, wish(requests=None, input_files=[file.id]))
        assert answer.status_code == status
    assert [entry.fault for entry in sim.log("create")] == ["lag", None]


@pytest.mark.parametrize(
    ("status", "shape"),
    [(402, {"detail"}), (502, {"object", "message", "type", "param", "code", "raw_status_code"})],
)
def test_an_upload_may_fail_for_want_of_money_or_of_luck(
    sim: Simulator, mistral: Mistral, status: int, shape: set[str]
) -> None:
    sim.faults({"calls": [{"do": "fail", "operation": "upload", "status": status, "times": 1}]})
    with pytest.raises(SDKError) as failed:
        upload(mistral, lines_of(1))
    assert failed.value.status_code == status
    assert set(told(failed)) == shape
    assert upload(mistral, lines_of(1))


def test_a_create_that_fails_after_its_effect_leaves_a_job_behind(
    sim: Simulator, mistral: Mistral
) -> None:
    rule = {"do": "fail", "operation": "create", "status": 429, "when": "after", "retry_after": 3}
    sim.faults({"calls": [rule]})
    with pytest.raises(SDKError) as failed:
        submit(mistral, lines_of(1), metadata={"intent": "x"})
    assert failed.value.headers["retry-after"] == "3"
    assert told(failed)["type"] == "rate_limited"
    (orphan,) = mistral.batch.jobs.list().data or []
    assert orphan.metadata == {"intent": "x"}
    assert sim.log("create")[0].effect == orphan.id
    assert sim.submissions() == {"row-1": 1}


def test_a_dropped_create_is_an_error_of_the_transport(sim: Simulator, mistral: Mistral) -> None:
    sim.faults({"calls": [{"do": "drop", "operation": "create", "when": "after"}]})
    with pytest.raises(httpx2.RemoteProtocolError):
        submit(mistral, lines_of(1))
    assert mistral.batch.jobs.list().total == 1


def test_result_files_may_be_named_late_empty_or_without_their_last_newline(
    sim: Simulator, mistral: Mistral
) -> None:
    sim.faults(
        {
            "batches": [
                {"do": "late_results", "seconds": 30},
                {"do": "empty_error_id"},
                {"do": "no_final_newline"},
            ]
        }
    )
    job = submit(mistral, lines_of(2))
    sim.advance(10)
    assert (job_of(mistral, job).status, job_of(mistral, job).output_file) == ("SUCCESS", None)
    sim.advance(30)
    ended = job_of(mistral, job)
    assert ended.error_file == ""
    assert content_of(mistral, ended.output_file).endswith(b"}")


def test_a_cancel_may_lose_finished_rows(sim: Simulator, mistral: Mistral) -> None:
    sim.faults({"batches": [{"do": "lose_finished"}]})
    job = submit(mistral, lines_of(10))
    sim.advance(2)
    assert mistral.batch.jobs.cancel(job_id=job.id).completed_requests > 0
    sim.advance(10)
    ended = collect(mistral, job.id)
    assert (counts(ended.job), ended.output) == ((10, 0, 0, 0), {})


def faulty(sim: Simulator, client: Mistral, becomes: str, **rule: object) -> Results:
    """Three rows, of which row-2 has the fault."""
    sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2", **rule}]})
    return run(sim, client, lines_of(3, response_format=TRIAGE_FORMAT))


@pytest.mark.parametrize("becomes", ["expired", "cancelled", "missing"])
def test_a_row_that_never_ran_is_in_neither_file(
    sim: Simulator, mistral: Mistral, becomes: str
) -> None:
    results = faulty(sim, mistral, becomes)
    assert (set(results.output), results.errors) == ({"row-1", "row-3"}, {})
    assert (results.job.total_requests, results.job.completed_requests) == (3, 2)


@pytest.mark.parametrize(
    ("rule", "status", "kind"),
    [
        ({"becomes": "request_timeout"}, 504, "unreachable_backend"),
        ({"becomes": "error", "status": 429}, 429, "rate_limited"),
        ({"becomes": "error"}, 500, "internal_server_error"),
        ({"becomes": "error", "status": 400}, 400, "invalid_request_error"),
    ],
)
def test_an_error_row_has_its_body_in_a_string(
    sim: Simulator,
    mistral: Mistral,
    rule: dict[str, str],
    status: int,
    kind: str,
) -> None:
    results = faulty(sim, mistral, **rule)
    row = results.errors["row-2"]
    assert row["response"]["status_code"] == status
    assert (error_of(row)["type"], error_of(row)["raw_status_code"]) == (kind, status)
    assert results.job.errors[0].message == f"HTTP Error, status code: {status}"


def test_a_lost_row_has_nothing_and_counts_nowhere(sim: Simulator, mistral: Mistral) -> None:
    results = faulty(sim, mistral, "lost")
    assert results.errors["row-2"]["response"] == {"status_code": 0, "body": ""}
    assert (results.job.failed_requests, results.job.errors) == (0, [])


@pytest.mark.parametrize(
    ("becomes", "finish"),
    [
        ("refused", "stop"),
        ("content_filter", "error"),
        ("truncated", "length"),
        ("context_exceeded", "model_length"),
        ("invalid", "stop"),
        ("not_json", "stop"),
        ("line_separators", "stop"),
    ],
)
def test_an_answer_may_be_of_no_use(
    sim: Simulator, mistral: Mistral, becomes: str, finish: str
) -> None:
    line = faulty(sim, mistral, becomes).output["row-2"]
    assert body_in(line)["choices"][0]["finish_reason"] == finish
    content = message_in(line)["content"]
    try:
        fits = jsonschema_rs.is_valid(TRIAGE, json.loads(content))
    except json.JSONDecodeError:
        fits = False
    assert fits is (becomes == "line_separators")
    assert ("\u2028" in content) is (becomes == "line_separators")


@pytest.mark.parametrize(
    ("becomes", "lines"), [("duplicate", 4), ("unknown_id", 4), ("unparseable", 3)]
)
def test_the_output_file_may_be_mangled(
    sim: Simulator, mistral: Mistral, becomes: str, lines: int
) -> None:
    sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2"}]})
    job = submit(mistral, lines_of(3))
    sim.advance(60)
    output = mistral.batch.jobs.get(job_id=job.id).output_file
    rows = content_of(mistral, output).split(b"\n")[:-1]
    assert len(rows) == lines
    assert sum(b'"row-2"' in row for row in rows) == (2 if becomes == "duplicate" else 1)
    assert any(b"never-sent-" in row for row in rows) is (becomes == "unknown_id")


def test_every_row_fault_leaves_the_other_rows_alone(sim: Simulator, mistral: Mistral) -> None:
    for becomes in get_args(RowFault):
        sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2"}]})
        job = submit(mistral, lines_of(3))
        sim.advance(60)
        output = mistral.batch.jobs.get(job_id=job.id).output_file
        rows = content_of(mistral, output).split(b"\n")
        for custom_id in (b"row-1", b"row-3"):
            (row,) = [row for row in rows if custom_id in row]
            assert json.loads(row)["response"]["status_code"] == 200


def test_embeddings_and_judgements_may_be_invalid(sim: Simulator, mistral: Mistral) -> None:
    sim.faults({"rows": [{"becomes": "invalid"}]})
    lines = [line_of("a", input="x")]
    output = run(sim, mistral, lines, EMBEDDINGS, model="mistral-embed").output["a"]
    assert len(body_in(output)["data"][0]["embedding"]) == 1
    judged = run(sim, mistral, lines, "/v1/moderations", model="mistral-moderation-latest")
    assert body_in(judged.output["a"])["results"] == []


def test_a_fault_may_hit_only_the_first_sending(sim: Simulator, mistral: Mistral) -> None:
    first = faulty(sim, mistral, "error", first_times=1)
    again = run(sim, mistral, lines_of(3))
    assert (set(first.errors), len(again.output)) == ({"row-2"}, 3)
    assert sim.submissions() == {"row-1": 2, "row-2": 2, "row-3": 2}
