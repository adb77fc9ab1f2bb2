"""What OpenAI is to the rest of us, in one record; loading it loads nothing else."""

from __future__ import annotations

from batch_pipeline.catalog import ProviderRecord

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
EMBEDDINGS, MODERATIONS = "/v1/embeddings", "/v1/moderations"

RECORD = ProviderRecord(
    name="openai",
    title="OpenAI",
    endpoints={
        CHAT: "chat completions: text, images, PDFs as data, tools, structured output",
        RESPONSES: "responses: as chat, and PDFs by URL",
        EMBEDDINGS: "a vector of one text",
        MODERATIONS: "whether a text or an image may harm",
    },
    embeddings=frozenset({EMBEDDINGS}),
    key_variable="OPENAI_API_KEY",
    settings=("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"),
    capabilities="batch_pipeline.providers.openai.facts:CAPABILITIES",
    codec="batch_pipeline.providers.openai.codec:OpenAICodec",
    client="batch_pipeline.providers.openai.client:OpenAIClient.from_env",
    service_client="batch_pipeline.providers.openai.client:OpenAIClient.of_service",
)
