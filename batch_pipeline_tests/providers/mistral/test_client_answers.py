"""Answers of Mistral's that its simulator never gives: strange, broken or none at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.errors import (
    Ambiguous,
    BadLines,
    NotFound,
    OutOfCredit,
    ProviderError,
    Refused,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from batch_pipeline.model import FailureKind, Observation, Remedy, RemoteStatus
from batch_pipeline.policy.lifecycle import Verdict, verdict
from batch_pipeline.providers.listing import Named
from batch_pipeline.providers.mistral.answers import PAGE, Batch, Page, listed, observation
from batch_pipeline.stages.results.unanswered import absence
from batch_pipeline_tests.providers.factories import LONG_AGO, NO_LINES, NOTHING
from batch_pipeline_tests.providers.fixed_answers import answering
from batch_pipeline_tests.providers.mistral.factories import (
    FILE_ID,
    JOB_ID,
    make_client,
    make_shard,
    write_lines,
)

MADE = datetime(2025, 10, 27, 15, 12, 14, tzinfo=UTC)
DONE = MADE + timedelta(hours=2)
JOB: dict[str, object] = {
    "id": JOB_ID,
    "object": "batch",
    "input_files": [FILE_ID],
    "metadata": {"intent": "intent-1", "timeout_hours": "48"},
    "endpoint": "/v1/chat/completions",
    "model": "mistral-small-latest",
    "output_file": None,
    "error_file": None,
    "errors": [],
    "status": "QUEUED",
    "created_at": int(MADE.timestamp()),
    "total_requests": 0,
    "completed_requests": 0,
    "succeeded_requests": 0,
    "failed_requests": 0,
    "started_at": None,
    "completed_at": None,
}


def seen(**fields: object) -> Observation:
    return observation(msgspec.json.decode(json.dumps({**JOB, **fields}), type=Batch))


def ended(status: str, **fields: object) -> Observation:
    return seen(status=status, completed_at=int(DONE.timestamp()), **fields)


def create(url: str) -> Observation:
    return make_client(url, tries=1).create(make_shard(), NO_LINES, file_id=FILE_ID)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("QUEUED", RemoteStatus.VALIDATING),
        ("RUNNING", RemoteStatus.RUNNING),
        ("SUCCESS", RemoteStatus.COMPLETED),
        ("FAILED", RemoteStatus.FAILED),
        ("TIMEOUT_EXCEEDED", RemoteStatus.EXPIRED),
        ("CANCELLATION_REQUESTED", RemoteStatus.ENDING),
        ("CANCELLED", RemoteStatus.CANCELLED),
        ("PAUSED", RemoteStatus.UNKNOWN),
    ],
)
def test_every_status_has_our_word_and_keeps_mistral_s(said: str, meant: RemoteStatus) -> None:
    job = seen(status=said)
    assert (job.status, job.raw_status) == (meant, said)


def test_a_job_is_read_with_its_counts_files_and_times() -> None:
    counts = {"total_requests": 5, "succeeded_requests": 3, "failed_requests": 2}
    job = ended("SUCCESS", **counts, output_file="o", error_file="e")
    assert (job.batch_id, job.input_file_id) == (JOB_ID, FILE_ID)
    assert (job.total, job.completed, job.failed) == (5, 3, 2)
    assert (job.output_file_id, job.error_file_id) == ("o", "e")
    assert (job.created_at, job.ended_at) == (MADE, DONE)
    assert job.expires_at == MADE + timedelta(hours=48)
    assert job.results_until == DONE + timedelta(hours=24)


@pytest.mark.parametrize("absent", [None, ""])
def test_a_null_and_an_empty_file_are_both_no_file(absent: str | None) -> None:
    job = seen(output_file=absent, error_file=absent, input_files=[])
    assert (job.output_file_id, job.error_file_id, job.input_file_id) == (None, None, None)


@pytest.mark.parametrize("metadata", [None, {}, {"timeout_hours": "soon"}, {"timeout_hours": None}])
def test_a_batch_that_is_not_ours_has_no_known_window(metadata: object) -> None:
    assert seen(metadata=metadata).expires_at is None


def test_a_batch_that_runs_has_no_end_and_no_day_of_grace() -> None:
    job = seen(status="RUNNING", total_requests=None, errors=None)
    assert (job.ended_at, job.results_until, job.total, job.problems) == (None, None, 0, ())


def test_the_summary_of_a_success_says_nothing_about_rows_in_no_file() -> None:
    errors = [{"message": "HTTP Error, status code: 400", "count": 2}]
    job = ended("SUCCESS", errors=errors)
    assert job.problems == ()
    assert absence(job).every.failure is FailureKind.MISSING


@pytest.mark.parametrize(
    ("message", "code", "kind"),
    [
        ("HTTP Error, status code: 400", "http_400", FailureKind.REJECTED),
        ("HTTP Error, status code: 422", "http_422", FailureKind.REJECTED),
        ("HTTP Error, status code: 429", "http_429", FailureKind.CANCELLED),
        ("HTTP Error, status code: 503", "http_503", FailureKind.CANCELLED),
        ("Internal error", None, FailureKind.CANCELLED),
        ("HTTP Error, status code: 401", "http_401", FailureKind.WITHHELD),
        ("HTTP Error, status code: 402", "http_402", FailureKind.WITHHELD),
        ("Invalid model: magic-1", None, FailureKind.WITHHELD),
        ("Something new", None, FailureKind.WITHHELD),
        (None, None, FailureKind.WITHHELD),
    ],
)
def test_a_batch_that_failed_blames_its_rows_only_for_a_4xx_of_theirs(
    message: str | None, code: str | None, kind: FailureKind
) -> None:
    job = ended("FAILED", errors=[{"message": message, "count": 1}])
    [problem] = job.problems
    assert (problem.code, problem.message) == (code, message or "(no message)")
    assert absence(job).every.failure is kind


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("HTTP Error, status code: 402", Remedy.CREDIT),
        ("You exceed the number of pending requests", Remedy.ROOM),
        ("Input file 1234 could not be found", Remedy.UPLOAD),
        ("HTTP Error, status code: 403", None),
    ],
)
def test_a_batch_that_failed_for_what_passes_goes_again_as_it_is(
    message: str, remedy: Remedy | None
) -> None:
    [problem] = ended("FAILED", errors=[{"message": message, "count": 1}]).problems
    assert problem.remedy is remedy


def test_what_a_failed_batch_answered_is_collected_even_when_the_bill_stopped_it() -> None:
    unpaid = [{"message": "HTTP Error, status code: 402", "count": 1}]
    nothing, some = ended("FAILED", errors=unpaid), ended("FAILED", errors=unpaid, output_file="o")
    assert verdict(nothing, now=DONE) is Verdict.REQUEUE
    assert verdict(some, now=DONE) is Verdict.COLLECT


@pytest.mark.parametrize("status", ["CANCELLED", "TIMEOUT_EXCEEDED"])
def test_a_batch_that_was_stopped_with_its_output_is_collected_at_once(status: str) -> None:
    counts = {"total_requests": 5, "succeeded_requests": 5}
    assert verdict(ended(status, **counts, output_file="o"), now=DONE) is Verdict.COLLECT


def test_a_field_that_the_sdk_no_longer_knows_does_not_lose_a_batch() -> None:
    changed = {**JOB, "errors": None, "object": "batch.job", "completed_requests": "many"}
    with answering(json.dumps(changed).encode()) as url:
        assert create(url).batch_id == JOB_ID
        assert make_client(url).retrieve(JOB_ID).metadata["intent"] == "intent-1"


def test_a_page_of_a_gateway_is_no_answer() -> None:
    with answering(b"<html>hi</html>", headers={"Content-Type": "text/html"}) as url:
        with pytest.raises(Ambiguous, match="HTTP 200: <html>hi"):
            create(url)
        with pytest.raises(Unavailable, match="HTTP 200: <html>hi"):
            make_client(url, tries=1).retrieve(JOB_ID)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"detail": "Invalid API Key"}, Unauthorized),
        (402, {"detail": "Set up billing."}, OutOfCredit),
        (422, {"detail": "You do not have access to the model"}, Refused),
        (422, {"detail": [{"loc": ["body", "timeout_hours"], "msg": "At least 1."}]}, Refused),
        (422, {"detail": "File is too large."}, TooLarge),
        (400, {"message": "The file exceeds the limit of 100000 requests."}, TooLarge),
        (422, {"detail": "This exceeds the pending requests of the workspace."}, Throttled),
        (304, {}, Ambiguous),
    ],
)
def test_a_create_is_certain_or_in_doubt_by_the_words_too(
    status: int, body: object, kind: type[ProviderError]
) -> None:
    said = b"" if status == 304 else json.dumps(body).encode()
    with answering(said, status=status) as url, pytest.raises(ProviderError) as caught:
        create(url)
    assert type(caught.value) is kind
    assert f"create of a batch for shard s-1 from file {FILE_ID}" in str(caught.value)
    assert f"HTTP {status}" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": [{"loc": ["body", "x"], "msg": "Bad.", "input": "a prompt"}]}, "body.x: Bad"),
        ({"message": {"detail": [{"msg": "Bad."}]}}, "Bad"),
        ({"message": {"why": 1}}, '{"why":1}'),
        ({"detail": "Invalid.", "description": "See the page."}, "Invalid. See the page"),
        ({"detail": ["plain"]}, "plain"),
        ([], "[]"),
    ],
)
def test_an_error_of_any_shape_says_what_is_wrong_and_not_with_which_words(
    body: object, words: str
) -> None:
    said = json.dumps(body).encode()
    with answering(said, status=400) as url, pytest.raises(Refused) as caught:
        make_client(url).retrieve(JOB_ID)
    assert f"HTTP 400: {words}. The same call" in str(caught.value)


def _upload(body: object, folder: Path, *, status: int = 422) -> Callable[[], object]:
    def upload() -> object:
        with answering(json.dumps(body).encode(), status=status) as url:
            return make_client(url, tries=1).upload(write_lines(folder), name="s-1")

    return upload


def test_a_refused_upload_names_all_its_bad_lines(tmp_path: Path) -> None:
    bad = [{"line_number": 9 - n, "message": f"m{n}"} for n in range(5)]
    body = {"detail": "Invalid file format.", "errors": [*bad, {"line_number": 9, "message": "x"}]}
    with pytest.raises(
        BadLines, match=r"line 5: m4; line 6: m3; line 7: m2 \(and 2 more"
    ) as caught:
        _upload(body, tmp_path)()
    assert caught.value.lines == {9: "m0", 8: "m1", 7: "m2", 6: "m3", 5: "m4"}


@pytest.mark.parametrize(
    "errors", [[], None, "x", [{"message": "m"}], [{"line_number": "4"}], [{"line_number": 0}]]
)
def test_a_refused_upload_that_names_no_line_is_refused_as_a_whole(
    errors: object, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="Invalid file") as caught:
        _upload({"detail": "Invalid file.", "errors": errors}, tmp_path)()
    assert type(caught.value) is Refused


def test_an_empty_error_to_a_download_keeps_its_meaning(tmp_path: Path) -> None:
    with answering(b"", status=404) as url, pytest.raises(NotFound, match="HTTP 404: no message"):
        make_client(url).download(FILE_ID, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_download_of_another_content_type_is_no_result_file(tmp_path: Path) -> None:
    with answering(b'{"a": 1}') as url, pytest.raises(Unavailable, match="HTTP 200"):
        make_client(url, tries=1).download(FILE_ID, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


# --- the listing ---------------------------------------------------------------------------------


def _job(number: int) -> msgspec.Raw:
    return msgspec.Raw(b'{"id":"%d","status":"QUEUED","created_at":1800000000}' % number)


def _id(job: msgspec.Raw) -> str:
    return msgspec.json.decode(job, type=Named).id


@given(
    start=st.integers(0, 450),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 250)), max_size=8),
    size=st.sampled_from([PAGE, 50]),
)
def test_a_list_that_changes_while_it_is_read_hides_no_job_that_stays(
    start: int, changes: list[tuple[int, int]], size: int
) -> None:
    jobs = [_job(number) for number in range(start, 0, -1)]
    there, coming = set(map(_id, jobs)), iter(changes)
    fresh = start

    def page(number: int) -> Page:
        nonlocal jobs, fresh
        answer = Page(total=len(jobs), data=jobs[number * size : (number + 1) * size])
        made, gone = next(coming, (0, 0))
        jobs = [_job(fresh + n) for n in range(made, 0, -1)] + jobs[gone:]
        fresh += made
        there.intersection_update(map(_id, jobs))
        return answer

    found = [_id(job) for job in listed(page)]
    assert len(set(found)) == len(found)
    assert there <= set(found)


@pytest.mark.parametrize(
    "page", [Page(total=3, data=[]), Page(total=250, data=[_job(n) for n in range(PAGE)])]
)
def test_a_list_that_contradicts_itself_is_an_error_and_no_false_none(page: Page) -> None:
    with pytest.raises(Unavailable, match="nothing new"):
        list(listed(lambda _: page))
    with answering(msgspec.json.encode(page)) as url, pytest.raises(Unavailable):
        make_client(url, tries=1).find(make_shard(), since=LONG_AGO, known=NOTHING)


def test_an_empty_list_is_a_certain_none() -> None:
    with answering(b'{"object": "list", "data": [], "total": 0}') as url:
        assert make_client(url).find(make_shard(), since=LONG_AGO, known=NOTHING) is None
