"""Services that speak a provider's API under a name of their own: read from one YAML file.

Groq, Azure OpenAI or a gateway of one's own take OpenAI's calls; each has its address,
key, limits and prices, and none of them may be guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from batch_pipeline.errors import UsageError
from batch_pipeline.model import ENDPOINTS, PROVIDERS, Limits
from batch_pipeline.request import Closed

_NO_NAME = frozenset(PROVIDERS)


class Service(Closed):
    """One service. `max_requests` and `max_bytes` are of one batch file, as its documents say."""

    provider: Literal["openai"] = Field(description="Whose API it speaks.")
    base_url: str = Field(pattern=r"^https?://\S+$")
    key_variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    max_requests: int = Field(ge=1)
    max_bytes: int = Field(ge=1)
    endpoints: list[str] = Field(default_factory=list, description="Default: all of the provider's")
    prices: str | None = Field(default=None, description="genai-prices' name; default: unknown.")
    azure_api_version: str | None = Field(
        default=None, description="For Azure OpenAI, whose base_url is the resource's."
    )

    @field_validator("endpoints")
    @classmethod
    def _known(cls, endpoints: list[str]) -> list[str]:
        for endpoint in endpoints:
            if endpoint not in ENDPOINTS["openai"]:
                raise ValueError(f"{endpoint!r} is not one of {', '.join(ENDPOINTS['openai'])}")
        return endpoints

    @property
    def limits(self) -> Limits:
        """What one shard may hold; 5 % below the bytes, as for the providers themselves."""
        return Limits(requests=self.max_requests, bytes=self.max_bytes * 95 // 100)


Services = Mapping[str, Service]
NONE: Services = MappingProxyType({})


def read_services(path: str | None) -> Services:
    """The services of a YAML file, by name; UsageError names file, service and key."""
    if path is None:
        return NONE
    try:
        said = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"BATCH_PIPELINE_SERVICES={path}: cannot be read ({error}).") from None
    if not isinstance(said, Mapping):
        raise UsageError(f"{path}: a services file is a mapping of names to services.")
    return {str(name): _service(path, str(name), value) for name, value in said.items()}


def _service(path: str, name: str, value: object) -> Service:
    if name in _NO_NAME:
        raise UsageError(f"{path}: {name!r} is a provider itself. Give the service another name.")
    try:
        return Service.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join([name, *(str(part) for part in first["loc"])])
        raise UsageError(
            f"{path}: {at}: {first['msg']}. A service says provider, base_url, key_variable, "
            "max_requests and max_bytes; nothing of it can be guessed."
        ) from None
