"""The providers under contract. To put another one under it, add a Case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anthropic.types.messages.batch_create_params import Request as ClaudeRequest
from mistralai.client.models import (
    ChatCompletionRequest,
    ClassificationRequest,
    EmbeddingRequest,
    OCRRequest,
)
from openai.types import EmbeddingCreateParams, ModerationCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import BaseModel, TypeAdapter

from batch_pipeline.catalog import ProviderRecord, known
from batch_pipeline.providers.protocol import Codec
from batch_pipeline.providers.registry import Registry


@dataclass(frozen=True)
class Case:
    """One provider, and where it differs from what is expected of all."""

    provider: str
    models: Mapping[str, str]  # endpoint -> a model of it; the first is to chat
    sdk: Mapping[str, TypeAdapter[Any]]  # endpoint -> the SDK's own type of a request
    uploads: bool = True  # lines go up as a file, before the create
    names_batches: bool = True  # batches carry metadata
    around: str = "body"  # the member of a request line that holds the body
    untyped: frozenset[str] = frozenset()  # members that the SDK's newest types have lost
    with_feature: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """What a target must say besides, to have a feature."""
    account: tuple[str, ...] = ()  # variables that make another account of the same key
    deletes_batches: bool = True
    rows: Mapping[str, str] = field(default_factory=dict)
    """Row faults of the simulator that end otherwise here than elsewhere."""
    base: str = ""  # what its SDK's address has behind the server's
    listing: str = ""  # where that SDK lists batches
    says_list: bool = True  # a page of a list says that it is one
    counts_pages: bool = False  # instead of naming the last item of the page before
    has_dashboard: bool = False
    sizes: tuple[str, ...] = ()  # the simulator's limits on the bytes of one batch

    @property
    def endpoint(self) -> str:
        """Where it chats."""
        return next(iter(self.models))

    @property
    def record(self) -> ProviderRecord:
        """What is said of it to add it."""
        return known().records[self.provider]

    @property
    def key_variable(self) -> str:
        """Where its key is."""
        return self.record.key_variable

    @property
    def url_variable(self) -> str:
        """Where its address is."""
        return f"{self.provider.upper()}_BASE_URL"

    def address(self, root: str) -> str:
        """What its SDK is given to ask a server."""
        return f"{root}{self.base}"

    @property
    def codec(self) -> Codec:
        return Registry().codec(self.provider)

    def target(self, endpoint: str | None = None, **said: object) -> dict[str, object]:
        """A target of a job file."""
        where = endpoint or self.endpoint
        model = self.models[where]
        return {"provider": self.provider, "model": model, "endpoint": where, **said}

    def as_the_sdk_reads(self, endpoint: str, custom_id: str, body: Mapping[str, Any]) -> object:
        """The body once the SDK's own type has taken it; equal to it when nothing was lost."""
        kept = {name: value for name, value in body.items() if name not in self.untyped}
        lost = {name: body[name] for name in body if name in self.untyped}
        whole = self.around == "params"
        given = {"custom_id": custom_id, "params": kept} if whole else kept
        taken = _read(self.sdk[endpoint].validate_python(given))
        assert isinstance(taken, dict)
        return {**(taken["params"] if whole else taken), **lost}


def _read(value: object) -> object:
    """Iterables are checked by the SDK's types only while they are read."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {key: _read(one) for key, one in value.items()}
    if isinstance(value, Iterator | list):
        return [_read(one) for one in value]
    return value


CASES = (
    Case(
        provider="openai",
        account=("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
        deletes_batches=False,
        has_dashboard=True,
        base="/v1",
        listing="/v1/batches",
        sizes=("max_file_bytes",),
        models={
            "/v1/chat/completions": "gpt-4.1-nano",
            "/v1/responses": "gpt-4.1-nano",
            "/v1/embeddings": "text-embedding-3-small",
            "/v1/moderations": "omni-moderation-latest",
        },
        sdk={
            "/v1/chat/completions": TypeAdapter(CompletionCreateParamsNonStreaming),
            "/v1/responses": TypeAdapter(ResponseCreateParamsNonStreaming),
            "/v1/embeddings": TypeAdapter(EmbeddingCreateParams),
            "/v1/moderations": TypeAdapter(ModerationCreateParams),
        },
    ),
    Case(
        provider="anthropic",
        account=("ANTHROPIC_WORKSPACE_ID",),
        models={"/v1/messages": "claude-haiku-4-5"},
        sdk={"/v1/messages": TypeAdapter(ClaudeRequest)},
        uploads=False,
        names_batches=False,
        listing="/v1/messages/batches",
        says_list=False,
        sizes=("anthropic_max_body_bytes",),
        around="params",
        untyped=frozenset({"temperature", "top_p"}),
        with_feature={
            "temperature": {"api_version": "2023-06-01"},
            "top_p": {"api_version": "2023-06-01"},
            "reasoning_effort": {"model": "claude-sonnet-4-6"},
            "thinking": {"model": "claude-sonnet-4-6"},
            "thinking_tokens": {"parameters": {"max_output_tokens": 4000}},
        },
        rows={"missing": "missing", "unknown_type": "unreadable"},
    ),
    Case(
        provider="mistral",
        listing="/v1/batch/jobs",
        counts_pages=True,
        sizes=("mistral_max_file_bytes",),
        models={
            "/v1/chat/completions": "mistral-small-latest",
            "/v1/embeddings": "mistral-embed",
            "/v1/moderations": "mistral-moderation-latest",
            "/v1/ocr": "mistral-ocr-latest",
        },
        sdk={
            "/v1/chat/completions": TypeAdapter(ChatCompletionRequest),
            "/v1/embeddings": TypeAdapter(EmbeddingRequest),
            "/v1/moderations": TypeAdapter(ClassificationRequest),
            "/v1/ocr": TypeAdapter(OCRRequest),
        },
        rows={
            "expired": "missing",  # what has not run is in no file
            "cancelled": "missing",
            "refused": "invalid",  # it is only words here
            "content_filter": "errored",
        },
    ),
)
BY_NAME = {case.provider: case for case in CASES}
EVERYWHERE = [(case, endpoint) for case in CASES for endpoint in case.record.endpoints]
"""Every endpoint of every provider."""


def named(value: object) -> str | None:
    """A test's name says the provider."""
    return value.provider if isinstance(value, Case) else None
