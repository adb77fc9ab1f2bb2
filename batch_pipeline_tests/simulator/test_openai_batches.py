"""OpenAI's /batches: the life of a batch."""

from typing import get_args

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.conftest import client_of
from batch_pipeline_tests.simulator.lines import (
    as_jsonl,
    collect,
    make_line,
    make_lines,
    submit,
    upload,
)

DAY = 86_400


def test_a_batch_goes_from_validating_to_completed(sim: Simulator, client: OpenAI) -> None:
    batch = submit(client, make_lines(10))
    assert batch.status == "validating"
    assert batch.expires_at == batch.created_at + DAY
    assert batch.request_counts is not None
    assert batch.request_counts.total == 0
    sim.advance(1.0)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    sim.advance(2.6)
    assert client.batches.retrieve(batch.id).status == "finalizing"
    sim.advance(0.4)
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    moments = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert moments == sorted(moments, key=lambda moment: moment or 0)
    assert batch.model == "gpt-4o-mini"
    assert batch.error_file_id is None


def test_a_batch_object_has_every_field_the_sdk_knows(client: OpenAI) -> None:
    batch = submit(client, make_lines(1))
    assert set(Batch.model_fields) <= batch.model_fields_set
    assert not batch.model_extra


def test_progress_shows_while_the_batch_runs(sim: Simulator, client: OpenAI) -> None:
    batch = submit(client, make_lines(10))
    sim.advance(1.0)
    seen = []
    for _ in range(5):
        counts = client.batches.retrieve(batch.id).request_counts
        assert counts is not None
        assert counts.total == 10
        seen.append(counts.completed)
        sim.advance(0.5)
    assert seen == sorted(set(seen))
    assert 0 < seen[2] < 10


def test_one_big_step_of_the_clock_is_the_same_as_many_small_ones(
    sim: Simulator, client: OpenAI
) -> None:
    batch = submit(client, make_lines(3))
    sim.advance(29 * DAY)
    ended = client.batches.retrieve(batch.id)
    assert ended.status == "completed"
    assert (ended.completed_at or 0) - batch.created_at <= 5
    assert len(collect(client, batch.id).output) == 3


def test_every_row_comes_back_once_and_not_in_order(sim: Simulator, client: OpenAI) -> None:
    batch = submit(client, make_lines(40))
    sim.advance(60)
    ended = client.batches.retrieve(batch.id)
    content = client.files.content(ended.output_file_id or "").content
    ids = [
        line.split(b'"custom_id":"')[1].split(b'"')[0].decode()
        for line in content.split(b"\n")[:-1]
    ]
    assert ids != sorted(ids)
    assert sorted(ids) == sorted(f"row-{number}" for number in range(1, 41))
    assert content.endswith(b"\n")


def test_usage_of_the_batch_is_the_sum_over_its_rows(sim: Simulator, client: OpenAI) -> None:
    batch = submit(client, [*make_lines(5), make_line("bad", body={"model": "gpt-4o-mini"})])
    sim.advance(60)
    results = collect(client, batch.id)
    usages = [line["response"]["body"]["usage"] for line in results.output.values()]
    usage = results.batch.usage
    assert usage is not None
    assert usage.input_tokens == sum(each["prompt_tokens"] for each in usages)
    assert usage.output_tokens == sum(each["completion_tokens"] for each in usages)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    counts = results.batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (6, 5, 1)


def test_a_batch_of_refused_rows_completes_with_an_error_file_alone(
    sim: Simulator, client: OpenAI
) -> None:
    batch = submit(client, make_lines(2, temperature=3))
    sim.advance(60)
    results = collect(client, batch.id)
    assert results.batch.status == "completed"
    assert results.batch.output_file_id is None
    assert set(results.errors) == {"row-1", "row-2"}


def test_a_cancel_while_validating_leaves_no_files(sim: Simulator, client: OpenAI) -> None:
    batch = submit(client, make_lines(3))
    cancelling = client.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    assert cancelling.cancelling_at is not None
    assert cancelling.cancelled_at is None
    sim.advance(60)
    cancelled = client.batches.retrieve(batch.id)
    assert cancelled.status == "cancelled"
    assert cancelled.cancelled_at is not None
    assert (cancelled.output_file_id, cancelled.error_file_id) == (None, None)
    assert sim.submissions() == {}


def test_a_cancel_half_way_keeps_finished_rows_and_names_the_rest(
    sim: Simulator, client: OpenAI
) -> None:
    batch = submit(client, make_lines(10))
    sim.advance(1.0 + 1.3)
    client.batches.cancel(batch.id)
    sim.advance(60)
    results = collect(client, batch.id)
    assert results.batch.status == "cancelled"
    assert 0 < len(results.output) < 10
    assert len(results.output) + len(results.errors) == 10
    assert {line["error"]["code"] for line in results.errors.values()} == {"batch_cancelled"}
    assert all(line["response"] is None for line in results.errors.values())


