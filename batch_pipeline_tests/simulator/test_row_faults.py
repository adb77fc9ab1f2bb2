"""Scripted faults of rows and of whole batches."""

import json
from typing import get_args

import jsonschema_rs
import pytest
from openai import OpenAI

from batch_pipeline.simulator.faults import RowFault
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.lines import (
    RESPONSES,
    TRIAGE,
    TRIAGE_FORMAT,
    Line,
    Results,
    collect,
    make_line,
    make_lines,
    run,
    submit,
)


def counts(results: Results) -> tuple[int, int, int]:
    found = results.batch.request_counts
    assert found is not None
    return found.total, found.completed, found.failed


def run_with(sim: Simulator, client: OpenAI, becomes: str, **rule: object) -> Results:
    """Three rows, of which row-2 has the fault."""
    sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2", **rule}]})
    return run(sim, client, make_lines(3, response_format=TRIAGE_FORMAT))


def choice_of(results: Results) -> Line:
    choice: Line = results.output["row-2"]["response"]["body"]["choices"][0]
    return choice


def raw_output(client: OpenAI, results: Results) -> bytes:
    return client.files.content(results.batch.output_file_id or "").content


@pytest.mark.parametrize(
    ("becomes", "code"),
    [
        ("expired", "batch_expired"),
        ("cancelled", "batch_cancelled"),
        ("request_timeout", "request_timeout"),
    ],
)
def test_a_row_may_not_run(sim: Simulator, client: OpenAI, becomes: str, code: str) -> None:
    results = run_with(sim, client, becomes)
    assert set(results.output) == {"row-1", "row-3"}
    assert results.errors["row-2"]["response"] is None
    assert results.errors["row-2"]["error"]["code"] == code
    assert set(results.errors["row-2"]["error"]) == {"code", "message"}
    assert counts(results) == (3, 2, 1)


def test_a_row_may_be_in_neither_file(sim: Simulator, client: OpenAI) -> None:
    results = run_with(sim, client, "missing")
    assert set(results.output) | set(results.errors) == {"row-1", "row-3"}
    assert counts(results) == (3, 2, 0)


def test_a_row_may_be_lost_and_not_even_counted(sim: Simulator, client: OpenAI) -> None:
    results = run_with(sim, client, "lost")
    assert results.errors["row-2"]["response"] == {"status_code": 0, "request_id": "", "body": {}}
    assert results.errors["row-2"]["error"] is None
    assert counts(results) == (3, 2, 0)


@pytest.mark.parametrize(
    ("status", "kind"), [(500, "server_error"), (429, "requests"), (400, "invalid_request_error")]
)
def test_a_row_may_be_an_http_error(sim: Simulator, client: OpenAI, status: int, kind: str) -> None:
    response = run_with(sim, client, "error", status=status).errors["row-2"]["response"]
    assert response["status_code"] == status
    assert response["body"]["error"]["type"] == kind


def test_a_row_may_be_refused(sim: Simulator, client: OpenAI) -> None:
    choice = choice_of(run_with(sim, client, "refused"))
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] is None
    assert "can't help" in choice["message"]["refusal"]


def test_a_row_may_be_stopped_by_the_filter(sim: Simulator, client: OpenAI) -> None:
    choice = choice_of(run_with(sim, client, "content_filter"))
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", "")


def test_a_row_may_be_cut(sim: Simulator, client: OpenAI) -> None:
    choice = choice_of(run_with(sim, client, "truncated"))
    assert choice["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["content"])


def test_a_row_may_break_its_schema(sim: Simulator, client: OpenAI) -> None:
    choice = choice_of(run_with(sim, client, "invalid"))
    assert choice["finish_reason"] == "stop"
    assert not jsonschema_rs.is_valid(TRIAGE, json.loads(choice["message"]["content"]))


def test_a_row_may_be_prose(sim: Simulator, client: OpenAI) -> None:
    choice = choice_of(run_with(sim, client, "not_json"))
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["content"])


def test_a_row_may_come_twice(sim: Simulator, client: OpenAI) -> None:
    results = run_with(sim, client, "duplicate")
    assert raw_output(client, results).count(b'"custom_id":"row-2"') == 2
    assert counts(results) == (3, 3, 0)


def test_a_stranger_may_be_among_the_rows(sim: Simulator, client: OpenAI) -> None:
    results = run_with(sim, client, "unknown_id")
    assert len(results.output) == 4
    assert any(name.startswith("never-sent-") for name in results.output)


def test_a_line_may_be_unparseable(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"rows": [{"becomes": "unparseable", "custom_id": "row-2"}]})
    batch = submit(client, make_lines(3))
    sim.advance(60)
    file_id = client.batches.retrieve(batch.id).output_file_id
    lines = client.files.content(file_id or "").content.split(b"\n")
    assert len(lines) == 4
    (broken,) = [line for line in lines if b'"row-2"' in line]
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken)


def test_an_answer_may_hold_line_separators_that_are_no_newlines(
    sim: Simulator, client: OpenAI
) -> None:
    results = run_with(sim, client, "line_separators")
    content = raw_output(client, results)
    assert len(content.decode().splitlines()) > content.count(b"\n") == 3
    assert "\u2028" in choice_of(results)["message"]["content"]
    assert "\u0085" in choice_of(results)["message"]["content"]


