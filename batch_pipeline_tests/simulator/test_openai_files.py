"""OpenAI's /files."""

import httpx2
import openai
import pytest
from openai import OpenAI

from batch_pipeline.simulator.limits import Limits
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator.conftest import client_of
from batch_pipeline_tests.simulator.lines import as_jsonl, make_lines, submit, upload

THIRTY_DAYS = 30 * 86_400


def test_an_uploaded_file_has_every_field_and_comes_back_whole(shared_client: OpenAI) -> None:
    content = as_jsonl(make_lines(3))
    file = upload(shared_client, content, "three.jsonl")
    assert file == shared_client.files.retrieve(file.id)
    assert (file.bytes, file.filename, file.purpose) == (len(content), "three.jsonl", "batch")
    assert (file.status, file.status_details) == ("processed", None)
    assert file.expires_at == file.created_at + THIRTY_DAYS
    assert shared_client.files.content(file.id).content == content


def test_upload_does_not_look_at_the_lines(shared_client: OpenAI) -> None:
    assert upload(shared_client, b"no json at all").status == "processed"


def test_a_large_upload_is_kept_byte_for_byte(shared_client: OpenAI) -> None:
    content = bytes(range(256)) * 20_000
    file = upload(shared_client, content)
    assert shared_client.files.content(file.id).content == content


@pytest.mark.parametrize(
    "filename", ["requests.jsonl", "requests.json", "requests", "upload", "a.jsonl.gz", "заказ"]
)
def test_a_batch_file_may_have_any_name(shared_client: OpenAI, filename: str) -> None:
    file = upload(shared_client, as_jsonl(make_lines(1)), filename)
    assert (file.filename, file.purpose) == (filename, "batch")


def _form(*parts: bytes) -> bytes:
    return b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + b"--edge--\r\n"


_LINES = as_jsonl(make_lines(2))
_PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'
_FILE = b'Content-Disposition: form-data; name="file"'
_EXPIRY = [
    b'Content-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at',
    b'Content-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n7200',
]


@pytest.mark.parametrize(
    "parts",
    [
        [_PURPOSE, _FILE + b'; filename="upload"\r\n\r\n' + _LINES],
        [_FILE + b'; filename="upload"\r\n\r\n' + _LINES, _PURPOSE],
        [_PURPOSE, _FILE + b'; filename=""\r\n\r\n' + _LINES],
        [_PURPOSE, _FILE + b"\r\n\r\n" + _LINES],
        [_PURPOSE, _FILE + b"\r\nContent-Type: application/jsonl\r\n\r\n" + _LINES],
        [_PURPOSE, _FILE + b"; filename=blob\r\nContent-Type: text/plain\r\n\r\n" + _LINES],
        [_PURPOSE, _FILE + b"; filename*=UTF-8''a%20b\r\n\r\n" + _LINES],
        [
            _PURPOSE,
            b'Content-Disposition: form-data; name="custom_llm_provider"\r\n\r\nopenai',
            *_EXPIRY,
            _FILE + b'; filename="C:\\a\\b"\r\n\r\n' + _LINES,
        ],
    ],
)
def test_any_form_with_a_file_and_a_purpose_is_an_upload(
    sim: Simulator, client: OpenAI, parts: list[bytes]
) -> None:
    answer = httpx2.post(
        f"{sim.urls['openai']}/files",
        content=_form(*parts),
        headers={
            "authorization": "Bearer sk-test",
            "content-type": 'multipart/form-data; boundary="edge"',
        },
    )
    assert answer.status_code == 200, answer.text
    file = answer.json()
    assert file["bytes"] == len(_LINES)
    assert (file["expires_at"] - file["created_at"] == 7200) == (_EXPIRY[0] in parts)
    assert client.files.content(file["id"]).content == _LINES
    batch = client.batches.create(
        input_file_id=file["id"], endpoint="/v1/chat/completions", completion_window="24h"
    )
    sim.advance(60)
    assert client.batches.retrieve(batch.id).status == "completed"


def test_a_part_without_a_filename_may_be_large(shared: Simulator) -> None:
    large = _LINES * 10_000
    answer = httpx2.post(
        f"{shared.urls['openai']}/files",
        content=_form(_PURPOSE, _FILE + b"\r\n\r\n" + large),
        headers={
            "authorization": "Bearer sk-test",
            "content-type": "multipart/form-data; boundary=edge",
        },
    )
    assert answer.json()["bytes"] == len(large)


def test_other_purposes_may_have_other_names(shared_client: OpenAI) -> None:
    file = shared_client.files.create(file=("notes.txt", b"hello"), purpose="user_data")
    assert (file.purpose, file.expires_at) == ("user_data", None)


def test_an_unknown_purpose_and_an_empty_file_are_refused(shared_client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="purpose"):
        shared_client.files.create(
            file=("x.jsonl", b"{}"),
            purpose="nonsense",  # type: ignore[arg-type] # the point
        )
    with pytest.raises(openai.BadRequestError, match="empty"):
        upload(shared_client, b"")


def test_a_file_above_the_size_limit_is_too_large() -> None:
    with Simulator(speed=0, limits=Limits(max_file_bytes=10)) as sim, client_of(sim) as client:
        upload(client, b"0123456789")
        with pytest.raises(openai.BadRequestError) as refused:
            upload(client, b"0123456789a")
        assert refused.value.message.count("File is too large.") == 1


