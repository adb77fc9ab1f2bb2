"""Echo's wire format: a request is a text and a model, an answer the text and its words counted."""

from __future__ import annotations

from batch_pipeline.model import Envelope, Hole, Limits, Tree
from batch_pipeline.providers.capabilities import TOPICS, Capabilities, Fact
from batch_pipeline.spec import BatchJob, Target
from echo_batches.record import RECORD, SAY

CAPABILITIES = Capabilities(
    provider=RECORD.name,
    title=RECORD.title,
    key_variable=RECORD.key_variable,
    endpoints=RECORD.endpoints,
    limits={SAY: Limits(requests=1000, bytes=1_000_000)},
    takes={SAY: frozenset[str]()},
    facts=dict.fromkeys(TOPICS, Fact("As the folder does.", "https://example.org/", "2026-11-25")),
)


class EchoCodec:
    """Takes a prompt, and nothing else."""

    name = RECORD.name
    capabilities = CAPABILITIES

    def limits(self, endpoint: str) -> Limits:
        return CAPABILITIES.limits[endpoint]

    def body(self, job: BatchJob, target: Target) -> dict[str, Tree]:
        return {"model": target.model, "say": Hole(job.request.prompt or "")}

    def options(self, job: BatchJob, target: Target) -> dict[str, str]:
        return {}

    def envelope(self, endpoint: str) -> Envelope:
        return Envelope('{"custom_id":', ',"body":', "}\n")

    def decode_sql(self, endpoint: str) -> str:
        return """
            SELECT position, line ->> 'custom_id' AS custom_id, 'succeeded' AS status,
                line ->> 'said' AS text, line ->> 'model' AS model,
                (line ->> 'words')::BIGINT AS input_tokens,
                (line ->> 'words')::BIGINT AS output_tokens
            FROM lines
            """