def test_a_cancel_again_changes_nothing_and_an_ended_batch_refuses(
    sim: Simulator, client: OpenAI
) -> None:
    batch = submit(client, make_lines(1))
    first = client.batches.cancel(batch.id)
    assert client.batches.cancel(batch.id) == first
    sim.advance(60)
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'cancelled'"):
        client.batches.cancel(batch.id)


def test_a_batch_that_stalls_expires_after_its_window_with_what_it_has(
    client: OpenAI, sim: Simulator
) -> None:
    sim.faults({"batches": [{"do": "stall", "after": 0.5}]})
    batch = submit(client, make_lines(10))
    sim.advance(DAY - 1)
    running = client.batches.retrieve(batch.id)
    assert running.status == "in_progress"
    assert running.request_counts is not None
    assert running.request_counts.completed == 5
    sim.advance(2)
    results = collect(client, batch.id)
    assert results.batch.status == "expired"
    assert results.batch.expired_at is not None
    assert results.batch.completed_at is None
    assert (len(results.output), len(results.errors)) == (5, 5)
    assert {line["error"]["code"] for line in results.errors.values()} == {"batch_expired"}


def test_batches_are_listed_newest_first_and_page_by_page(client: OpenAI) -> None:
    ids = [submit(client, make_lines(1)).id for _ in range(5)]
    newest_first = ids[::-1]
    assert [batch.id for batch in client.batches.list(limit=2)] == newest_first
    page = client.batches.list(limit=2, after=newest_first[1])
    assert [batch.id for batch in page.data] == newest_first[2:4]
    assert page.has_more
    assert not client.batches.list(limit=2, after=newest_first[3]).has_more
    assert client.batches.list(after=ids[0]).data == []


def test_a_page_holds_twenty_batches_unless_told(client: OpenAI) -> None:
    file = upload(client, as_jsonl(make_lines(1)))
    for _ in range(21):
        client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert len(client.batches.list().data) == 20
    assert len(client.batches.list(limit=100).data) == 21


@pytest.mark.parametrize("limit", [0, 101])
def test_a_page_of_batches_has_a_size(shared_client: OpenAI, limit: int) -> None:
    with pytest.raises(openai.BadRequestError, match="limit"):
        shared_client.batches.list(limit=limit)


def test_a_cursor_must_exist(shared_client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="after"):
        shared_client.batches.list(after="batch_nowhere")


def test_an_unknown_batch_is_not_found(shared_client: OpenAI) -> None:
    for look in (shared_client.batches.retrieve, shared_client.batches.cancel):
        with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_x'"):
            look("batch_x")


def test_metadata_comes_back(shared_client: OpenAI) -> None:
    file = upload(shared_client, as_jsonl(make_lines(1)))
    batch = shared_client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "r1"},
    )
    assert shared_client.batches.retrieve(batch.id).metadata == {"run": "r1"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/images/generations"}, "endpoint"),
        ({"endpoint": "/v1/nonsense"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {f"k{number}": "v" for number in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, f"metadata.{'k' * 65}"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        (
            {"output_expires_after": {"anchor": "now", "seconds": 3600}},
            "output_expires_after.anchor",
        ),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 2_592_001}},
            "output_expires_after.seconds",
        ),
        ({"extra_body": {"surprise": 1}}, "surprise"),
        ({"extra_body": {"input_file_id": None}}, "input_file_id"),
    ],
)
def test_create_refuses_on_the_spot(
    shared_client: OpenAI, changes: dict[str, object], param: str
) -> None:
    wish: dict[str, object] = {
        "input_file_id": "file-x",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        **changes,
    }
    with pytest.raises(openai.BadRequestError) as refused:
        shared_client.batches.create(**wish)  # type: ignore[arg-type] # wrong on purpose
    assert refused.value.param == param


def test_creations_per_hour_are_limited() -> None:
    with Simulator(speed=0, limits=Limits(creates_per_hour=2)) as sim, client_of(sim) as client:
        file = upload(client, as_jsonl(make_lines(1)))

        def create() -> Batch:
            return client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )

        create()
        create()
        with pytest.raises(openai.RateLimitError) as limited:
            create()
        assert float(limited.value.response.headers["retry-after"]) > 0
        sim.advance(3601)
        create()


def test_statuses_are_those_of_the_sdk() -> None:
    known = set(get_args(Batch.model_fields["status"].annotation))
    assert {"validating", "in_progress", "finalizing", "cancelling", "expired"} <= known