def test_a_file_lives_as_long_as_the_upload_asked(sim: Simulator, client: OpenAI) -> None:
    file = client.files.create(
        file=("x.jsonl", b"{}"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600
    sim.advance(3599)
    client.files.retrieve(file.id)
    sim.advance(1)
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)
    with pytest.raises(openai.BadRequestError, match="expires_after"):
        client.files.create(
            file=("x.jsonl", b"{}"),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3599},
        )


def test_results_expire_after_thirty_days_or_as_the_batch_asked(
    sim: Simulator, client: OpenAI
) -> None:
    usual = submit(client, make_lines(1))
    short = client.batches.create(
        input_file_id=usual.input_file_id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    sim.advance(60)
    ids = [client.batches.retrieve(batch.id).output_file_id or "" for batch in (usual, short)]
    files = [client.files.retrieve(file_id) for file_id in ids]
    lives = [(file.expires_at or 0) - file.created_at for file in files]
    assert lives == [THIRTY_DAYS, 3600]
    sim.advance(3600)
    with pytest.raises(openai.NotFoundError):
        client.files.content(ids[1])
    assert client.files.content(ids[0]).content


def test_a_deleted_file_is_gone(shared_client: OpenAI) -> None:
    file = upload(shared_client, b"{}")
    deleted = shared_client.files.delete(file.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    for look in (
        shared_client.files.retrieve,
        shared_client.files.content,
        shared_client.files.delete,
    ):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
            look(file.id)
    assert file.id not in [each.id for each in shared_client.files.list()]


def test_files_are_listed_newest_first_page_by_page_and_by_purpose(client: OpenAI) -> None:
    ids = [upload(client, b"{}").id for _ in range(5)]
    other = client.files.create(file=("x.txt", b"x"), purpose="user_data").id
    assert [file.id for file in client.files.list(limit=2)] == [other, *reversed(ids)]
    assert [file.id for file in client.files.list(purpose="batch", order="asc")] == ids
    page = client.files.list(limit=2, after=ids[3])
    assert [file.id for file in page.data] == [ids[2], ids[1]]
    assert page.has_more


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_a_page_of_files_has_a_size(shared_client: OpenAI, limit: int) -> None:
    with pytest.raises(openai.BadRequestError, match="limit"):
        shared_client.files.list(limit=limit)


def test_uploads_are_limited_per_minute() -> None:
    with Simulator(speed=0, limits=Limits(uploads_per_minute=1)) as sim, client_of(sim) as client:
        upload(client, b"{}")
        with pytest.raises(openai.RateLimitError):
            upload(client, b"{}")
        sim.advance(61)
        upload(client, b"{}")


def test_a_download_says_what_it_is(shared: Simulator, shared_client: OpenAI) -> None:
    batch = submit(shared_client, make_lines(1))
    shared.advance(60)
    file_id = shared_client.batches.retrieve(batch.id).output_file_id
    assert file_id is not None
    headers = shared_client.files.with_raw_response.content(file_id).headers
    assert headers["content-type"] == "application/octet-stream"
    wanted = f'attachment; filename="{batch.id}_output.jsonl"'
    assert headers["content-disposition"] == wanted


def test_every_answer_carries_the_recorded_headers_and_the_mark(shared: Simulator) -> None:
    with httpx2.Client(base_url=shared.url) as plain:
        good = plain.get("/openai/v1/files", headers={"Authorization": "Bearer sk-test"})
        bad = plain.get("/openai/v1/nonsense")
        control = plain.get("/_sim/clock")
        nowhere = plain.get("/nowhere")
    for answer in (good, bad):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["x-request-id"].startswith("req_")
        assert int(answer.headers["openai-processing-ms"]) > 0
    for answer in (good, bad, control, nowhere):
        assert answer.headers["x-simulated"] == "batch-pipeline-simulator"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [(None, None), ("Basic x", None), ("Bearer sk-invalid", "invalid_api_key")],
)
def test_no_key_and_an_invalid_key_are_refused(
    shared: Simulator, authorization: str | None, code: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with httpx2.Client() as plain:
        answer = plain.get(f"{shared.urls['openai']}/batches", headers=headers)
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["code"] == code


def test_the_sdk_sees_an_invalid_key_as_its_authentication_error(shared: Simulator) -> None:
    with client_of(shared, "sk-invalid") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.batches.list()
        assert refused.value.code == "invalid_api_key"
        assert refused.value.request_id


def test_unknown_urls_and_methods_are_refused_in_the_providers_shape(shared: Simulator) -> None:
    with httpx2.Client(headers={"Authorization": "Bearer sk-test"}) as plain:
        for answer in (
            plain.get(f"{shared.urls['openai']}/models"),
            plain.put(f"{shared.urls['openai']}/batches"),
        ):
            assert answer.status_code == 404
            assert answer.json()["error"]["message"].startswith("Invalid URL")


def test_a_download_is_named_safely_whatever_the_upload_was_called(
    shared_client: OpenAI,
) -> None:
    file = upload(shared_client, b"{}", "файл.jsonl")
    headers = shared_client.files.with_raw_response.content(file.id).headers
    assert headers["content-disposition"] == 'attachment; filename="????.jsonl"'


def test_an_upload_that_is_no_form_is_refused(shared: Simulator) -> None:
    good = {"Authorization": "Bearer sk-test"}
    broken = {**good, "content-type": "multipart/form-data"}
    with httpx2.Client() as plain:
        for headers in (good, broken):
            answer = plain.post(f"{shared.urls['openai']}/files", headers=headers, content=b"x")
            assert answer.status_code == 400
            assert "error" in answer.json()
