"""Mistral's files: every line is read at the upload, and one bad line refuses the file."""

import uuid
from collections.abc import Mapping

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from batch_pipeline.simulator.limits import DAY, Limits
from batch_pipeline.simulator.mistral.checks import flaw_of
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.mistral_requests import (
    Line,
    as_jsonl,
    body_of,
    client_of,
    collect,
    content_of,
    line_of,
    lines_of,
    run,
    submit,
    told,
    upload,
)

PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_an_uploaded_file_has_every_field_of_the_api(
    shared: Simulator, shared_mistral: Mistral
) -> None:
    content = as_jsonl(lines_of(2))
    file = upload(shared_mistral, content, "mine.jsonl")
    assert str(uuid.UUID(file.id)) == file.id
    assert (file.filename, file.size_bytes, file.num_lines) == ("mine.jsonl", len(content), 2)
    assert (file.object, file.purpose, file.source) == ("file", "batch", "upload")
    assert (file.sample_type, file.mimetype) == ("batch_request", "application/jsonl")
    assert (file.created_at, file.expires_at) == (int(shared.now), None)
    assert file.visibility == "workspace"
    found = shared_mistral.files.retrieve(file_id=file.id)
    assert found.deleted is False
    assert dict(found) == {**dict(file), "deleted": False}


def test_content_comes_back_as_it_was_sent(shared_mistral: Mistral) -> None:
    content = as_jsonl(lines_of(3))[:-1]
    file = upload(shared_mistral, content)
    response = shared_mistral.files.download(file_id=file.id)
    assert response.headers["content-type"] == "application/octet-stream"
    response.close()
    assert content_of(shared_mistral, file.id) == content


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"messages": [{"role": "developer", "content": "x"}]}, "found using 'role'"),
        ({"messages": []}, "at least 1 item"),
        ({"messages": "hello"}, "valid list"),
        ({}, "messages   Field required"),
        (body_of(max_tokens=-5), "greater than or equal to 0"),
        (body_of(max_tokens=1.5), "valid integer"),
        (body_of(temperature=1.6), "less than or equal to 1.5"),
        (body_of(temperature="hot"), "valid number"),
        (body_of(top_p=2), "less than or equal to 1 "),
        (body_of(tool_choice="always"), "'auto', 'none', 'any' or 'required'"),
        (
            body_of(tool_choice={"type": "function"}),
            "tool_choice.ToolChoice.function   Field required",
        ),
        (body_of(tools=[{"type": "function"}]), "tools.0.function   Field required"),
        (body_of(tools=[{**TOOL, "type": "magic"}]), "'function'"),
        (body_of(tools={"a": 1}), "valid list"),
        (body_of(stream=True), "stream"),
        (body_of(stop=3), "valid list"),
        (body_of(response_format={"type": "yaml"}), "'json_schema'"),
        (
            body_of(response_format={"type": "json_schema"}),
            "response_format.SchemaFormat.json_schema   Field required",
        ),
        (body_of(logit_bias={}), "Extra inputs are not permitted"),
        (body_of(reasoning_effort="immense"), "'max'"),
        ({"messages": [{"role": "system"}]}, "messages.0.system.content   Field required"),
        (
            {"messages": [{"role": "system", "content": "x", "name": "y"}]},
            "messages.0.system.name   Extra inputs are not permitted",
        ),
        ({"messages": [{"role": "assistant"}]}, "either content or tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "using 'type'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text   Field required"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
            "arguments   Field required",
        ),
        ({"input": 7}, "input.str   Input should be a valid string"),
        ({"input": ["a", 1]}, "1   Input should be a valid string"),
        ({"document": {"type": "image_url"}}, "document.ImageURLChunk.image_url   Field required"),
    ],
)
def test_one_bad_line_refuses_the_whole_file_and_is_named(
    shared_mistral: Mistral, body: dict[str, object], complaint: str
) -> None:
    lines = [*lines_of(3), line_of("bad") | {"body": body}]
    with pytest.raises(SDKError) as refused:
        upload(shared_mistral, lines)
    assert refused.value.status_code == 422
    answer = told(refused)
    assert answer["detail"] == "Invalid file format."
    assert answer["description"].startswith("Found 1 error in this file.")
    (error,) = answer["errors"]
    assert error["line_number"] == 4
    assert complaint in error["message"]


@pytest.mark.parametrize("line", [b"{", b"[]", b"", b"\xef\xbb\xbf{}", b'{"a": NaN}'])
def test_what_is_not_json_is_told_as_a_chat_that_is_missing(
    shared_mistral: Mistral, line: bytes
) -> None:
    with pytest.raises(SDKError) as refused:
        upload(shared_mistral, line + b"\n" + as_jsonl(lines_of(1)))
    (error,) = told(refused)["errors"]
    assert error == {
        "message": "Chat too large or missing. Format your file using newline delimited JSON",
        "line_number": 1,
    }


