"""What Anthropic is to the rest of us, in one record; loading it loads nothing else."""

from __future__ import annotations

from batch_pipeline.catalog import ProviderRecord

MESSAGES = "/v1/messages"

RECORD = ProviderRecord(
    name="anthropic",
    title="Anthropic",
    endpoints={MESSAGES: "chat, vision, PDFs, tools, structured output"},
    key_variable="ANTHROPIC_API_KEY",
    settings=("ANTHROPIC_BASE_URL", "ANTHROPIC_WORKSPACE_ID"),
    capabilities="batch_pipeline.providers.anthropic.facts:CAPABILITIES",
    codec="batch_pipeline.providers.anthropic.codec:AnthropicCodec",
    client="batch_pipeline.providers.anthropic.client:AnthropicClient.from_env",
)
