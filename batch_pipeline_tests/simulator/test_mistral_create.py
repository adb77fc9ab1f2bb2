"""What Mistral takes and refuses when a job is created."""

import uuid
from pathlib import Path

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.mistral_requests import (
    EMBEDDINGS,
    MODEL,
    body_of,
    client_of,
    counts,
    create,
    job_of,
    line_of,
    lines_of,
    post,
    read,
    run,
    submit,
    upload,
    wish,
)

DAY = 86_400


def test_requests_may_come_with_the_call_and_results_with_the_job(
    sim: Simulator, mistral: Mistral
) -> None:
    job = create(
        mistral,
        requests=[{"custom_id": "a", "body": body_of()}, {"body": body_of("Second")}],
    )
    assert job.input_files == []
    assert mistral.files.list().data == []
    sim.advance(60)
    assert job_of(mistral, job).outputs is None
    ended = mistral.batch.jobs.get(job_id=job.id, inline=True)
    assert ended.outputs == read(mistral, ended.output_file)
    assert {row["custom_id"] for row in ended.outputs or []} == {"a", None}
    assert sim.custom_ids(job.id) == ["a"]


def test_many_files_make_one_job(shared: Simulator, shared_mistral: Mistral) -> None:
    first, second = (
        upload(shared_mistral, lines_of(2)),
        upload(shared_mistral, b'{"body":{"input":"x"}}'),
    )
    job = create(
        shared_mistral,
        endpoint=EMBEDDINGS,
        input_files=[first.id, second.id],
        model="mistral-embed",
    )
    shared.advance(60)
    ended = job_of(shared_mistral, job)
    assert ended.input_files == [first.id, second.id]
    assert counts(ended) == (3, 3, 1, 2)


def test_the_jobs_model_wins_over_the_lines_own(shared: Simulator, shared_mistral: Mistral) -> None:
    lines = [line_of("a", **body_of(model="open-mistral-7b"))]
    assert run(shared, shared_mistral, lines).output["a"]["response"]["body"]["model"] == MODEL
    own = run(shared, shared_mistral, lines, model=None).output["a"]
    assert own["response"]["body"]["model"] == "open-mistral-7b"
    assert set(run(shared, shared_mistral, lines_of(1), model=None).errors) == {"row-1"}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"timeout_hours": 0}, "timeout_hours"),
        ({"timeout_hours": 168}, "timeout_hours"),
        ({"timeout_hours": "24"}, "timeout_hours"),
        ({"endpoint": "/v1/responses"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"requests": None, "input_files": ["file-1"]}, "input_files"),
        ({"requests": None, "input_files": "x"}, "input_files"),
        ({"requests": {}}, "requests"),
        ({"requests": [{"body": body_of()}] * 10_001}, "requests"),
        ({"metadata": {"k" * 33: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"metadata": {"k": ""}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"metadata": "x"}, "metadata"),
        ({"model": 7}, "model"),
        ({"completion_window": "24h"}, "completion_window"),
    ],
)
def test_a_create_is_checked_field_by_field(
    shared: Simulator, changes: dict[str, object], where: str
) -> None:
    answer = post(shared, wish(**changes))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][1] == where


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"model": "gpt-4o-mini"}, 422, "You do not have access to the model"),
        ({"requests": None}, 422, "Exactly one"),
        ({"requests": None, "input_files": [str(uuid.UUID(int=7))]}, 404, "not found"),
        ({"agent_id": "ag_1"}, 404, "Agent"),
        ({"requests": [{"body": {}}]}, 422, "Invalid file format."),
    ],
)
def test_a_create_says_what_it_cannot_use(
    shared: Simulator, changes: dict[str, object], status: int, said: str
) -> None:
    answer = post(shared, wish(**changes))
    assert answer.status_code == status
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(("body", "kind"), [(b"{", "json_invalid"), (b"[]", "model_attributes")])
def test_a_create_wants_a_json_object(shared: Simulator, body: bytes, kind: str) -> None:
    answer = post(shared, body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"].startswith(kind)


def test_a_file_id_that_is_none_is_refused_even_before_the_key(shared: Simulator) -> None:
    answer = post(shared, wish(requests=None, input_files=["file-1"]), key="invalid")
    assert answer.status_code == 422
    assert post(shared, wish(), key="invalid").status_code == 401
    assert post(shared, b"{", key="invalid").status_code == 401


def test_a_result_file_is_no_input(shared: Simulator, shared_mistral: Mistral) -> None:
    output = run(shared, shared_mistral, lines_of(1)).job.output_file
    answer = post(shared, wish(requests=None, input_files=[output]))
    assert (answer.status_code, "sample type" in answer.text) == (422, True)


def test_models_may_be_added(shared_mistral: Mistral) -> None:
    with pytest.raises(SDKError):
        submit(shared_mistral, lines_of(1), model="house-model")
    limits = Limits(extra_models=("house-model",))
    with Simulator(speed=0, limits=limits) as shared, client_of(shared) as client:
        assert run(shared, client, lines_of(1), model="house-model").output


def test_too_many_requests_are_refused_in_one_job_and_in_all() -> None:
    limits = Limits(mistral_max_requests=3, mistral_max_pending=5)
    with Simulator(speed=0, limits=limits) as sim, client_of(sim) as client:
        with pytest.raises(SDKError) as refused:
            submit(client, lines_of(4))
        assert refused.value.status_code == 422
        submit(client, lines_of(3))
        with pytest.raises(SDKError) as refused:
            submit(client, lines_of(3))
        assert refused.value.status_code == 429
        sim.advance(60)
        submit(client, lines_of(3))


def test_the_lines_of_an_inline_job_do_not_stay_for_good(tmp_path: Path) -> None:
    with Simulator(speed=0, state_dir=tmp_path) as mine:
        job_id = post(mine, wish()).json()["id"]
        assert (tmp_path / "blobs" / job_id).exists()
        mine.advance(3 * DAY)
        mine.advance(1)
        assert not (tmp_path / "blobs" / job_id).exists()
