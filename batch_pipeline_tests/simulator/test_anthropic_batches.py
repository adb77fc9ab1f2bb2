"""Anthropic's /v1/messages/batches: the life of a batch."""

import re
from datetime import timedelta

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.anthropic_requests import (
    client_of,
    collect,
    make_request,
    make_requests,
    read,
    run,
    submit,
)

DAY = 86_400


def test_a_batch_is_in_progress_from_the_start_and_ends(sim: Simulator, claude: Anthropic) -> None:
    batch = submit(claude, make_requests(3))
    assert re.fullmatch(r"msgbatch_simulated[0-9a-f]{32}", batch.id)
    assert batch.processing_status == "in_progress"
    assert batch.results_url is None
    assert batch.expires_at - batch.created_at == timedelta(days=1)
    sim.advance(60)
    ended = claude.messages.batches.retrieve(batch.id)
    assert ended.processing_status == "ended"
    assert ended.ended_at is not None
    assert ended.ended_at > batch.created_at
    assert collect(claude, batch.id).counts == {"succeeded": 3}


def test_a_batch_object_has_every_field_the_sdk_knows_and_times_with_microseconds(
    sim: Simulator, claude: Anthropic
) -> None:
    batch = submit(claude, make_requests(1))
    sim.advance(60)
    batch = claude.messages.batches.retrieve(batch.id)
    assert set(MessageBatch.model_fields) <= batch.model_fields_set
    assert not batch.model_extra
    shown = claude.messages.batches.with_raw_response.retrieve(batch.id).http_response.json()
    for name in ("created_at", "expires_at", "ended_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", shown[name])


def test_every_request_is_processing_until_all_have_ended(
    sim: Simulator, claude: Anthropic
) -> None:
    batch = submit(claude, make_requests(10))
    sim.advance(2.5)
    running = claude.messages.batches.retrieve(batch.id)
    assert running.request_counts.processing == 10
    assert running.request_counts.succeeded == 0
    sim.advance(60)
    assert claude.messages.batches.retrieve(batch.id).request_counts.processing == 0


def test_polls_say_when_to_come_again_while_the_batch_is_in_progress(
    sim: Simulator, claude: Anthropic
) -> None:
    batch = submit(claude, make_requests(1))
    polls = claude.messages.batches.with_raw_response
    headers = polls.retrieve(batch.id).headers
    assert headers["retry-after"] == "10"
    assert headers["request-id"].startswith("req_")
    assert int(headers["anthropic-ratelimit-requests-remaining"]) == 998
    assert headers["anthropic-ratelimit-requests-limit"] == "1000"
    sim.advance(60)
    assert "retry-after" not in polls.retrieve(batch.id).headers


def test_results_come_once_each_in_any_order_and_without_a_last_newline(
    sim: Simulator, claude: Anthropic
) -> None:
    results = run(sim, claude, make_requests(40))
    ids = list(results.rows)
    assert ids != sorted(ids, key=lambda name: int(name.removeprefix("row-")))
    assert set(ids) == {f"row-{number}" for number in range(1, 41)}
    assert results.content.count(b"\n") == 39
    assert results.content.endswith(b"}")


def test_results_are_a_jsonl_attachment_at_an_absolute_address(
    sim: Simulator, claude: Anthropic
) -> None:
    batch = run(sim, claude, make_requests(1)).batch
    path = f"/v1/messages/batches/{batch.id}/results"
    assert batch.results_url == sim.urls["anthropic"] + path
    with claude.messages.batches.with_streaming_response.results(batch.id) as response:
        assert response.headers["content-type"] == "application/x-jsonl"
        assert response.headers["content-disposition"].startswith("attachment")


