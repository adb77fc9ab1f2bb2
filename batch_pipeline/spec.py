"""What the user asks for: a closed, typed job definition, the same from YAML and from Python.

Models are flat, without unions, so that Dagster's own YAML check can point at the exact key.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from batch_pipeline.errors import SpecError
from batch_pipeline.model import ENDPOINTS, PROVIDERS, FailureKind

RETRIED_BY_DEFAULT = (
    FailureKind.ERRORED,
    FailureKind.EXPIRED,
    FailureKind.CANCELLED,
    FailureKind.MISSING,
    FailureKind.UNREADABLE,
)
"""Kinds that were not answered; the others were answered and billed, and go again only if named."""

NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
_MODULE_REF = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class Closed(BaseModel):
    """Frozen, and an unknown key is an error that names the nearest valid one."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
                raise PydanticCustomError(
                    "unknown_key", "unknown key '{key}'; {hint}", {"key": str(key), "hint": hint}
                )
        return data


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Names = Annotated[
    list[str],
    BeforeValidator(_one_or_many),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]


class Dataset(Closed):
    """The input Parquet: a hive-partitioned folder, a glob or one file; local or any fsspec URL."""

    path: str = Field(min_length=1, description="Folder, glob or file; relative to the job file.")
    key: _Names = Field(min_length=1, description="Column or columns that name a row.")
    columns: list[str] = Field(
        default_factory=list, description="Columns templates may use; empty means all."
    )


class Partitions(Closed):
    """How the dataset is cut; `column` is the hive folder's name or a column of the data."""

    kind: Literal["none", "hourly", "daily", "weekly", "monthly", "static"] = "none"
    column: str | None = None
    start: str | None = Field(default=None, description="First partition, in `format`.")
    end: str | None = Field(default=None, description="Last partition, included; none: goes on.")
    values: list[str] = Field(default_factory=list, description="The partitions of kind static.")
    format: str | None = Field(default=None, description="strftime format of a partition's name.")
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "none":
            return self
        if not self.column:
            raise ValueError(f"partitions of kind {self.kind} need `column`")
        if self.kind == "static" and not self.values:
            raise ValueError("partitions of kind static need `values`")
        if self.kind == "static" and len(set(self.values)) < len(self.values):
            raise ValueError("`values` names a partition twice")
        if self.kind != "static" and not self.start:
            raise ValueError(f"partitions of kind {self.kind} need `start`")
        return self

    @property
    def key_format(self) -> str:
        """The strftime format of a partition key."""
        return self.format or ("%Y-%m-%d-%H:%M" if self.kind == "hourly" else "%Y-%m-%d")


class Message(Closed):
    """One turn of the conversation; `content` is a template."""

    role: Literal["system", "user", "assistant"]
    content: str


class Parameters(Closed):
    """What shapes the answer, in neutral words; `extra` is native and merged last."""

    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stop: list[str] = Field(default_factory=list)
    seed: int | None = None
    reasoning_effort: str | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    def over(self, below: Parameters) -> Parameters:
        """These parameters, with *below* where nothing is said here."""
        said = self.model_dump(exclude_unset=True)
        extra = {**below.extra, **self.extra}
        return Parameters.model_validate({**below.model_dump(), **said, "extra": extra})


class Request(Closed):
    """The request template: `prompt` (or `messages`), `system`, parameters, output schema.

    Templates are Jinja2 over the row's columns. For embeddings `prompt` is the input.
    """

    system: str | None = None
    system_file: str | None = None
    prompt: str | None = None
    prompt_file: str | None = None
    messages: list[Message] = Field(default_factory=list)
    parameters: Parameters = Parameters()
    output_schema: Annotated[
        dict[str, JsonValue] | str | None,
        WithJsonSchema({"type": ["object", "string", "null"]}),
    ] = Field(default=None, description="JSON Schema, a .json/.yaml file, or module:PydanticModel.")

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> Self:
        asked = [self.prompt is not None, self.prompt_file is not None, bool(self.messages)]
        if sum(asked) != 1:
            raise ValueError(
                "say what to ask in exactly one of `prompt`, `prompt_file`, `messages`"
            )
        if self.system is not None and self.system_file is not None:
            raise ValueError("`system` and `system_file` are one thing: keep one")
        return self

    @property
    def turns(self) -> list[Message]:
        """The whole conversation, system first; only after `BatchJob.resolved`."""
        head = [Message(role="system", content=self.system)] if self.system is not None else []
        body = self.messages or [Message(role="user", content=self.prompt or "")]
        return [*head, *body]

    @property
    def json_schema(self) -> dict[str, JsonValue] | None:
        """The output schema itself; only after `BatchJob.resolved`."""
        if isinstance(self.output_schema, str):
            raise SpecError("output_schema is still a reference: call BatchJob.resolved first.")
        return self.output_schema


