"""What fails a whole batch in validation, with which code, param and line."""

import json

import pytest
from openai import OpenAI
from openai.types import Batch

from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.conftest import client_of
from batch_pipeline_tests.simulator.lines import (
    EMBEDDINGS,
    as_jsonl,
    make_body,
    make_line,
    make_lines,
    run,
    submit,
)

GOOD = as_jsonl([make_line("good")])
Flaw = tuple[str | None, str | None, int | None]


def flaws(batch: Batch) -> list[Flaw]:
    assert batch.errors is not None
    return [(flaw.code, flaw.param, flaw.line) for flaw in batch.errors.data or []]


def second(**changes: object) -> bytes:
    return GOOD + as_jsonl([make_line(**{"custom_id": "second", **changes})])


@pytest.mark.parametrize(
    ("content", "flaw"),
    [
        (GOOD + b"{half\n", ("invalid_json_line", None, 2)),
        (GOOD + b"\n" + GOOD, ("invalid_json_line", None, 2)),
        (GOOD + b'"a string"\n', ("invalid_json_line", None, 2)),
        (b"\xef\xbb\xbf" + GOOD, ("invalid_json_line", None, 1)),
        (GOOD + b'{"custom_id":"\xff"}\n', ("invalid_json_line", None, 2)),
        (GOOD + GOOD, ("duplicate_custom_id", "custom_id", 2)),
        (second(custom_id=None), ("missing_required_parameter", "custom_id", 2)),
        (second(custom_id=7), ("invalid_request", "custom_id", 2)),
        (second(method=None), ("missing_required_parameter", "method", 2)),
        (second(method="GET"), ("invalid_method", "method", 2)),
        (second(url=None), ("missing_required_parameter", "url", 2)),
        (second(url="/v1/responses"), ("invalid_url", "url", 2)),
        (second(body=None), ("missing_required_parameter", "body", 2)),
        (second(body=[1]), ("invalid_request", "body", 2)),
        (second(body=make_body(model="gpt-4o")), ("mismatched_model", "body.model", 2)),
        (second(body=make_body(stream=True)), ("streaming_unsupported", "body.stream", 2)),
        (
            as_jsonl([make_line(body=make_body(model="gpt-nonsense"))]),
            ("model_not_found", "body.model", 1),
        ),
        (
            as_jsonl([make_line(body={"messages": []})]),
            ("invalid_request", "body.model", 1),
        ),
        (b"\n", ("invalid_json_line", None, 1)),
    ],
)
def test_a_bad_line_fails_the_batch(
    shared: Simulator, shared_client: OpenAI, content: bytes, flaw: Flaw
) -> None:
    results = run(shared, shared_client, content)
    assert results.batch.status == "failed"
    assert results.batch.failed_at is not None
    assert flaws(results.batch) == [flaw]
    assert (results.batch.output_file_id, results.batch.error_file_id) == (None, None)
    counts = results.batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (0, 0, 0)


def test_the_last_line_needs_no_newline(shared: Simulator, shared_client: OpenAI) -> None:
    assert run(shared, shared_client, GOOD.rstrip(b"\n")).batch.status == "completed"


def test_custom_ids_may_be_long_and_in_any_script(shared: Simulator, shared_client: OpenAI) -> None:
    names = ["x" * 200, "строка-1", "with space"]
    results = run(shared, shared_client, [make_line(name) for name in names])
    assert set(results.output) == set(names)


def test_an_unknown_file_and_a_file_of_another_purpose_fail_in_validation(
    shared: Simulator, shared_client: OpenAI
) -> None:
    other = shared_client.files.create(file=("x.jsonl", GOOD), purpose="user_data")
    for file_id in ("file-nowhere", other.id):
        batch = shared_client.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        shared.advance(60)
        assert flaws(shared_client.batches.retrieve(batch.id)) == [
            ("invalid_request", "file_id", None)
        ]


def test_more_flaws_are_listed_when_asked_for() -> None:
    content = GOOD + b"{\n" + GOOD + b"{\n"
    with Simulator(speed=0, limits=Limits(errors_listed=2)) as sim, client_of(sim) as client:
        batch = run(sim, client, content).batch
    assert [line for _, __, line in flaws(batch)] == [2, 3]


def test_more_requests_than_allowed_fail_the_batch() -> None:
    with Simulator(speed=0, limits=Limits(max_requests=2)) as sim, client_of(sim) as client:
        assert run(sim, client, make_lines(2)).batch.status == "completed"
        assert flaws(run(sim, client, make_lines(3)).batch) == [("too_many_requests", None, None)]


def test_embedding_inputs_are_limited_in_total() -> None:
    def line(name: str, texts: int) -> dict[str, object]:
        body = {"model": "text-embedding-3-small", "input": ["text"] * texts, "dimensions": 4}
        return make_line(name, url=EMBEDDINGS, body=body)

    with Simulator(speed=0, limits=Limits(max_embedding_inputs=5)) as sim, client_of(sim) as client:
        good = run(sim, client, [line("a", 3), line("b", 2)], EMBEDDINGS)
        assert good.batch.status == "completed"
        bad = run(sim, client, [line("a", 3), line("b", 3)], EMBEDDINGS)
        assert flaws(bad.batch) == [("too_many_requests", None, None)]


def test_enqueued_tokens_are_limited_per_model_and_freed_by_the_end() -> None:
    with Simulator(speed=0, limits=Limits(enqueued_tokens=60)) as sim, client_of(sim) as client:
        first, second, other = (
            submit(client, make_lines(3)),
            submit(client, make_lines(3)),
            submit(client, make_lines(3, model="gpt-4o")),
        )
        sim.advance(1.5)
        assert client.batches.retrieve(first.id).status == "in_progress"
        assert client.batches.retrieve(other.id).status == "in_progress"
        failed = client.batches.retrieve(second.id)
        assert flaws(failed) == [("token_limit_exceeded", None, None)]
        assert failed.errors is not None
        assert failed.errors.data is not None
        assert failed.errors.data[0].message == (
            "Enqueued token limit reached for gpt-4o-mini in organization org-simulated. Limit: 60 "
            "enqueued tokens. Please try again once some in_progress batches have been completed."
        )
        sim.advance(60)
        assert run(sim, client, make_lines(3)).batch.status == "completed"


def test_enqueued_tokens_can_be_limited_for_one_model() -> None:
    limits = Limits(enqueued_tokens_by_model={"gpt-4o": 10})
    with Simulator(speed=0, limits=limits) as sim, client_of(sim) as client:
        assert run(sim, client, make_lines(3)).batch.status == "completed"
        assert run(sim, client, make_lines(3, model="gpt-4o")).batch.status == "failed"


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "gpt-4.1-nano", "gpt-5.4-pro-2026-03-05", "o4-mini", "gpt-6.2-astra"]
)
def test_families_of_models_are_known(shared: Simulator, shared_client: OpenAI, model: str) -> None:
    assert run(shared, shared_client, make_lines(1, model=model)).batch.status == "completed"


def test_a_model_can_be_made_known() -> None:
    limits = Limits(extra_models=("house-model",))
    with Simulator(speed=0, limits=limits) as sim, client_of(sim) as client:
        assert run(sim, client, make_lines(1, model="house-model")).batch.status == "completed"


def test_flaws_name_what_is_wrong(shared: Simulator, shared_client: OpenAI) -> None:
    batch = run(shared, shared_client, GOOD + GOOD).batch
    assert batch.errors is not None
    assert batch.errors.object == "list"
    assert "'good'" in json.dumps(batch.errors.model_dump())
