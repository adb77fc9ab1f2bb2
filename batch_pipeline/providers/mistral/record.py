"""What Mistral is to the rest of us, in one record; loading it loads nothing else."""

from __future__ import annotations

from batch_pipeline.catalog import ProviderRecord

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
MODERATIONS, OCR = "/v1/moderations", "/v1/ocr"

RECORD = ProviderRecord(
    name="mistral",
    title="Mistral",
    endpoints={
        CHAT: "chat, with images, documents, tools, structured output and reasoning",
        EMBEDDINGS: "embeddings",
        MODERATIONS: "moderation of a text",
        OCR: "the text of a document or an image, as Markdown, and annotations of it",
    },
    embeddings=frozenset({EMBEDDINGS}),
    key_variable="MISTRAL_API_KEY",
    settings=("MISTRAL_BASE_URL",),
    capabilities="batch_pipeline.providers.mistral.facts:CAPABILITIES",
    codec="batch_pipeline.providers.mistral.codec:MistralCodec",
    client="batch_pipeline.providers.mistral.client:MistralClient.from_env",
)
