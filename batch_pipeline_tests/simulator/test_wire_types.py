"""Everything the simulator says is what the SDKs' types say it is, and nothing beside it."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import anthropic
import httpx2
import mistralai.client.models as mistral_types
import pytest
from anthropic import Anthropic
from anthropic.types.messages import (
    DeletedMessageBatch,
    MessageBatch,
    MessageBatchIndividualResponse,
)
from mistralai.client import Mistral
from openai import OpenAI
from openai.types import (
    Batch,
    CreateEmbeddingResponse,
    ErrorObject,
    FileDeleted,
    FileObject,
    ModerationCreateResponse,
)
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from batch_pipeline.simulator.faults import RowFault
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator import anthropic_requests as anthropics
from batch_pipeline_tests.simulator import lines as openais
from batch_pipeline_tests.simulator import mistral_requests as mistrals
from batch_pipeline_tests.simulator.lines import CHAT, EMBEDDINGS, RESPONSES, TRIAGE, TRIAGE_FORMAT
from batch_pipeline_tests.simulator.wire import Json, flaws, unexpected

MODERATIONS, OCR = "/v1/moderations", "/v1/ocr"
DAY = 86_400
_NOT_WELL_FORMED = {"unparseable", "null_id", "edited", "unknown_type"}
FAULTS = sorted(set(get_args(RowFault)) - _NOT_WELL_FORMED)
TOOL = {
    "type": "function",
    "function": {"name": "file_ticket", "description": "Files.", "parameters": TRIAGE},
}
FLAT_TOOL = {"type": "function", "name": "file_ticket", "parameters": TRIAGE, "strict": True}
SCHEMA = {"type": "json_schema", "name": "triage", "schema": TRIAGE, "strict": True}


def test_a_type_that_does_not_fit_is_noticed() -> None:
    batch = {"id": "b", "object": "batch", "status": "simmering", "spice": 1}
    assert any(flaw.startswith("status: ") for flaw in flaws(Batch, batch))
    file = {"id": "f", "object": "file", "deleted": True, "spice": 1}
    assert flaws(FileDeleted, file) == ["spice: unknown to FileDeleted"]


@pytest.fixture
def http(sim: Simulator) -> Iterator[httpx2.Client]:
    headers = {"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01"}
    with httpx2.Client(base_url=sim.url, headers=headers) as http:
        yield http


OPENAI_TYPES = {
    CHAT: ChatCompletion,
    RESPONSES: Response,
    EMBEDDINGS: CreateEmbeddingResponse,
    MODERATIONS: ModerationCreateResponse,
}


def openai_bodies() -> dict[str, list[dict[str, object]]]:
    """Requests of every endpoint, one for each kind of answer."""
    chat = openais.make_body
    asked: dict[str, object] = {"model": "gpt-5-mini", "input": "Hi"}
    return {
        CHAT: [
            chat(),
            chat(n=2),
            chat(response_format=TRIAGE_FORMAT),
            chat(tools=[TOOL], tool_choice="required"),
            chat(max_tokens=1),
            chat(temperature=9),
        ],
        RESPONSES: [
            asked,
            asked | {"text": {"format": SCHEMA}},
            asked | {"tools": [FLAT_TOOL], "tool_choice": "required"},
            asked | {"max_output_tokens": 16, "store": False},
            asked | {"temperature": 9},
        ],
        EMBEDDINGS: [
            {"model": "text-embedding-3-small", "input": ["a", "b"]},
            {"model": "text-embedding-3-small", "input": "a"},
        ],
        MODERATIONS: [{"model": "omni-moderation-latest", "input": ["kill", "hug"]}],
    }


def check_openai_line(endpoint: str, line: Json) -> None:
    assert set(line) == {"id", "custom_id", "response", "error"}
    if line["response"] is None:
        assert set(line["error"]) == {"code", "message"}
        return
    assert set(line["response"]) == {"status_code", "request_id", "body"}
    body = line["response"]["body"]
    if line["response"]["status_code"] == 200:
        assert unexpected(OPENAI_TYPES[endpoint], body) == []
    elif line["response"]["status_code"]:
        assert unexpected(ErrorObject, body["error"]) == []
    else:
        assert line["response"] == {"status_code": 0, "request_id": "", "body": {}}


@pytest.mark.parametrize("endpoint", OPENAI_TYPES)
def test_openais_lines(sim: Simulator, client: OpenAI, endpoint: str) -> None:
    sim.faults({"rows": [{"becomes": each, "custom_id": f"{each}-*"} for each in FAULTS]})
    rows = [
        (f"{becomes}-{number}", body)
        for becomes in ("fine", *FAULTS)
        for number, body in enumerate(openai_bodies()[endpoint])
    ]
    lines = [openais.make_line(name, url=endpoint, body=body) for name, body in rows]
    batch = openais.run(sim, client, lines, endpoint).batch
    ids = [batch.output_file_id, batch.error_file_id]
    found = [line for file_id in ids for line in openais.read(client, file_id)]
    assert {name for name, _ in rows if not name.startswith("missing")} <= {
        line["custom_id"] for line in found
    }
    for line in found:
        check_openai_line(endpoint, line)


def test_openais_batches_and_files_at_every_stage(
    sim: Simulator, client: OpenAI, http: httpx2.Client
) -> None:
    sim.faults({"batches": [{"do": "stall", "nth": 4}]})
    seen: set[str] = set()

    def look() -> None:
        page = http.get("/openai/v1/batches?limit=100").json()
        assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
        for each in page["data"]:
            seen.add(each["status"])
            assert unexpected(Batch, each) == []
            assert unexpected(Batch, http.get(f"/openai/v1/batches/{each['id']}").json()) == []
        for file in http.get("/openai/v1/files").json()["data"]:
            assert unexpected(FileObject, file) == []

    openais.submit(client, openais.make_lines(4))
    openais.submit(client, b"no json")
    stopped = openais.submit(client, openais.make_lines(4)).id
    openais.submit(client, openais.make_lines(4))
    for seconds in (0, 2, 1.7, 60, DAY):
        sim.advance(seconds)
        look()
        if seconds == 2:
            client.batches.cancel(stopped)
            look()
    assert seen == set(get_args(Batch.model_fields["status"].annotation))
    file = http.get("/openai/v1/files").json()["data"][0]
    assert unexpected(FileDeleted, http.delete(f"/openai/v1/files/{file['id']}").json()) == []


CLAUDE = {"type": "json_schema", "schema": anthropics.TRIAGE}


def anthropic_params() -> list[dict[str, object]]:
    """Requests, one for each kind of answer."""
    params = anthropics.make_params
    system = [{"type": "text", "text": "x " * 2_000, "cache_control": {"type": "ephemeral"}}]
    return [
        params(),
        params(output_config={"format": CLAUDE}),
        params(tools=[anthropics.TOOL], tool_choice={"type": "any"}),
        params(model="claude-opus-5", max_tokens=5_000),
        params(max_tokens=1),
        params(system=system),
        params(stop_sequences=["answer"]),
        params(model="claude-nope"),
        params(max_tokens=-1),
    ]


def test_anthropics_results(sim: Simulator, claude: Anthropic) -> None:
    sim.faults({"rows": [{"becomes": each, "custom_id": f"{each}-*"} for each in FAULTS]})
    rows = [
        (f"{becomes}-{number}", params)
        for becomes in ("fine", *FAULTS)
        for number, params in enumerate(anthropic_params())
    ]
    requests = [{"custom_id": name, "params": params} for name, params in rows]
    batch = anthropics.submit(claude, requests)
    sim.advance(60)
    content = anthropics.read(claude, batch.id)
    found = [json.loads(line) for line in content.split(b"\n") if line]
    assert {name for name, _ in rows if not name.startswith("missing")} <= {
        line["custom_id"] for line in found
    }
    for line in found:
        assert unexpected(MessageBatchIndividualResponse, line) == []


def test_anthropics_batches_at_every_stage(
    sim: Simulator, claude: Anthropic, http: httpx2.Client
) -> None:
    path = "/anthropic/v1/messages/batches"
    seen: set[str] = set()

    def look() -> None:
        page = http.get(path).json()
        assert set(page) == {"data", "has_more", "first_id", "last_id"}
        for each in page["data"]:
            seen.add(each["processing_status"])
            assert unexpected(MessageBatch, each) == []

    ended = anthropics.submit(claude, anthropics.make_requests(2))
    stopped = anthropics.submit(claude, anthropics.make_requests(2))
    look()
    claude.messages.batches.cancel(stopped.id)
    for seconds in (0, 60, 30 * DAY):
        sim.advance(seconds)
        look()
    assert seen == set(get_args(MessageBatch.model_fields["processing_status"].annotation))
    deleted = http.delete(f"{path}/{ended.id}").json()
    assert unexpected(DeletedMessageBatch, deleted) == []
    refused = http.get(f"{path}/nothing")
    assert unexpected(anthropic.types.ErrorResponse, refused.json()) == []


MISTRAL_TYPES: dict[str, Any] = {
    CHAT: mistral_types.ChatCompletionResponse,
    "/v1/fim/completions": mistral_types.FIMCompletionResponse,
    EMBEDDINGS: mistral_types.EmbeddingResponse,
    MODERATIONS: mistral_types.ModerationResponse,
    "/v1/chat/moderations": mistral_types.ModerationResponse,
    OCR: mistral_types.OCRResponse,
}
MODELS = {
    CHAT: "mistral-small-latest",
    "/v1/fim/completions": "codestral-latest",
    EMBEDDINGS: "mistral-embed",
    MODERATIONS: "mistral-moderation-latest",
    "/v1/chat/moderations": "mistral-moderation-latest",
    OCR: "mistral-ocr-latest",
}


def mistral_bodies() -> dict[str, list[dict[str, object]]]:
    body, document = mistrals.body_of, {"document_url": "https://example.com/a.pdf"}
    talk = [{"role": "user", "content": "Hi"}]
    return {
        CHAT: [
            body(),
            body(response_format=TRIAGE_FORMAT),
            body(tools=[TOOL], tool_choice="any"),
            body(reasoning_effort="high"),
            body(max_tokens=1),
            body(max_tokens=1, reasoning_effort="high"),
        ],
        "/v1/fim/completions": [{"prompt": "def f("}],
        EMBEDDINGS: [{"input": ["a", "b"]}],
        MODERATIONS: [{"input": ["a", "b"]}],
        "/v1/chat/moderations": [{"input": talk}],
        OCR: [
            {"document": document},
            {
                "document": document,
                "document_annotation_format": TRIAGE_FORMAT,
                "bbox_annotation_format": TRIAGE_FORMAT,
            },
        ],
    }


@pytest.mark.parametrize("endpoint", MISTRAL_TYPES)
def test_mistrals_lines(sim: Simulator, mistral: Mistral, endpoint: str) -> None:
    known = sorted(set(FAULTS) - {"unknown_items"})  # of a kind that the SDK refuses
    sim.faults({"rows": [{"becomes": each, "custom_id": f"{each}-*"} for each in known]})
    rows = [
        (f"{becomes}-{number}", body)
        for becomes in ("fine", *known)
        for number, body in enumerate(mistral_bodies()[endpoint])
    ]
    lines = [{"custom_id": name, "body": body} for name, body in rows]
    job = mistrals.submit(mistral, lines, endpoint, model=MODELS[endpoint])
    sim.advance(60)
    ended = mistrals.job_of(mistral, job)
    ids = [ended.output_file, ended.error_file]
    found = [line for file_id in ids for line in mistrals.read(mistral, file_id)]
    gone = ("missing", "expired", "cancelled")
    assert {name for name, _ in rows if not name.startswith(gone)} <= {
        line["custom_id"] for line in found
    }
    for line in found:
        check_mistral_line(endpoint, line)


def check_mistral_line(endpoint: str, line: Json) -> None:
    assert set(line) == {"id", "custom_id", "response", "error"}
    body = line["response"]["body"]
    if line["response"]["status_code"] == 200:
        assert unexpected(MISTRAL_TYPES[endpoint], body) == []
        assert body["model"] == MODELS[endpoint]
    else:
        assert isinstance(body, str)


def test_mistrals_jobs_and_files_at_every_stage(
    sim: Simulator, mistral: Mistral, http: httpx2.Client
) -> None:
    invalid = {"do": "invalidate", "code": "x", "message": "Out of credit.", "nth": 3}
    sim.faults({"batches": [{"do": "stall", "nth": 4}, invalid]})
    root = "/mistral/v1"
    seen: set[str] = set()

    def look() -> None:
        listed = http.get(f"{root}/batch/jobs").json()
        assert unexpected(mistral_types.ListBatchJobsResponse, listed) == []
        for job in listed["data"]:
            seen.add(job["status"])
            assert unexpected(mistral_types.BatchJob, job) == []
        files = http.get(f"{root}/files").json()
        assert unexpected(mistral_types.ListFilesResponse, files) == []
        for file in files["data"]:
            one = http.get(f"{root}/files/{file['id']}").json()
            assert unexpected(mistral_types.GetFileResponse, one) == []

    first = mistrals.submit(mistral, mistrals.lines_of(4))
    stopped = mistrals.submit(mistral, mistrals.lines_of(4))
    for _ in range(2):
        mistrals.submit(mistral, mistrals.lines_of(4))
    for seconds in (0, 2, 60, DAY):
        sim.advance(seconds)
        look()
        if seconds == 2:
            mistral.batch.jobs.cancel(job_id=stopped.id)
            look()
    assert seen == {
        "QUEUED",
        "RUNNING",
        "SUCCESS",
        "FAILED",
        "TIMEOUT_EXCEEDED",
        "CANCELLATION_REQUESTED",
        "CANCELLED",
    }
    file_id = first.input_files[0]
    gone = http.delete(f"{root}/files/{file_id}").json()
    assert unexpected(mistral_types.DeleteFileResponse, gone) == []
    forgotten = http.delete(f"{root}/batch/jobs/{first.id}").json()
    assert unexpected(mistral_types.DeleteBatchJobResponse, forgotten) == []
