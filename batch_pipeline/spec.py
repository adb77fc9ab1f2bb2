"""What the user asks for: a closed, typed job definition, the same from YAML and from Python.

Models are flat, without unions, so that Dagster's own YAML check can point at the exact key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from batch_pipeline import catalog
from batch_pipeline.model import FailureKind
from batch_pipeline.request import Closed, Message, Parameters, Request
from batch_pipeline.written import beside
from batch_pipeline.written.origin import Origin
from batch_pipeline.written.timing import distinct_format, known_cron, known_zone, named_time

__all__ = ["Message", "Parameters", "Request"]

RETRIED_BY_DEFAULT = (
    FailureKind.ERRORED,
    FailureKind.EXPIRED,
    FailureKind.CANCELLED,
    FailureKind.MISSING,
    FailureKind.UNREADABLE,
)
"""Kinds that were not answered; the others were answered and billed, and go again only if named."""

NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
TIMED = frozenset({"hourly", "daily", "weekly", "monthly"})
"""The kinds of partitions that are cut by time."""


def _a_name(name: str) -> str:
    if re.match(NAME, name):
        return name
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:60] or "my_job"
    like = f"job_{plain}" if plain[0].isdigit() else plain
    raise ValueError(
        f"{name!r} cannot name a job: letters, digits and _, at most 64, no digit first. For "
        f"example {like!r}"
    )


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
    format: str | None = Field(default=None, description="strftime format of a partition's name.")
    timezone: str = "UTC"
    start: str | None = Field(default=None, description="First partition, in `format`.")
    end: str | None = Field(default=None, description="Last partition, included; none: goes on.")
    values: list[str] = Field(default_factory=list, description="The partitions of kind static.")

    @field_validator("format")
    @classmethod
    def _can_name(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        if pattern is not None and info.data.get("kind") in TIMED:
            distinct_format(info.data["kind"], pattern)
        return pattern

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        return known_zone(name)

    @field_validator("start", "end")
    @classmethod
    def _is_a_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if name is None or kind not in TIMED or "format" not in info.data:
            return name
        pattern = info.data["format"] or _usual_format(kind)
        here, start = named_time(kind, pattern, name), info.data.get("start")
        if start is not None and here < named_time(kind, pattern, start):
            raise ValueError(f"{name!r} is before the start, {start!r}")
        return name

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
        return self.format or _usual_format(self.kind)


def _usual_format(kind: str) -> str:
    return "%Y-%m-%d-%H:%M" if kind == "hourly" else "%Y-%m-%d"


def _endpoints() -> list[str]:
    return sorted({name for one in catalog.known().records.values() for name in one.endpoints})


@dataclass(frozen=True, slots=True)
class _Among:
    """A text that is one of what the providers have, in the JSON schema: read when it is made."""

    choices: Callable[[], list[str]]

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, _: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "enum": self.choices()}


class Target(Closed):
    """Who answers: provider, model, endpoint, and parameters over the request's.

    With several, a row goes to the first whose `when` is true for it; one without takes the rest.
    """

    name: str = Field(default="", description="In tables and reports; default provider/model.")
    when: str | None = Field(
        default=None, min_length=1, description="SQL over the row's columns and prompt_chars."
    )
    provider: Annotated[str, _Among(lambda: list(catalog.known().records)), Field(min_length=1)]
    service: str | None = Field(
        default=None, pattern=NAME, description="A service of that provider's API, from settings."
    )
    model: str = Field(min_length=1)
    endpoint: Annotated[str, _Among(_endpoints)] = Field(
        default="", description="Default: the provider's way to chat."
    )
    parameters: Parameters = Parameters()
    betas: list[str] = Field(default_factory=list, description="Beta flags of the whole batch.")
    timeout_hours: int | None = Field(default=None, ge=1, le=167)
    api_version: str | None = Field(default=None, min_length=1)

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, value: str) -> str:
        providers = catalog.known()
        if value in providers.refused:
            raise ValueError(providers.refused[value])
        return _one_of(value, tuple(providers.records), "provider")

    @model_validator(mode="before")
    @classmethod
    def _say_the_endpoint(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        provider = data.get("provider")
        record = catalog.known().records.get(provider) if isinstance(provider, str) else None
        usual = "" if record is None else next(iter(record.endpoints))
        name = f"{data.get('service') or provider}/{data.get('model')}"
        said = {key: value for key, value in data.items() if value != ""}
        return {"endpoint": usual, "name": name, **said}

    @field_validator("endpoint")
    @classmethod
    def _known_endpoint(cls, value: str, info: ValidationInfo) -> str:
        provider = info.data.get("provider")
        if provider is None:  # its own error is enough
            return value
        endpoints = tuple(catalog.known().records[provider].endpoints)
        return _one_of(value, endpoints, f"endpoint of {provider}")

    @property
    def numeric(self) -> bool:
        """True when the answers are embeddings."""
        return self.endpoint in catalog.known().records[self.provider].embeddings

    @property
    def sends_to(self) -> str:
        """The service, or the provider itself: whose key, limits and prices count."""
        return self.service or self.provider


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

    cron: str
    timezone: str = "UTC"

    @field_validator("cron")
    @classmethod
    def _is_a_cron(cls, text: str) -> str:
        return known_cron(text)

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, name: str) -> str:
        return known_zone(name)


class Backfill(Closed):
    """How Dagster cuts a backfill into runs; without it, one run for all of its partitions."""

    max_partitions_per_run: int = Field(ge=1, description="Each run sends batches of its own.")


class Canary(Closed):
    """New request content goes out with its first rows alone; the others wait for these."""

    requests: int = Field(ge=1, description="Rows of each target that go first.")
    max_failed_ratio: float = Field(default=0.2, ge=0, le=1)
    release: Literal["hand", "always"] = Field(
        default="hand", description="When too many failed: wait for a person, or go on and say so."
    )


class BatchJob(Closed):
    """One job: this dataset, this request, these targets, these policies."""

    name: Annotated[
        str,
        AfterValidator(_a_name),
        WithJsonSchema({"type": "string", "pattern": NAME}),
    ] = Field(description="Letters, digits and _; names assets and folders.")
    description: str = ""
    dataset: Dataset
    partitions: Partitions = Partitions()
    request: Request
    targets: list[Target] = Field(min_length=1)
    retry: Retry = Retry()
    shard: ShardLimits = ShardLimits()
    canary: Annotated[
        Canary | None,
        BeforeValidator(lambda value: {"requests": value} if isinstance(value, int) else value),
        WithJsonSchema({"type": ["integer", "object", "null"]}),
    ] = None
    schedule: Schedule | None = None
    backfill: Backfill | None = None
    prices: str | None = Field(default=None, description="YAML file of price overrides.")
    custom_id: Literal["readable", "opaque"] = "readable"
    max_failed_ratio: float = Field(default=0.05, ge=0, le=1)
    tags: dict[str, str] = Field(default_factory=dict)
    _origin: Origin = PrivateAttr(default_factory=Origin)

    @field_validator("targets")
    @classmethod
    def _each_can_be_reached(cls, targets: list[Target]) -> list[Target]:
        for number, target in enumerate(targets[:-1], start=1):
            if target.when is None:
                raise ValueError(
                    f"target {number} ({target.name}) has no `when` and takes every row, so the "
                    "targets after it get none: put it last"
                )
        names = [target.name for target in targets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two targets are named {name!r}: give each a `name` of its own")
        if len({target.numeric for target in targets}) > 1:
            raise ValueError("embeddings and other answers do not go into one results table")
        return targets

    @property
    def origin(self) -> Origin:
        """Where it was written, for messages; nothing of the job itself."""
        return self._origin

    def written(self, origin: Origin) -> Self:
        """This job, knowing where it was written."""
        known = self.model_copy()
        known._origin = origin  # noqa: SLF001 - its own
        return known

    @property
    def numeric(self) -> bool:
        """True when the answers are embeddings."""
        return self.targets[0].numeric

    def parameters(self, target: Target) -> Parameters:
        """The target's parameters over the request's."""
        return target.parameters.over(self.request.parameters)

    @property
    def version(self) -> str:
        """A digest of everything that shapes a request; Dagster's code version of `requests`."""
        said = self.model_dump_json(include={"request", "targets", "custom_id"})
        return sha256(said.encode()).hexdigest()[:16]

    def resolved(self, base: Path) -> BatchJob:
        """This job with files read in and relative paths made absolute from *base*; idempotent."""
        request = self.request
        with self._origin.placed(("request", "output_schema")):
            changes: dict[str, object] = {
                "output_schema": beside.schema(request.output_schema, base)
            }
        for part in ("prompt", "system"):
            name = getattr(request, f"{part}_file")
            if name is not None:
                with self._origin.placed(("request", f"{part}_file")):
                    changes |= {part: beside.text(base / name), f"{part}_file": None}
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