def test_the_sdk_reads_results_as_they_are(sim: Simulator, claude: Anthropic) -> None:
    batch = submit(claude, [*make_requests(2), make_request("bad", model="claude-nothing")])
    sim.advance(60)
    rows = {row.custom_id: row for row in claude.messages.batches.results(batch.id)}
    assert {row.result.type for row in rows.values()} == {"succeeded", "errored"}
    for row in rows.values():
        assert MessageBatchIndividualResponse.model_validate(row.to_dict(mode="json"))


def test_there_are_no_results_before_the_end(claude: Anthropic) -> None:
    batch = submit(claude, make_requests(1))
    path = f"/v1/messages/batches/{batch.id}/results"
    with pytest.raises(anthropic.NotFoundError) as refused:
        claude.get(path, cast_to=httpx2.Response)
    assert refused.value.type == "not_found_error"
    assert f"Message Batch {batch.id} has no available results." in refused.value.message


def test_results_are_archived_after_29_days(sim: Simulator, claude: Anthropic) -> None:
    batch = run(sim, claude, make_requests(1)).batch
    sim.advance(29 * DAY - 100)
    assert read(claude, batch.id)
    sim.advance(100)
    archived = claude.messages.batches.retrieve(batch.id)
    assert archived.archived_at == batch.created_at + timedelta(days=29)
    assert archived.results_url is None
    assert archived.request_counts.succeeded == 1
    with pytest.raises(anthropic.NotFoundError, match="no available results"):
        claude.get(f"/v1/messages/batches/{batch.id}/results", cast_to=httpx2.Response)


def test_a_cancel_half_way_keeps_finished_rows_and_names_the_rest(
    sim: Simulator, claude: Anthropic
) -> None:
    batch = submit(claude, make_requests(10))
    sim.advance(2)
    canceling = claude.messages.batches.cancel(batch.id)
    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at is not None
    assert canceling.ended_at is None
    assert claude.messages.batches.cancel(batch.id) == canceling
    sim.advance(60)
    results = collect(claude, batch.id)
    kinds = [row["type"] for row in results.rows.values()]
    assert results.batch.processing_status == "ended"
    assert results.batch.cancel_initiated_at == canceling.cancel_initiated_at
    assert results.batch.ended_at is not None
    assert 0 < kinds.count("succeeded") < 10
    assert results.counts == {kind: kinds.count(kind) for kind in ("succeeded", "canceled")}
    assert {"type": "canceled"} in results.rows.values()


def test_a_cancel_at_once_cancels_every_row(sim: Simulator, claude: Anthropic) -> None:
    batch = submit(claude, make_requests(3))
    claude.messages.batches.cancel(batch.id)
    sim.advance(60)
    results = collect(claude, batch.id)
    assert results.counts == {"canceled": 3}
    assert len(results.rows) == 3


def test_a_late_cancel_may_cancel_nothing(sim: Simulator, claude: Anthropic) -> None:
    batch = submit(claude, make_requests(3))
    sim.advance(3.7)
    claude.messages.batches.cancel(batch.id)
    sim.advance(60)
    assert collect(claude, batch.id).counts == {"succeeded": 3}


def test_an_ended_batch_cannot_be_canceled(sim: Simulator, claude: Anthropic) -> None:
    batch = run(sim, claude, make_requests(1)).batch
    with pytest.raises(anthropic.BadRequestError, match="cannot be canceled"):
        claude.messages.batches.cancel(batch.id)


def test_a_batch_that_stalls_expires_after_a_day_with_what_it_has(
    sim: Simulator, claude: Anthropic
) -> None:
    sim.faults({"batches": [{"do": "stall", "after": 0.5}]})
    batch = submit(claude, make_requests(10))
    sim.advance(DAY - 1)
    assert claude.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    sim.advance(2)
    results = collect(claude, batch.id)
    assert results.counts == {"succeeded": 5, "expired": 5}
    assert list(results.rows.values()).count({"type": "expired"}) == 5