def test_a_response_may_be_refused_filtered_and_cut(sim: Simulator, client: OpenAI) -> None:
    faults = {"a": "refused", "b": "content_filter", "c": "truncated"}
    sim.faults({"rows": [{"becomes": each, "custom_id": name} for name, each in faults.items()]})
    body = {"model": "gpt-4o-mini", "input": "Hello there, how are you?"}
    lines = [make_line(name, url=RESPONSES, body=body) for name in faults]
    results = run(sim, client, lines, RESPONSES)
    bodies = {name: line["response"]["body"] for name, line in results.output.items()}
    assert bodies["a"]["output"][0]["content"][0]["type"] == "refusal"
    assert bodies["b"]["incomplete_details"] == {"reason": "content_filter"}
    assert bodies["c"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_fault_may_hit_only_the_first_times_a_custom_id_is_seen(
    sim: Simulator, client: OpenAI
) -> None:
    first = run_with(sim, client, "expired", first_times=1)
    again = run(sim, client, make_lines(3))
    assert set(first.errors) == {"row-2"}
    assert set(again.output) == {"row-1", "row-2", "row-3"}


def test_a_share_of_all_rows_is_always_the_same_share(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"rows": [{"becomes": "expired", "share": 0.2}]})
    first, again = (run(sim, client, make_lines(500)) for _ in range(2))
    assert set(first.errors) == set(again.errors)
    assert 60 <= len(first.errors) <= 140


def test_rows_are_picked_by_glob_or_regex_and_the_first_rule_wins(
    sim: Simulator, client: OpenAI
) -> None:
    sim.faults(
        {
            "rows": [
                {"becomes": "missing", "regex": "-[12]$"},
                {"becomes": "lost", "custom_id": "row-*"},
            ]
        }
    )
    results = run(sim, client, make_lines(4))
    assert set(results.errors) == {"row-3", "row-4"}


@pytest.mark.parametrize("becomes", get_args(RowFault))
def test_every_row_fault_leaves_the_other_rows_alone(
    sim: Simulator, client: OpenAI, becomes: str
) -> None:
    sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2"}]})
    batch = submit(client, make_lines(3))
    sim.advance(60)
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    content = client.files.content(batch.output_file_id or "").content
    for custom_id in ("row-1", "row-3"):
        (line,) = [line for line in content.split(b"\n") if custom_id.encode() in line]
        assert json.loads(line)["response"]["status_code"] == 200


def test_result_ids_may_show_up_late(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"batches": [{"do": "late_results", "seconds": 30}]})
    batch = submit(client, [*make_lines(1), make_line("bad", body={"model": "gpt-4o-mini"})])
    sim.advance(10)
    ended = client.batches.retrieve(batch.id)
    assert ended.status == "completed"
    assert (ended.output_file_id, ended.error_file_id) == (None, None)
    sim.advance(30)
    results = collect(client, batch.id)
    assert results.output
    assert results.errors


def test_a_cancelled_batch_may_deliver_late(sim: Simulator, client: OpenAI) -> None:
    late = {"do": "late_results", "seconds": 1500, "endings": ["cancelled"]}
    sim.faults({"batches": [late]})
    batch = submit(client, make_lines(10))
    sim.advance(2)
    client.batches.cancel(batch.id)
    sim.advance(10)
    assert collect(client, batch.id).batch.status == "cancelled"
    assert collect(client, batch.id).output == {}
    sim.advance(1500)
    results = collect(client, batch.id)
    assert results.output
    assert len(results.output) + len(results.errors) == 10


def test_a_cancel_may_lose_finished_rows_and_reset_the_counts(
    sim: Simulator, client: OpenAI
) -> None:
    sim.faults({"batches": [{"do": "lose_finished"}]})
    batch = submit(client, make_lines(10))
    sim.advance(2)
    cancelling = client.batches.cancel(batch.id)
    assert cancelling.request_counts is not None
    assert cancelling.request_counts.completed > 0
    sim.advance(10)
    results = collect(client, batch.id)
    assert counts(results) == (10, 0, 0)
    assert results.batch.output_file_id is None
    assert len(results.errors) == 10


def test_the_id_of_no_error_file_may_be_an_empty_string(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"batches": [{"do": "empty_error_id", "nth": 2}]})
    first, second = (run(sim, client, make_lines(1)).batch for _ in range(2))
    assert (first.error_file_id, second.error_file_id) == (None, "")


def test_the_last_newline_may_be_missing(sim: Simulator, client: OpenAI) -> None:
    sim.faults({"batches": [{"do": "no_final_newline"}]})
    results = run(sim, client, make_lines(2))
    content = raw_output(client, results)
    assert content.endswith(b"}")
    file = client.files.retrieve(results.batch.output_file_id or "")
    assert file.bytes == len(content)


def test_a_batch_may_fail_whatever_it_holds(sim: Simulator, client: OpenAI) -> None:
    flaw = {"do": "invalidate", "code": "billing_hard_limit_reached", "message": "Enough."}
    sim.faults({"batches": [{**flaw, "times": 1}]})
    failed, fine = (run(sim, client, make_lines(1)).batch for _ in range(2))
    assert failed.status == "failed"
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert failed.errors.data[0].code == "billing_hard_limit_reached"
    assert fine.status == "completed"
