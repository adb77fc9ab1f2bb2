"""The native bodies of OpenAI's endpoints, with holes and cells where a row comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Cell, Form, Hole, Tree
from batch_pipeline.providers.native_bodies import said
from batch_pipeline.providers.openai.record import CHAT, EMBEDDINGS, MODERATIONS, RESPONSES
from batch_pipeline.providers.strict_schema import strict_schema
from batch_pipeline.request import Attachment, Message, Request, Tool
from batch_pipeline.spec import BatchJob, Target

_Body: TypeAlias = dict[str, Tree]
_Parts: TypeAlias = Callable[[Request, str | None], list[Tree]]


def native_body(job: BatchJob, target: Target) -> _Body:
    """The body without `extra`, keys in a fixed order."""
    return _BODIES[target.endpoint](job, target)


def _chat(job: BatchJob, target: Target) -> _Body:
    request, asked = job.request, job.parameters(target)
    chosen = request.tool_choice
    if chosen in {tool.name for tool in request.tools}:
        choice: Tree = {"type": "function", "function": {"name": chosen}}
    else:
        choice = chosen
    body: _Body = {
        "model": target.model,
        "messages": _turns(request, request.turns, _chat_parts),
        "tools": [{"type": "function", "function": _function(tool)} for tool in request.tools]
        or None,
        "tool_choice": choice,
        "response_format": None,
        "max_completion_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "stop": list(asked.stop) or None,
        "seed": asked.seed,
        "reasoning_effort": asked.reasoning_effort,
    }
    if request.json_schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": _shape(job)}
    return said(body)


def _responses(job: BatchJob, target: Target) -> _Body:
    request, asked = job.request, job.parameters(target)
    system = None if request.system is None else Hole(request.system)
    turns = request.turns if system is None else request.turns[1:]
    chosen, effort = request.tool_choice, asked.reasoning_effort
    named = chosen in {tool.name for tool in request.tools}
    body: _Body = {
        "model": target.model,
        "instructions": system,
        "input": _turns(request, turns, _responses_parts),
        # `strict` is always said: this endpoint has another default than chat
        "tools": [
            {"type": "function", **_function(tool), "strict": tool.strict} for tool in request.tools
        ]
        or None,
        "tool_choice": {"type": "function", "name": chosen} if named else chosen,
        "text": None,
        "max_output_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "reasoning": None if effort is None else {"effort": effort},
    }
    if request.json_schema is not None:
        body["text"] = {"format": {"type": "json_schema", **_shape(job)}}
    return said(body)


def _embeddings(job: BatchJob, target: Target) -> _Body:
    dimensions = job.parameters(target).dimensions
    return said({"model": target.model, "input": _text(job, target), "dimensions": dimensions})


def _moderations(job: BatchJob, target: Target) -> _Body:
    request = job.request
    if not request.images:
        return {"model": target.model, "input": _text(job, target)}
    return {"model": target.model, "input": _chat_parts(request, request.prompt)}


_BODIES: Mapping[str, Callable[[BatchJob, Target], _Body]] = {
    CHAT: _chat,
    RESPONSES: _responses,
    EMBEDDINGS: _embeddings,
    MODERATIONS: _moderations,
}


def _text(job: BatchJob, target: Target) -> Hole:
    if job.request.prompt is None:
        raise SpecError(
            f"{job.name}: {target.endpoint} takes one text and no conversation: write it as "
            "request.prompt."
        )
    return Hole(job.request.prompt)


def _turns(request: Request, turns: list[Message], parts: _Parts) -> list[Tree]:
    """The turns; what is attached goes into the user's last one, or makes one of its own."""
    said_: list[Tree] = [{"role": turn.role, "content": Hole(turn.content)} for turn in turns]
    if request.conversation is not None:
        return [*said_, Cell(request.conversation, Form.TURNS)]
    if not (request.images or request.documents):
        return said_
    users = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if not users:
        return [*said_, {"role": "user", "content": parts(request, None)}]
    last = users[-1]
    said_[last] = {"role": "user", "content": parts(request, turns[last].content)}
    return said_


# Documents stand before the text and images after it, as in OpenAI's guides.
def _chat_parts(request: Request, text: str | None) -> list[Tree]:
    parts: list[Tree] = []
    for name, document in _named(request):
        file: dict[str, Tree] = {"filename": name, "file_data": _data(document, "pdf")}
        parts.append({"type": "file", "file": file})
    if text is not None:
        parts.append({"type": "text", "text": Hole(text)})
    images: list[Tree] = [
        {"type": "image_url", "image_url": {"url": _image(image)}} for image in request.images
    ]
    return parts + images


def _responses_parts(request: Request, text: str | None) -> list[Tree]:
    parts: list[Tree] = []
    for name, document in _named(request):
        if document.url is None:
            where: dict[str, Tree] = {"filename": name, "file_data": _data(document, "pdf")}
        else:
            where = {"file_url": Cell(document.url, Form.LINK, media="pdf")}
        parts.append({"type": "input_file", **where})
    if text is not None:
        parts.append({"type": "input_text", "text": Hole(text)})
    images: list[Tree] = [
        {"type": "input_image", "image_url": _image(image), "detail": "auto"}
        for image in request.images
    ]
    return parts + images


def _named(request: Request) -> list[tuple[str, Attachment]]:
    """Each document with a name, which its data needs."""
    return [(f"document-{n}.pdf", each) for n, each in enumerate(request.documents, start=1)]


def _image(attached: Attachment) -> Cell:
    if attached.url is None:
        return _data(attached, "image")
    return Cell(attached.url, Form.LINK, media="image")


def _data(attached: Attachment, media: str) -> Cell:
    return Cell(attached.column, Form.DATA_URL, media=media)


def _function(tool: Tool) -> _Body:
    schema: Tree = dict(tool.parameters)
    if tool.strict:
        schema = strict_schema(tool.parameters, of=f"request.tools.{tool.name}.parameters")
    return said(
        {
            "name": tool.name,
            "description": tool.description or None,
            "parameters": schema,
            "strict": True if tool.strict else None,
        }
    )


def _shape(job: BatchJob) -> _Body:
    schema = strict_schema(job.request.json_schema or {})
    return {"name": job.name, "strict": True, "schema": schema}
