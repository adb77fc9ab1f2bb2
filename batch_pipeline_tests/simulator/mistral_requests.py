"""Makes Mistral's request lines and reads its result lines."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx2
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.models import BatchJob, ChatCompletionResponse, CreateFileResponse

from batch_pipeline.simulator.server import Simulator

Line: TypeAlias = dict[str, Any]  # a decoded result line; its shape is what tests look at
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
MODEL = "mistral-small-latest"
_NEVER_USED = httpx2.AsyncClient(verify=False)


@contextmanager
def client_of(sim: Simulator, key: str = "key-test") -> Iterator[Mistral]:
    """Mistral's client; it does not retry. With its own HTTP it reads certificates each time."""
    with httpx2.Client(verify=False) as http:
        yield Mistral(
            api_key=key, server_url=sim.urls["mistral"], client=http, async_client=_NEVER_USED
        )


def body_of(text: str = "The lid broke after two days.", /, **changes: object) -> dict[str, object]:
    """A chat body."""
    return {"messages": [{"role": "user", "content": text}], **changes}


def line_of(custom_id: object = "row-1", **body: object) -> dict[str, object]:
    """A request line."""
    return {"custom_id": custom_id, "body": body or body_of()}


def lines_of(count: int, **body: object) -> list[dict[str, object]]:
    """Lines `row-1`, `row-2`, ..."""
    return [
        {"custom_id": f"row-{number}", "body": body_of(f"Review {number}: it broke.", **body)}
        for number in range(1, count + 1)
    ]


def as_jsonl(lines: Iterable[Mapping[str, object]]) -> bytes:
    """The lines as the bytes of a file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def upload(
    client: Mistral,
    lines: Iterable[Mapping[str, object]] | bytes,
    filename: str = "requests.jsonl",
) -> CreateFileResponse:
    """Upload for a batch."""
    content = lines if isinstance(lines, bytes) else as_jsonl(lines)
    return client.files.upload(
        file={"file_name": filename, "content": content}, purpose="batch", visibility="workspace"
    )


def submit(
    client: Mistral,
    lines: Iterable[Mapping[str, object]] | bytes,
    endpoint: str = CHAT,
    **wish: Any,  # noqa: ANN401 - whatever else a create takes
) -> BatchJob:
    """Upload and create."""
    return create(client, endpoint=endpoint, input_files=[upload(client, lines).id], **wish)


def create(client: Mistral, **wish: Any) -> BatchJob:  # noqa: ANN401 - whatever a create takes
    """Create a job of what is there already."""
    job: BatchJob = client.batch.jobs.create(**{"endpoint": CHAT, "model": MODEL, **wish})
    return job


@dataclass(frozen=True)
class Results:
    """An ended job and its lines by custom_id."""

    job: BatchJob
    output: dict[str, Line] = field(default_factory=dict)
    errors: dict[str, Line] = field(default_factory=dict)


def content_of(client: Mistral, file_id: object) -> bytes:
    """The bytes of a file."""
    response = client.files.download(file_id=str(file_id))
    try:
        return response.read()
    finally:
        response.close()


def read(client: Mistral, file_id: object) -> list[Line]:
    """The lines of a result file, split as they must be: on newlines alone."""
    if not file_id:
        return []
    return [json.loads(line) for line in content_of(client, file_id).split(b"\n") if line]


def collect(client: Mistral, job_id: str) -> Results:
    """Both result files of a job."""
    job = client.batch.jobs.get(job_id=job_id)
    return Results(
        job,
        output={line["custom_id"]: line for line in read(client, job.output_file)},
        errors={line["custom_id"]: line for line in read(client, job.error_file)},
    )


def run(
    sim: Simulator,
    client: Mistral,
    lines: Iterable[Mapping[str, object]] | bytes,
    endpoint: str = CHAT,
    **wish: Any,  # noqa: ANN401 - as above
) -> Results:
    """Submit, let time pass, collect."""
    job = submit(client, lines, endpoint, **wish)
    sim.advance(60)
    return collect(client, job.id)


def told(refused: "pytest.ExceptionInfo[SDKError]") -> Line:
    """The body of a refusal."""
    body: Line = json.loads(refused.value.body)
    return body


def error_of(line: Line) -> Line:
    """The error in an error row: JSON in a string."""
    assert isinstance(line["response"]["body"], str)
    body: Line = json.loads(line["response"]["body"])
    return body


def job_of(client: Mistral, job: BatchJob) -> BatchJob:
    """The job as it is now."""
    return client.batch.jobs.get(job_id=job.id)


def counts(job: BatchJob) -> tuple[int, int, int, int]:
    """Requests in all, completed, succeeded, failed."""
    return (
        job.total_requests,
        job.completed_requests,
        job.succeeded_requests,
        job.failed_requests,
    )


def post(sim: Simulator, body: object, key: str = "key") -> httpx2.Response:
    """Create a job with a body that the SDK would not send."""
    return httpx2.post(
        f"{sim.urls['mistral']}/v1/batch/jobs",
        content=body if isinstance(body, bytes) else json.dumps(body),
        headers={"authorization": f"Bearer {key}"},
    )


def wish(**changes: object) -> dict[str, object]:
    """The body of a create that is right but for the changes."""
    requests = [{"custom_id": "a", "body": body_of()}]
    return {"endpoint": CHAT, "requests": requests, "model": MODEL, **changes}


def body_in(line: Line) -> Line:
    """The answer in a result line."""
    assert line["response"]["status_code"] == 200, line
    body: Line = line["response"]["body"]
    return body


def message_in(line: Line) -> Line:
    """The message in a result line of chat."""
    ChatCompletionResponse.model_validate(body_in(line))
    message: Line = body_in(line)["choices"][0]["message"]
    return message
