"""Services that speak a provider's API under a name of their own: read from one YAML file.

Groq, Azure OpenAI or a gateway of one's own take OpenAI's calls; each has its address,
key, limits and prices, and none of them may be guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from batch_pipeline import catalog
from batch_pipeline.errors import UsageError
from batch_pipeline.model import Limits
from batch_pipeline.request import Closed


class Service(Closed):
    """One service. `max_requests` and `max_bytes` are of one batch file, as its documents say."""

    provider: str = Field(description="Whose API it speaks.")
    base_url: str = Field(pattern=r"^https?://\S+$")
    key_variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    max_requests: int = Field(ge=1)
    max_bytes: int = Field(ge=1)
    endpoints: list[str] = Field(default_factory=list, description="Default: all of the provider's")
    prices: str | None = Field(default=None, description="genai-prices' name; default: unknown.")
    azure_api_version: str | None = Field(
        default=None, description="For Azure OpenAI, whose base_url is the resource's."
    )

    @field_validator("provider")
    @classmethod
    def _spoken(cls, provider: str) -> str:
        spoken = [name for name, one in catalog.known().records.items() if one.service_client]
        if provider not in spoken:
            expected = " or ".join(map(repr, spoken))
            raise PydanticCustomError("one_of", "Input should be {it}", {"it": expected})
        return provider

    @field_validator("endpoints")
    @classmethod
    def _known(cls, endpoints: list[str], info: ValidationInfo) -> list[str]:
        provider = info.data.get("provider")
        known = () if provider is None else catalog.known().records[provider].endpoints
        for endpoint in endpoints:
            if known and endpoint not in known:
                raise ValueError(f"{endpoint!r} is not one of {', '.join(known)}")
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
    if name in catalog.known().records:
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