def test_only_an_ended_batch_can_be_deleted_and_then_it_is_gone(
    sim: Simulator, claude: Anthropic
) -> None:
    batch = submit(claude, make_requests(1))
    text = "In progress batches cannot be deleted. Consider canceling the batch instead."
    with pytest.raises(anthropic.BadRequestError, match=re.escape(text)):
        claude.messages.batches.delete(batch.id)
    sim.advance(60)
    assert claude.messages.batches.delete(batch.id).type == "message_batch_deleted"
    assert claude.messages.batches.list().data == []
    assert sim.submissions() == {"row-1": 1}
    for look in (
        claude.messages.batches.retrieve,
        claude.messages.batches.cancel,
        claude.messages.batches.delete,
    ):
        with pytest.raises(anthropic.NotFoundError, match=f"Message Batch {batch.id} not found."):
            look(batch.id)


def test_batches_are_listed_newest_first_page_by_page_in_both_directions(
    claude: Anthropic,
) -> None:
    ids = [submit(claude, make_requests(1)).id for _ in range(5)][::-1]
    listing = claude.messages.batches.list
    assert [batch.id for batch in listing(limit=2)] == ids
    page = listing(limit=2, after_id=ids[1])
    assert [batch.id for batch in page.data] == ids[2:4]
    assert (page.first_id, page.last_id, page.has_more) == (ids[2], ids[3], True)
    assert not listing(limit=2, after_id=ids[2]).has_more
    page = listing(limit=2, before_id=ids[3])
    assert [batch.id for batch in page.data] == ids[1:3]
    assert page.has_more
    assert [batch.id for batch in listing(limit=2, before_id=ids[4])] == [*ids[2:4], *ids[:2]]
    empty = listing(after_id=ids[4])
    assert (empty.data, empty.first_id, empty.last_id) == ([], None, None)


def test_a_page_holds_twenty_batches_unless_told(claude: Anthropic) -> None:
    for _ in range(21):
        submit(claude, make_requests(1))
    assert len(claude.messages.batches.list().data) == 20
    assert len(claude.messages.batches.list(limit=1000).data) == 21


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "many"},
        {"after_id": "msgbatch_x"},
        {"before_id": "msgbatch_x"},
        {"before_id": "msgbatch_x", "after_id": "msgbatch_x"},
    ],
)
def test_a_wrong_page_is_refused(shared_claude: Anthropic, query: dict[str, object]) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        shared_claude.messages.batches.list(extra_query=query)
    assert refused.value.type == "invalid_request_error"


def test_the_beta_twin_is_the_same_batch_and_the_log_remembers_betas(
    sim: Simulator, claude: Anthropic
) -> None:
    twin = claude.beta.messages.batches
    batch = twin.create(
        betas=["output-300k-2026-03-24"],
        requests=[
            {
                "custom_id": "row-1",
                "params": {
                    "model": "claude-sonnet-5",
                    "max_tokens": 200_000,
                    "messages": [{"role": "user", "content": "Hello"}],
                },
            }
        ],
    )
    sim.advance(60)
    assert claude.messages.batches.retrieve(batch.id).request_counts.succeeded == 1
    assert [row.result.type for row in twin.results(batch.id)] == ["succeeded"]
    notes = sim.log("create")[0].notes
    assert "output-300k-2026-03-24" in notes["betas"]
    assert notes["version"] == "2026-10-21"


def test_submissions_count_accepted_batches_whatever_the_provider(
    sim: Simulator, claude: Anthropic
) -> None:
    first = submit(claude, make_requests(2))
    submit(claude, make_requests(1))
    with pytest.raises(anthropic.BadRequestError):
        submit(claude, [*make_requests(3), *make_requests(1)])
    assert sim.submissions() == {"row-1": 2, "row-2": 1}
    assert sim.custom_ids(first.id) == ["row-1", "row-2"]
    assert [entry.effect for entry in sim.log("create")][:1] == [first.id]


def test_nothing_answers_elsewhere(sim: Simulator) -> None:
    with client_of(sim) as client, pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-sonnet-5", max_tokens=1, messages=[])
