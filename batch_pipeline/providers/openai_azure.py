"""How Azure OpenAI names the endpoints of a batch; elsewhere they are named as we name them.

Its guide writes chat lines without /v1 and responses lines with it, and creates a batch of either
as one of chat: the service reads from the lines what they are.
"""

from __future__ import annotations

from batch_pipeline.providers.openai_facts import CHAT, RESPONSES
from batch_pipeline.providers.services import Service


def line_url(endpoint: str, service: Service | None) -> str:
    """The `url` of a request line."""
    if service is None or service.azure_api_version is None or endpoint == RESPONSES:
        return endpoint
    return endpoint.removeprefix("/v1")


def batch_endpoint(endpoint: str, service: Service | None) -> str:
    """The `endpoint` that a batch is created with."""
    if service is None or service.azure_api_version is None:
        return endpoint
    return (CHAT if endpoint == RESPONSES else endpoint).removeprefix("/v1")
