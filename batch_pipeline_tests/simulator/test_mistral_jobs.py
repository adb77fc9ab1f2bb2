"""The life of Mistral's batch jobs."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.mistral_requests import (
    CHAT,
    MODEL,
    Line,
    body_of,
    client_of,
    collect,
    content_of,
    counts,
    create,
    job_of,
    line_of,
    lines_of,
    read,
    run,
    submit,
)

HOUR = 3600


def test_a_job_is_queued_runs_and_succeeds(shared: Simulator, shared_mistral: Mistral) -> None:
    job = submit(shared_mistral, lines_of(10), metadata={"run": "7"})
    created = int(shared.now)
    assert job.status == "QUEUED"
    assert (job.created_at, job.started_at, job.completed_at) == (created, None, None)
    assert (job.endpoint, job.model, job.metadata) == (CHAT, MODEL, {"run": "7"})
    assert (job.errors, job.output_file, job.error_file, job.outputs) == ([], None, None, None)
    assert counts(job) == (0, 0, 0, 0)
    assert counts(job_of(shared_mistral, job)) == (10, 0, 0, 0)
    shared.advance(2)
    running = job_of(shared_mistral, job)
    assert running.status == "RUNNING"
    assert 0 < running.completed_requests < 10
    assert (running.started_at, running.output_file) == (created + 1, None)
    shared.advance(60)
    ended = collect(shared_mistral, job.id)
    assert ended.job.status == "SUCCESS"
    assert counts(ended.job) == (10, 10, 10, 0)
    assert ended.job.completed_at is not None
    assert set(ended.output) == {f"row-{number}" for number in range(1, 11)}
    assert ended.job.error_file is None


def test_job_ids_are_uuids_that_tell_of_the_simulation(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    results = run(shared, shared_mistral, lines_of(1))
    assert uuid.UUID(results.job.id).version == 4
    assert results.job.id.startswith("facade00-")
    assert results.output["row-1"]["id"].startswith("batch-simulated-")


def test_a_success_may_have_failed_rows_and_counts_why(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    unreachable = {"type": "image_url", "image_url": "https://nowhere.invalid/a.png"}
    bad = line_of("bad", messages=[{"role": "user", "content": [unreachable]}])
    results = run(shared, shared_mistral, [*lines_of(2), bad, {**bad, "custom_id": "worse"}])
    assert results.job.status == "SUCCESS"
    assert counts(results.job) == (4, 4, 2, 2)
    assert [error.model_dump() for error in results.job.errors] == [
        {"message": "HTTP Error, status code: 400", "count": 2}
    ]
    assert (set(results.output), set(results.errors)) == ({"row-1", "row-2"}, {"bad", "worse"})
    file = shared_mistral.files.retrieve(file_id=str(results.job.error_file))
    assert (file.sample_type, file.num_lines) == ("batch_result", 2)


def test_a_job_of_bad_rows_alone_succeeds_without_an_output_file(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    results = run(shared, shared_mistral, [line_of("bad", input="x")])
    assert (results.job.status, results.job.output_file) == ("SUCCESS", None)
    assert set(results.errors) == {"bad"}


def test_a_cancel_before_the_start_is_final_at_once(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    job = submit(shared_mistral, lines_of(5))
    cancelled = shared_mistral.batch.jobs.cancel(job_id=job.id)
    assert cancelled.status == "CANCELLED"
    shared.advance(60)
    ended = collect(shared_mistral, job.id)
    assert (ended.job.status, ended.output, ended.errors) == ("CANCELLED", {}, {})
    assert (ended.job.started_at, counts(ended.job)) == (None, (5, 0, 0, 0))


def test_a_cancel_while_running_keeps_what_is_done(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    job = submit(shared_mistral, lines_of(10))
    shared.advance(2)
    asked = shared_mistral.batch.jobs.cancel(job_id=job.id)
    assert (asked.status, asked.output_file) == ("CANCELLATION_REQUESTED", None)
    assert shared_mistral.batch.jobs.cancel(job_id=job.id).status == "CANCELLATION_REQUESTED"
    shared.advance(10)
    ended = collect(shared_mistral, job.id)
    assert ended.job.status == "CANCELLED"
    assert 0 < len(ended.output) == ended.job.completed_requests < 10
    assert ended.errors == {}
    with pytest.raises(SDKError) as late:
        shared_mistral.batch.jobs.cancel(job_id=job.id)
    assert late.value.status_code == 409


def test_a_cancelled_job_may_have_every_row_done(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    job = submit(shared_mistral, lines_of(4))
    shared.advance(3.7)
    assert job_of(shared_mistral, job).status == "RUNNING"
    shared_mistral.batch.jobs.cancel(job_id=job.id)
    shared.advance(10)
    ended = collect(shared_mistral, job.id)
    assert (ended.job.status, len(ended.output)) == ("CANCELLED", 4)


def test_a_job_that_takes_too_long_keeps_its_finished_rows(
    sim: Simulator, mistral: Mistral
) -> None:
    sim.faults({"batches": [{"do": "stall", "after": 0.5}]})
    job = submit(mistral, lines_of(10), timeout_hours=2)
    sim.advance(2 * HOUR - 1)
    assert job_of(mistral, job).status == "RUNNING"
    sim.advance(10)
    ended = collect(mistral, job.id)
    assert ended.job.status == "TIMEOUT_EXCEEDED"
    assert len(ended.output) == 5
    assert counts(ended.job) == (10, 5, 5, 0)


def test_the_shortest_timeout_is_long_enough_however_fast_time_runs() -> None:
    with Simulator(speed=3600) as sim, client_of(sim) as client:
        job = submit(client, lines_of(2), timeout_hours=1)
        sim.advance(2 * HOUR)
        assert job_of(client, job).status == "SUCCESS"


def test_a_job_without_its_file_fails(shared: Simulator, shared_mistral: Mistral) -> None:
    job = submit(shared_mistral, lines_of(1))
    shared_mistral.files.delete(file_id=job.input_files[0])
    shared.advance(60)
    ended = job_of(shared_mistral, job)
    assert ended.status == "FAILED"
    assert "not found" in ended.errors[0].message


def test_jobs_are_listed_in_pages_newest_first(sim: Simulator, mistral: Mistral) -> None:
    ids = [submit(mistral, lines_of(1)).id for _ in range(5)]
    listed = mistral.batch.jobs.list(page=0, page_size=2)
    assert ([job.id for job in listed.data or []], listed.total) == ([ids[4], ids[3]], 5)
    last = mistral.batch.jobs.list(page=2, page_size=2)
    assert [job.id for job in last.data or []] == [ids[0]]
    oldest = mistral.batch.jobs.list(order_by="created", page_size=1)
    assert [job.id for job in oldest.data or []] == [ids[0]]
    assert len(sim.log("list")) == 3


def test_jobs_are_found_by_status_model_time_and_maker(sim: Simulator, mistral: Mistral) -> None:
    first = submit(mistral, lines_of(1), model="ministral-8b-latest")
    sim.advance(60)
    between = datetime.fromtimestamp(sim.now - 1, UTC)
    second = submit(mistral, lines_of(1))

    def found(**query: object) -> list[str]:
        listed = mistral.batch.jobs.list(**query)  # type: ignore[arg-type] # each a filter of list
        return [job.id for job in listed.data or []]

    assert found(status=["SUCCESS", "FAILED"]) == [first.id]
    assert found(model="ministral-8b-latest") == [first.id]
    assert found(created_after=between) == [second.id]
    assert found(created_by_me=True) == [second.id, first.id]
    with client_of(sim, "another") as other:
        assert other.batch.jobs.list(created_by_me=True).data == []
        assert other.batch.jobs.list().total == 2


def test_metadata_does_not_filter(sim: Simulator, mistral: Mistral) -> None:
    jobs = [submit(mistral, lines_of(1), metadata={"run": run_id}) for run_id in ("a", "b")]
    listed = mistral.batch.jobs.list(metadata={"run": "a"})
    assert [job.id for job in listed.data or []] == [jobs[1].id, jobs[0].id]
    assert sim.log("list")[0].status == 200


@pytest.mark.parametrize(
    "query", ["status=DONE", "order_by=name", "created_after=noon", "created_by_me=perhaps"]
)
def test_a_filter_that_cannot_be_is_refused(shared: Simulator, query: str) -> None:
    url = f"{shared.urls['mistral']}/v1/batch/jobs?{query}"
    assert httpx2.get(url, headers={"authorization": "Bearer key"}).status_code == 422


def test_a_job_is_deleted_once_it_has_ended(sim: Simulator, mistral: Mistral) -> None:
    job = submit(mistral, lines_of(1))
    with pytest.raises(SDKError) as early:
        mistral.batch.jobs.delete(job_id=job.id)
    assert early.value.status_code == 409
    sim.advance(60)
    output = job_of(mistral, job).output_file
    deleted = mistral.batch.jobs.delete(job_id=job.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (job.id, "batch", True)
    assert mistral.batch.jobs.list().data == []
    with pytest.raises(SDKError) as gone:
        job_of(mistral, job)
    assert gone.value.status_code == 404
    assert content_of(mistral, output)


def test_everything_is_still_there_after_a_restart(tmp_path: Path) -> None:
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        before = run(sim, client, lines_of(2))
        running = submit(client, lines_of(10))
        inline = create(client, requests=[{"custom_id": "a", "body": body_of()}])
        sim.advance(2)
    with Simulator(speed=0, state_dir=tmp_path) as sim, client_of(sim) as client:
        assert collect(client, before.job.id) == before
        assert 0 < job_of(client, running).completed_requests < 10
        sim.advance(60)
        assert len(collect(client, running.id).output) == 10
        assert set(collect(client, inline.id).output) == {"a"}


def test_rows_come_in_another_order_than_they_were_sent(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    rows: list[Line] = read(
        shared_mistral, run(shared, shared_mistral, lines_of(20)).job.output_file
    )
    order = [row["custom_id"] for row in rows]
    assert order != sorted(order, key=lambda name: int(name.removeprefix("row-")))
