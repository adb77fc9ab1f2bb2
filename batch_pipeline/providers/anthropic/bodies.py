"""The native parameters of a message, with holes and cells where a row comes in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Cell, Form, Hole, Tree
from batch_pipeline.providers.anthropic.facts import DEFAULT_MAX_TOKENS
from batch_pipeline.providers.anthropic.schema import closed_schema
from batch_pipeline.providers.native_bodies import said
from batch_pipeline.request import Attachment, Message, Parameters, Request, Tool
from batch_pipeline.spec import BatchJob

_CHOICES: Mapping[str, Tree] = {
    "auto": {"type": "auto"},
    "none": {"type": "none"},
    "required": {"type": "any"},
}
_THINKING: Mapping[str, Tree] = {"adaptive": {"type": "adaptive"}, "off": {"type": "disabled"}}


def native(job: BatchJob, model: str, asked: Parameters) -> dict[str, Tree]:
    """The params, keys in a fixed order; SpecError for what Anthropic does not take."""
    request = job.request
    heads, turns = _parted(job)
    fixed = _fixed_turns(heads, turns, request) if asked.cache else 0
    if asked.cache and not (request.tools or (heads and not _depends(heads[0])) or fixed):
        raise SpecError(
            f"{job.name}: parameters.cache has nothing to keep: the requests begin with text "
            "that depends on the row, and have no tools. Put what they share into `system`, "
            "without columns, or take `cache` out."
        )
    body = {
        "model": model,
        "max_tokens": asked.max_output_tokens or DEFAULT_MAX_TOKENS,
        "tools": _tools(request.tools, asked.cache),
        "tool_choice": _choice(request.tool_choice),
        "system": _system(request, heads, asked.cache),
        "messages": _messages(request, turns, cached=fixed, ttl=asked.cache),
        **_parameters(job, asked),
    }
    return said(body)


def _parameters(job: BatchJob, asked: Parameters) -> dict[str, Tree]:
    schema = job.request.json_schema
    shape: Tree = None
    if schema is not None:
        closed = closed_schema(schema, where="request.output_schema")
        shape = {"type": "json_schema", "schema": closed}
    thinking = _THINKING[asked.thinking] if asked.thinking else None
    if asked.thinking_tokens is not None:
        thinking = {"type": "enabled", "budget_tokens": asked.thinking_tokens}
    return {
        "thinking": thinking,
        "output_config": said({"effort": asked.reasoning_effort, "format": shape}) or None,
        "stop_sequences": list(asked.stop) or None,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
    }


def _parted(job: BatchJob) -> tuple[list[Message], list[Message]]:
    """The turns that are the system prompt, and the conversation."""
    turns = job.request.turns
    count = next((n for n, turn in enumerate(turns) if turn.role != "system"), len(turns))
    heads, rest = turns[:count], turns[count:]
    if any(turn.role == "system" for turn in rest):
        raise SpecError(
            f"{job.name}: request.messages has a system turn after the conversation began. "
            "Anthropic takes system text before it: move it up."
        )
    request = job.request
    if not (rest or request.conversation or request.images or request.documents):
        raise SpecError(f"{job.name}: request.messages has no turn of the user. Add one.")
    return heads, rest


def _system(request: Request, heads: Sequence[Message], ttl: str | None) -> Tree:
    if not heads:
        return Cell(request.conversation, Form.SYSTEM) if request.conversation else None
    fixed = next((n for n, turn in enumerate(heads) if _depends(turn)), len(heads))
    if len(heads) == 1 and not (ttl and fixed):
        return Hole(heads[0].content)
    return [_text(turn, ttl if number == fixed - 1 else None) for number, turn in enumerate(heads)]


def _messages(
    request: Request, turns: Sequence[Message], *, cached: int, ttl: str | None
) -> list[Tree]:
    """The conversation; attachments stand before the text of the user's last turn."""
    if request.conversation is not None:
        return [_conversation(request, request.conversation)]
    attached = [_document(one) for one in request.documents]
    attached += [_image(one) for one in request.images]
    last = max((n for n, turn in enumerate(turns) if turn.role == "user"), default=None)
    made: list[Tree] = []
    for number, turn in enumerate(turns):
        content: Tree = Hole(turn.content)
        if attached and number == last:
            content = [*attached, _text(turn, None)]
        elif number == cached - 1:
            content = [_text(turn, ttl)]
        made.append({"role": turn.role, "content": content})
    if attached and last is None:
        made.append({"role": "user", "content": attached})
    return made