@pytest.mark.parametrize(
    "line",
    [{"custom_id": 7, "body": body_of()}, {"custom_id": "a"}, {"body": body_of(), "url": "/v1/x"}],
)
def test_the_envelope_of_a_line_is_checked_too(line: dict[str, object]) -> None:
    assert flaw_of(line) is not None


@pytest.mark.parametrize(
    "body",
    [
        body_of(max_tokens=10**9, temperature=1.5, tools=[TOOL], tool_choice="any"),
        body_of(tools=[TOOL], tool_choice=TOOL | {"function": {"name": "f"}}, model="ignored"),
        {"messages": [{"role": "user", "content": [PICTURE, {"type": "text", "text": "?"}]}]},
        {
            "messages": [
                {"role": "user", "content": None},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
                {"role": "tool", "content": "4", "tool_call_id": "x", "name": "f"},
            ]
        },
        {"input": ["a", "b"], "output_dimension": 8},
        {"input": [{"role": "user", "content": "x"}]},
        {"input": [[{"role": "user", "content": "x"}]]},
        {"document": {"document_url": "https://example.com/a.pdf"}, "pages": "0,2-3"},
        {"document": {"image_url": "data:image/png;base64,AAAA"}},
        {"prompt": "def f(", "suffix": "return 1"},
        {"file_url": "https://example.com/a.mp3"},
    ],
)
def test_what_the_api_takes_is_taken(body: dict[str, object]) -> None:
    assert flaw_of({"custom_id": "a", "body": body}) is None


@given(
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    text=st.text(),
    temperature=st.floats(0, 1.5),
    max_tokens=st.integers(0, 10**12),
    custom_id=st.none() | st.text(),
)
def test_every_well_formed_chat_line_passes(
    role: str, text: str, temperature: float, max_tokens: int, custom_id: str | None
) -> None:
    body: Mapping[str, object] = {
        "messages": [{"role": role, "content": text}],
        "temperature": temperature,
        "max_tokens": max_tokens,
    }
    assert flaw_of({"custom_id": custom_id, "body": body}) is None


def test_duplicate_and_missing_custom_ids_are_taken(sim: Simulator, mistral: Mistral) -> None:
    lines: list[Line] = [
        line_of("twice"),
        line_of("twice"),
        {"body": body_of()},
        line_of(None),
    ]
    job = submit(mistral, lines)
    sim.advance(60)
    ended = mistral.batch.jobs.get(job_id=job.id)
    rows = content_of(mistral, ended.output_file)
    assert rows.count(b'"custom_id":"twice"') == 2
    assert rows.count(b'"custom_id":null') == 2
    assert (ended.total_requests, ended.succeeded_requests) == (4, 4)
    assert sim.submissions() == {"twice": 1}


def test_the_refusal_lists_many_lines_but_not_all() -> None:
    with Simulator(speed=0, limits=Limits(mistral_errors_listed=2)) as sim, client_of(sim) as mine:
        with pytest.raises(SDKError) as refused:
            upload(mine, [{"body": {}}] * 5)
        answer = told(refused)
        assert answer["description"].startswith("Found 5 errors in this file.")
        assert [error["line_number"] for error in answer["errors"]] == [1, 2]


@pytest.mark.parametrize(
    ("content", "filename", "status"),
    [(b"", "a.jsonl", 422), (b"x" * 101, "a.jsonl", 413), (b"x" * 101, "a", 413)],
)
def test_empty_and_large_files_are_refused(content: bytes, filename: str, status: int) -> None:
    limits = Limits(mistral_max_file_bytes=100)
    with Simulator(speed=0, limits=limits) as sim, client_of(sim) as mine:
        with pytest.raises(SDKError) as refused:
            upload(mine, content, filename)
        assert refused.value.status_code == status


