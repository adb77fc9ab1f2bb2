"""What is asked of the model, in neutral words: templates, attachments, tools, parameters.

Each provider's codec turns it into a native body. Models are flat, without unions, so that
Dagster's own YAML check can point at the exact key.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from batch_pipeline.errors import SpecError


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


class Message(Closed):
    """One turn of the conversation; `content` is a template."""

    role: Literal["system", "user", "assistant"]
    content: str


class Attachment(Closed):
    """An image or a PDF document of each row: the column with its URL, or with its data."""

    url: str | None = Field(default=None, min_length=1, description="Column of http(s) URLs.")
    data: str | None = Field(
        default=None, min_length=1, description="Column of bytes, or of base64 text."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.data is None):
            raise ValueError("name one column: `url` or `data`")
        return self

    @property
    def column(self) -> str:
        """The column it comes from."""
        return self.url or self.data or ""


class Tool(Closed):
    """A function the model may call; `parameters` is the JSON Schema of its arguments."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, JsonValue] = Field(
        default_factory=lambda: dict[str, JsonValue](type="object", properties={})
    )
    strict: bool = Field(default=False, description="Arguments must satisfy the schema.")


class Parameters(Closed):
    """What shapes the answer, in neutral words; `extra` is native and merged last."""

    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stop: list[str] = Field(default_factory=list)
    seed: int | None = None
    reasoning_effort: str | None = None
    thinking: Literal["adaptive", "off"] | None = None
    thinking_tokens: int | None = Field(default=None, ge=1)
    cache: Literal["5m", "1h"] | None = Field(
        default=None, description="How long the provider keeps the requests' common beginning."
    )
    dimensions: int | None = Field(default=None, ge=1, description="Length of an embedding.")
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    def over(self, below: Parameters) -> Parameters:
        """These parameters, with *below* where nothing is said here."""
        said = self.model_dump(exclude_unset=True)
        extra = {**below.extra, **self.extra}
        return Parameters.model_validate({**below.model_dump(), **said, "extra": extra})


class Request(Closed):
    """The request template: what is asked, with what attached, and how it is to be answered.

    Templates are Jinja2 over the row's columns. For embeddings and moderation `prompt` is the
    input. `images` and `documents` belong to the last turn of the user.
    """

    system: str | None = None
    system_file: str | None = None
    prompt: str | None = None
    prompt_file: str | None = None
    messages: list[Message] = Field(default_factory=list)
    conversation: str | None = Field(
        default=None,
        min_length=1,
        description="Column of turns: a list of role and content, or the same as JSON text.",
    )
    images: list[Attachment] = Field(default_factory=list)
    documents: list[Attachment] = Field(default_factory=list, description="PDFs.")
    tools: list[Tool] = Field(default_factory=list)
    tool_choice: str | None = Field(
        default=None, description="auto, none, required, or the name of the tool to call."
    )
    parameters: Parameters = Parameters()
    output_schema: Annotated[
        dict[str, JsonValue] | str | None,
        WithJsonSchema({"type": ["object", "string", "null"]}),
    ] = Field(default=None, description="JSON Schema, a .json/.yaml file, or module:PydanticModel.")

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> Self:
        asked = [
            self.prompt is not None,
            self.prompt_file is not None,
            bool(self.messages),
            self.conversation is not None,
        ]
        attached = bool(self.images or self.documents)
        if sum(asked) > 1 or not (any(asked) or attached):
            raise ValueError(
                "say what to ask in exactly one of `prompt`, `prompt_file`, `messages`, "
                "`conversation`"
            )
        if attached and self.conversation is not None:
            raise ValueError("`images` and `documents` belong to a `prompt`, not a `conversation`")
        if self.system is not None and self.system_file is not None:
            raise ValueError("`system` and `system_file` are one thing: keep one")
        return self

    @model_validator(mode="after")
    def _a_tool_to_choose(self) -> Self:
        names = [tool.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise ValueError("`tools` names a tool twice")
        if self.tool_choice is not None and self.tool_choice not in (*TOOL_CHOICES, *names):
            known = ", ".join((*TOOL_CHOICES, *names))
            raise ValueError(f"tool_choice {self.tool_choice!r} is not one of {known}")
        if self.tool_choice is not None and not self.tools:
            raise ValueError("`tool_choice` needs `tools` to choose from")
        return self

    @property
    def turns(self) -> list[Message]:
        """The templates' conversation, system first; only after `BatchJob.resolved`.

        Without a prompt (attachments alone, or a conversation column) there are system turns only.
        """
        head = [Message(role="system", content=self.system)] if self.system is not None else []
        if self.messages or self.prompt is None:
            return [*head, *self.messages]
        return [*head, Message(role="user", content=self.prompt)]

    @property
    def json_schema(self) -> dict[str, JsonValue] | None:
        """The output schema itself; only after `BatchJob.resolved`."""
        if isinstance(self.output_schema, str):
            raise SpecError("output_schema is still a reference: call BatchJob.resolved first.")
        return self.output_schema


TOOL_CHOICES = ("auto", "none", "required")