def _conversation(request: Request, column: str) -> Cell:
    """Its system turns are the system prompt, unless the request has one of its own."""
    if any(turn.role == "system" for turn in request.turns):
        return Cell(column, Form.TURNS, roles=("user", "assistant"))
    return Cell(column, Form.TURNS, hoisted=True)


def _image(one: Attachment) -> Tree:
    if one.url is not None:
        return {
            "type": "image",
            "source": {"type": "url", "url": Cell(one.url, Form.LINK, media="image")},
        }
    source: dict[str, Tree] = {
        "type": "base64",
        "media_type": Cell(one.column, Form.MEDIA_TYPE, media="image"),
        "data": Cell(one.column, Form.BASE64, media="image"),
    }
    return {"type": "image", "source": source}


def _document(one: Attachment) -> Tree:
    if one.url is not None:
        return {
            "type": "document",
            "source": {"type": "url", "url": Cell(one.url, Form.LINK, media="pdf")},
        }
    source: dict[str, Tree] = {
        "type": "base64",
        "media_type": "application/pdf",
        "data": Cell(one.column, Form.BASE64, media="pdf"),
    }
    return {"type": "document", "source": source}


def _tools(tools: Sequence[Tool], ttl: str | None) -> list[Tree] | None:
    made: list[Tree] = []
    for number, tool in enumerate(tools, start=1):
        schema = {"type": "object", **tool.parameters}
        where = f"request.tools.{tool.name}.parameters"
        if schema["type"] != "object":
            raise SpecError(f"{where}: the arguments of a tool are an object. Say `type: object`.")
        if tool.strict and schema.get("properties"):
            schema = closed_schema(schema, where=where)
        elif tool.strict:
            schema = {"type": "object", "properties": {}, "additionalProperties": False}
        native: dict[str, Tree] = {
            "name": tool.name,
            "description": tool.description or None,
            "input_schema": schema,
            "strict": True if tool.strict else None,
            "cache_control": _kept(ttl) if number == len(tools) else None,
        }
        made.append(said(native))
    return made or None


def _choice(choice: str | None) -> Tree:
    if choice is None:
        return None
    return _CHOICES.get(choice, {"type": "tool", "name": choice})


def _text(turn: Message, ttl: str | None) -> Tree:
    return said({"type": "text", "text": Hole(turn.content), "cache_control": _kept(ttl)})


def _kept(ttl: str | None) -> Tree:
    return None if ttl is None else {"type": "ephemeral", "ttl": ttl}


def _fixed_turns(heads: Sequence[Message], turns: Sequence[Message], request: Request) -> int:
    """How many turns at the beginning of the conversation are the same in every request."""
    if any(map(_depends, heads)):
        return 0
    users = [number for number, turn in enumerate(turns) if turn.role == "user"]
    varied = users[-1:] if request.images or request.documents else []
    varied += [number for number, turn in enumerate(turns) if _depends(turn)]
    return min(varied, default=len(turns))


def _depends(turn: Message) -> bool:
    return "{{" in turn.content or "{%" in turn.content


_BEFORE, _AFTER = b'{"requests":[', b"]}"


class Framed:
    """The lines of an open file as the list of a JSON object; may be read again from its start.

    A newline stands only between requests (inside JSON text it is escaped), so each becomes a
    comma, but for the last.
    """

    def __init__(self, lines: BinaryIO, *, piece: int) -> None:
        self._lines, self._piece = lines, piece
        length = os.fstat(lines.fileno()).st_size
        if length:
            lines.seek(length - 1)
            length -= lines.read(1) == b"\n"
        self._length = length
        self.size = len(_BEFORE) + length + len(_AFTER)
        """Its exact bytes."""

    def __iter__(self) -> Iterator[bytes]:
        self._lines.seek(0)
        yield _BEFORE
        left = self._length
        while left and (piece := self._lines.read(min(left, self._piece))):
            left -= len(piece)
            yield piece.replace(b"\n", b",")
        yield _AFTER