@pytest.mark.parametrize("filename", ["requests", "upload", "blob", "a.txt", "a.jsonl.gz", "заказ"])
def test_a_batch_file_may_have_any_name(shared_mistral: Mistral, filename: str) -> None:
    assert upload(shared_mistral, lines_of(1), filename).num_lines == 1


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ({"purpose": "batch"}, None),
        ({"purpose": "magic"}, {"file": ("a.jsonl", b"{}")}),
        ({"purpose": "ocr", "expiry": "0"}, {"file": ("a.pdf", b"%PDF")}),
        ({"purpose": "ocr", "visibility": "world"}, {"file": ("a.pdf", b"%PDF")}),
    ],
)
def test_a_form_is_checked_field_by_field(
    shared: Simulator, form: dict[str, str], files: dict[str, tuple[str, bytes]] | None
) -> None:
    answer = httpx2.post(
        f"{shared.urls['mistral']}/v1/files",
        data=form,
        files=files or {"other": ("a", b"")},
        headers={"authorization": "Bearer key"},
    )
    assert answer.status_code == 422
    assert set(answer.json()["detail"][0]) == {"type", "loc", "msg", "input"}


def test_files_are_listed_in_pages_newest_first(sim: Simulator, mistral: Mistral) -> None:
    ids = [upload(mistral, lines_of(1), f"part-{number}.jsonl").id for number in range(5)]
    listed = mistral.files.list(page=0, page_size=2)
    assert ([file.id for file in listed.data], listed.total) == ([ids[4], ids[3]], 5)
    assert [file.id for file in mistral.files.list(page=2, page_size=2).data] == [ids[0]]
    assert mistral.files.list(page=3, page_size=2).data == []
    assert [file.id for file in mistral.files.list(search="part-1").data] == [ids[1]]
    assert mistral.files.list(include_total=False).total is None
    assert mistral.files.list(purpose="fine-tune").data == []
    results = run(sim, mistral, lines_of(1))
    (made,) = mistral.files.list(source=["mistral"]).data
    assert (made.id, made.sample_type) == (results.job.output_file, "batch_result")
    assert len(mistral.files.list(sample_type=["batch_request"]).data) == 6


@pytest.mark.parametrize("query", ["page=-1", "page=x", "page_size=0", "page_size=101"])
def test_a_page_that_cannot_be_is_refused(shared: Simulator, query: str) -> None:
    for path in ("files", "batch/jobs"):
        url = f"{shared.urls['mistral']}/v1/{path}?{query}"
        assert httpx2.get(url, headers={"authorization": "Bearer key"}).status_code == 422


def test_a_deleted_file_is_gone(mistral: Mistral) -> None:
    file = upload(mistral, lines_of(1))
    assert mistral.files.delete(file_id=file.id).deleted is True
    assert mistral.files.list().data == []
    for look in (mistral.files.retrieve, mistral.files.download, mistral.files.delete):
        with pytest.raises(SDKError) as refused:
            look(file_id=file.id)
        assert refused.value.status_code == 404
        assert file.id in told(refused)["detail"]


def test_files_live_thirty_days_or_as_long_as_asked(sim: Simulator, mistral: Mistral) -> None:
    kept = upload(mistral, lines_of(1))
    brief = mistral.files.upload(
        file={"file_name": "a.pdf", "content": b"%PDF"}, purpose="ocr", expiry=2
    )
    assert brief.expires_at == int(sim.now + 7200)
    sim.advance(7200)
    assert [file.id for file in mistral.files.list().data] == [kept.id]
    sim.advance(30 * DAY)
    assert mistral.files.list().data == []


def test_results_are_there_for_a_day_unless_told_otherwise(
    sim: Simulator, mistral: Mistral
) -> None:
    results = run(sim, mistral, lines_of(1))
    sim.advance(DAY)
    with pytest.raises(SDKError) as gone:
        content_of(mistral, results.job.output_file)
    assert gone.value.status_code == 404
    assert mistral.batch.jobs.get(job_id=results.job.id).output_file == results.job.output_file
    with (
        Simulator(speed=0, limits=Limits(mistral_results_hours=None)) as lasting,
        client_of(lasting) as client,
    ):
        job = run(lasting, client, lines_of(1)).job
        lasting.advance(100 * DAY)
        assert collect(client, job.id).output


def test_a_bad_key_is_refused_but_an_id_that_is_no_uuid_before_that(shared: Simulator) -> None:
    with client_of(shared, "invalid") as stranger:
        with pytest.raises(SDKError) as refused:
            stranger.files.list()
        assert (refused.value.status_code, told(refused)) == (401, {"detail": "Invalid API Key"})
        with pytest.raises(SDKError) as refused:
            stranger.files.retrieve(file_id="file-1")
        assert refused.value.status_code == 422
        assert told(refused)["detail"][0]["loc"] == ["path", "file_id"]


def test_every_answer_is_marked_and_correlated(shared: Simulator) -> None:
    answer = httpx2.get(
        f"{shared.urls['mistral']}/v1/nowhere", headers={"authorization": "Bearer k"}
    )
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert uuid.UUID(answer.headers["mistral-correlation-id"])
    assert answer.headers["x-simulated"]
