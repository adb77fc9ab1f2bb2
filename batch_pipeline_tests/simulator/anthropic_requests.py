"""Makes requests for Anthropic's batches and reads their results."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from anthropic import Anthropic
from anthropic.types.messages import MessageBatch

from batch_pipeline.simulator.server import Simulator

Result: TypeAlias = dict[str, Any]  # a decoded `result`; its shape is what tests look at
HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-5"
OLD_VERSION = "2023-06-01"
TRIAGE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sentiment", "summary", "topics"],
    "properties": {
        "sentiment": {"enum": ["positive", "neutral", "negative"]},
        "summary": {"type": "string"},
        "topics": {"type": "array", "items": {"type": "string"}},
    },
}
TOOL = {"name": "file_ticket", "description": "Files a ticket.", "input_schema": TRIAGE}


def make_params(
    text: str = "The lid broke after two days.", /, **changes: object
) -> dict[str, object]:
    """Parameters of a message; a change to None takes the field away."""
    params = {
        "model": HAIKU,
        "max_tokens": 500,
        "messages": [{"role": "user", "content": text}],
        **changes,
    }
    return {key: value for key, value in params.items() if value is not None}


def make_request(custom_id: object = "row-1", **params: object) -> dict[str, object]:
    """A request of a batch."""
    return {"custom_id": custom_id, "params": make_params(**params)}


def make_requests(count: int, **params: object) -> list[dict[str, object]]:
    """Requests `row-1`, `row-2`, ..."""
    return [
        {
            "custom_id": f"row-{number}",
            "params": make_params(f"Review {number}: it broke.", **params),
        }
        for number in range(1, count + 1)
    ]


def client_of(sim: Simulator, key: str = "sk-test", version: str | None = None) -> Anthropic:
    """Anthropic's client, without retries."""
    headers = {} if version is None else {"anthropic-version": version}
    return Anthropic(
        base_url=sim.urls["anthropic"], api_key=key, max_retries=0, default_headers=headers
    )


def submit(
    client: Anthropic, requests: Iterable[Mapping[str, object]], betas: str | None = None
) -> MessageBatch:
    """Create a batch of requests that need not be right."""
    headers = {} if betas is None else {"anthropic-beta": betas}
    return client.post(
        "/v1/messages/batches",
        body={"requests": list(requests)},
        cast_to=MessageBatch,
        options={"headers": headers},
    )


@dataclass(frozen=True)
class Results:
    """An ended batch and its results by custom_id."""

    batch: MessageBatch
    content: bytes = b""
    rows: dict[str, Result] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The counts that are not zero."""
        counts = self.batch.request_counts.model_dump()
        return {name: count for name, count in counts.items() if count}

    def message(self, custom_id: str = "row-1") -> Result:
        """The message of a row that succeeded."""
        assert self.rows[custom_id]["type"] == "succeeded", self.rows[custom_id]
        message: Result = self.rows[custom_id]["message"]
        return message

    def error(self, custom_id: str = "row-1") -> Result:
        """The error response of a row that did not."""
        assert self.rows[custom_id]["type"] == "errored", self.rows[custom_id]
        error: Result = self.rows[custom_id]["error"]
        return error


def read(client: Anthropic, batch_id: str) -> bytes:
    """The bytes of the results."""
    with client.messages.batches.with_streaming_response.results(batch_id) as response:
        return response.read()


def collect(client: Anthropic, batch_id: str) -> Results:
    """The batch and its results, split as they must be: on newlines alone."""
    content = read(client, batch_id)
    lines = [json.loads(line) for line in content.split(b"\n") if line]
    rows = {line["custom_id"]: line["result"] for line in lines}
    return Results(client.messages.batches.retrieve(batch_id), content, rows)


def run(
    sim: Simulator,
    client: Anthropic,
    requests: Iterable[Mapping[str, object]],
    betas: str | None = None,
) -> Results:
    """Submit, let time pass, collect."""
    batch = submit(client, requests, betas)
    sim.advance(60)
    return collect(client, batch.id)