class Target(Closed):
    """Who answers: provider, model, endpoint, and parameters over the request's."""

    provider: Annotated[
        str, WithJsonSchema({"type": "string", "enum": list(PROVIDERS)}), Field(min_length=1)
    ]
    model: str = Field(min_length=1)
    endpoint: Annotated[str, WithJsonSchema({"type": "string", "enum": list(ENDPOINTS)})] = (
        "/v1/chat/completions"
    )
    parameters: Parameters = Parameters()

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, value: str) -> str:
        return _one_of(value, PROVIDERS, "provider")

    @field_validator("endpoint")
    @classmethod
    def _known_endpoint(cls, value: str) -> str:
        return _one_of(value, ENDPOINTS, "endpoint")


class Retry(Closed):
    """How often a failed custom_id goes again, and for which failure kinds."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    kinds: list[FailureKind] = Field(default_factory=lambda: list(RETRIED_BY_DEFAULT))

    @field_validator("kinds")
    @classmethod
    def _never_sent_again(cls, kinds: list[FailureKind]) -> list[FailureKind]:
        for kind in kinds:
            if kind in {FailureKind.REJECTED, FailureKind.WITHHELD}:
                raise ValueError(f"{kind.value} rows are never sent again: the request is at fault")
        return kinds


class ShardLimits(Closed):
    """Caps below the provider's own; larger values do not raise those."""

    max_requests: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)


class Schedule(Closed):
    """When the newest partitions are submitted."""

    cron: str = Field(pattern=r"^(@\w+|\S+ \S+ \S+ \S+ \S+)$")
    timezone: str = "UTC"


class BatchJob(Closed):
    """One job: this dataset, this request, these targets, these policies."""

    name: str = Field(pattern=NAME, description="Letters, digits and _; names assets and folders.")
    description: str = ""
    dataset: Dataset
    partitions: Partitions = Partitions()
    request: Request
    targets: list[Target] = Field(min_length=1)
    retry: Retry = Retry()
    shard: ShardLimits = ShardLimits()
    schedule: Schedule | None = None
    prices: str | None = Field(default=None, description="YAML file of price overrides.")
    custom_id: Literal["readable", "opaque"] = "readable"
    max_failed_ratio: float = Field(default=0.05, ge=0, le=1)
    tags: dict[str, str] = Field(default_factory=dict)

    @field_validator("targets")
    @classmethod
    def _one_target(cls, targets: list[Target]) -> list[Target]:
        if len(targets) > 1:
            raise ValueError("one target per job for now: several need routing rules")
        return targets

    @property
    def target(self) -> Target:
        """The target that answers."""
        return self.targets[0]

    @property
    def parameters(self) -> Parameters:
        """The target's parameters over the request's."""
        return self.target.parameters.over(self.request.parameters)

    @property
    def version(self) -> str:
        """A digest of everything that shapes a request; Dagster's code version of `requests`."""
        said = self.model_dump_json(include={"request", "targets", "custom_id"})
        return sha256(said.encode()).hexdigest()[:16]

    def resolved(self, base: Path) -> BatchJob:
        """This job with files read in and relative paths made absolute from *base*; idempotent."""
        request = self.request
        changes: dict[str, object] = {"output_schema": _schema(request.output_schema, base)}
        for part in ("prompt", "system"):
            name = getattr(request, f"{part}_file")
            if name is not None:
                changes |= {part: _read(base / name), f"{part}_file": None}
        dataset = self.dataset.model_copy(update={"path": _absolute(self.dataset.path, base)})
        prices = None if self.prices is None else _absolute(self.prices, base)
        return self.model_copy(
            update={
                "request": request.model_copy(update=changes),
                "dataset": dataset,
                "prices": prices,
            }
        )


def _one_of(value: str, known: tuple[str, ...], what: str) -> str:
    if value in known:
        return value
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what} {value!r} is not one of {', '.join(known)}.{hint}")


def _absolute(path: str, base: Path) -> str:
    if "://" in path or Path(path).is_absolute():
        return path
    return str((base / path).resolve())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error}). Paths start at the job file.") from None


def _schema(value: dict[str, JsonValue] | str | None, base: Path) -> dict[str, JsonValue] | None:
    if not isinstance(value, str):
        return value
    if _MODULE_REF.match(value):
        return _schema_of_model(value)
    text = _read(base / value)
    try:
        loaded = json.loads(text) if value.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise SpecError(f"{base / value}: not a JSON Schema file: {error}") from None
    if not isinstance(loaded, dict):
        raise SpecError(f"{base / value}: an output schema is an object, this is not.")
    return loaded


def _schema_of_model(reference: str) -> dict[str, JsonValue]:
    module, _, name = reference.partition(":")
    try:
        model = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"output_schema {reference!r}: {error}.") from None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise SpecError(f"output_schema {reference!r} is not a pydantic model.")
    return model.model_json_schema()
