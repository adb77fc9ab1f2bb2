"""Makes request lines and reads result lines."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from openai import OpenAI
from openai.types import Batch, FileObject

from batch_pipeline.simulator.server import Simulator

Line: TypeAlias = dict[str, Any]  # a decoded result line; its shape is what tests look at
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
TRIAGE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sentiment", "summary", "urgency", "topics"],
    "properties": {
        "sentiment": {"enum": ["positive", "neutral", "negative"]},
        "summary": {"type": "string", "maxLength": 80},
        "urgency": {"type": "string", "enum": ["low", "medium", "high"]},
        "topics": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
}
TRIAGE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "triage", "strict": True, "schema": TRIAGE},
}


def make_body(
    text: str = "The lid broke after two days.", /, **changes: object
) -> dict[str, object]:
    """A chat request; a change to None takes the field away."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **changes}
    return {key: value for key, value in body.items() if value is not None}


def make_line(custom_id: object = "row-1", **changes: object) -> dict[str, object]:
    """A request line; a change to None takes the field away."""
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": make_body(), **changes}
    return {key: value for key, value in line.items() if value is not None}


def make_lines(count: int, **body: object) -> list[dict[str, object]]:
    """Lines `row-1`, `row-2`, ..."""
    return [
        make_line(f"row-{number}", body=make_body(f"Review {number}: it broke.", **body))
        for number in range(1, count + 1)
    ]


def as_jsonl(lines: Iterable[Mapping[str, object]]) -> bytes:
    """The lines as the bytes of a file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def upload(client: OpenAI, content: bytes, filename: str = "requests.jsonl") -> FileObject:
    """Upload for a batch."""
    return client.files.create(file=(filename, content), purpose="batch")


def submit(
    client: OpenAI, lines: Iterable[Mapping[str, object]] | bytes, endpoint: str = CHAT
) -> Batch:
    """Upload and create."""
    content = lines if isinstance(lines, bytes) else as_jsonl(lines)
    file = upload(client, content)
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,  # type: ignore[arg-type] # a Literal there, a variable here
        completion_window="24h",
    )


@dataclass(frozen=True)
class Results:
    """An ended batch and its lines by custom_id."""

    batch: Batch
    output: dict[str, Line] = field(default_factory=dict)
    errors: dict[str, Line] = field(default_factory=dict)


def collect(client: OpenAI, batch_id: str) -> Results:
    """Both result files of a batch."""
    batch = client.batches.retrieve(batch_id)
    return Results(
        batch,
        output={line["custom_id"]: line for line in read(client, batch.output_file_id)},
        errors={line["custom_id"]: line for line in read(client, batch.error_file_id)},
    )


def read(client: OpenAI, file_id: str | None) -> list[Line]:
    """The lines of a result file, split as they must be: on newlines alone."""
    if not file_id:
        return []
    content = client.files.content(file_id).content
    return [json.loads(line) for line in content.split(b"\n") if line]


def run(
    sim: Simulator,
    client: OpenAI,
    lines: Iterable[Mapping[str, object]] | bytes,
    endpoint: str = CHAT,
) -> Results:
    """Submit, let time pass, collect."""
    batch = submit(client, lines, endpoint)
    sim.advance(60)
    return collect(client, batch.id)
