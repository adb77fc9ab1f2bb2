"""The native bodies of Mistral's endpoints, with holes and cells where a row comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from batch_pipeline.errors import SpecError
from batch_pipeline.model import Cell, Form, Hole, Tree
from batch_pipeline.providers.mistral.facts import HIGHEST_TEMPERATURE
from batch_pipeline.providers.mistral.record import CHAT, EMBEDDINGS, MODERATIONS, OCR
from batch_pipeline.providers.native_bodies import said
from batch_pipeline.providers.strict_schema import strict_schema
from batch_pipeline.request import Attachment, Message, Parameters, Request, Tool
from batch_pipeline.spec import BatchJob

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def native(job: BatchJob, endpoint: str, parameters: Parameters) -> dict[str, Tree]:
    """The endpoint's body, keys in a fixed order; SpecError for what Mistral does not take."""
    _check_values(job, parameters)
    return _BODIES[endpoint](job, parameters)


def _chat(job: BatchJob, parameters: Parameters) -> dict[str, Tree]:
    request = job.request
    body: dict[str, Tree] = {"messages": _messages(job)}
    if request.json_schema is not None:
        body["response_format"] = _format(job, request.json_schema)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    return body | said(
        {
            "tool_choice": _choice(request.tool_choice),
            "max_tokens": parameters.max_output_tokens,
            "temperature": parameters.temperature,
            "top_p": parameters.top_p,
            "stop": list(parameters.stop) or None,
            "random_seed": parameters.seed,
            "reasoning_effort": parameters.reasoning_effort,
        }
    )


def _embeddings(job: BatchJob, parameters: Parameters) -> dict[str, Tree]:
    return {"input": _text(job)} | said({"output_dimension": parameters.dimensions})


def _moderations(job: BatchJob, _parameters: Parameters) -> dict[str, Tree]:
    return {"input": _text(job)}


def _ocr(job: BatchJob, _parameters: Parameters) -> dict[str, Tree]:
    attached = _attached(job.request)
    if len(attached) != 1 or job.request.turns:
        raise SpecError(
            f"{job.name}: {OCR} reads one document and nothing else. Name one attachment, in "
            "request.images or request.documents, and take out the prompt."
        )
    body: dict[str, Tree] = {"document": attached[0]}
    if job.request.json_schema is not None:
        body["document_annotation_format"] = _format(job, job.request.json_schema)
    return body


def _format(job: BatchJob, schema: Mapping[str, JsonValue]) -> Tree:
    """What asks for JSON of a schema, in an answer or in the annotation of a document."""
    strict = strict_schema(schema, by="Mistral")
    shape: dict[str, Tree] = {"name": job.name, "schema": strict, "strict": True}
    return {"type": "json_schema", "json_schema": shape}


_BODIES: Mapping[str, Callable[[BatchJob, Parameters], dict[str, Tree]]] = {
    CHAT: _chat,
    EMBEDDINGS: _embeddings,
    MODERATIONS: _moderations,
    OCR: _ocr,
}


def _messages(job: BatchJob) -> list[Tree]:
    request = job.request
    turns, attached = request.turns, _attached(request)
    said_before = [_turn(turn) for turn in turns]
    if request.conversation is not None:
        return [*said_before, Cell(request.conversation, Form.TURNS)]
    if not attached:
        _check_order(job, turns)
        return said_before
    if request.prompt is None and not request.messages:
        return [*said_before, {"role": "user", "content": attached}]
    _check_order(job, turns)
    text: Tree = {"type": "text", "text": Hole(turns[-1].content)}
    return [*said_before[:-1], {"role": "user", "content": [text, *attached]}]


def _turn(turn: Message) -> Tree:
    return {"role": turn.role, "content": Hole(turn.content)}


def _check_order(job: BatchJob, turns: Sequence[Message]) -> None:
    if turns[-1].role != "user":
        raise SpecError(
            f"{job.name}: Mistral refuses a conversation that does not end with the user's turn. "
            "Put a message of role `user` last."
        )


def _attached(request: Request) -> list[Tree]:
    """Images and documents as parts of a turn, in the job's order."""
    return [
        *(_part("image_url", "image", image) for image in request.images),
        *(_part("document_url", "pdf", document) for document in request.documents),
    ]


def _part(kind: str, media: str, attachment: Attachment) -> Tree:
    form = Form.DATA_URL if attachment.url is None else Form.LINK
    return {"type": kind, kind: Cell(attachment.column, form, media=media)}


def _tool(tool: Tool) -> Tree:
    schema: Tree = dict(tool.parameters)
    if tool.strict:
        name = f"request.tools {tool.name} parameters"
        schema = strict_schema(tool.parameters, of=name, by="Mistral")
    function = said(
        {
            "name": tool.name,
            "description": tool.description or None,
            "parameters": schema,
            "strict": tool.strict or None,
        }
    )
    return {"type": "function", "function": function}


def _choice(choice: str | None) -> Tree:
    match choice:
        case None | "auto" | "none":
            return choice
        case "required":
            return "any"
    return {"type": "function", "function": {"name": choice}}


def _text(job: BatchJob) -> Hole:
    turns = job.request.turns
    if len(turns) != 1 or turns[0].role != "user":
        raise SpecError(
            f"{job.name}: this endpoint of Mistral takes one text and no conversation. Keep "
            "request.prompt and take out `system` and `messages`."
        )
    return Hole(turns[0].content)


def _check_values(job: BatchJob, parameters: Parameters) -> None:
    """What Mistral would refuse a whole file for, or pay no heed to."""
    for heat in (parameters.temperature, parameters.extra.get("temperature")):
        if isinstance(heat, int | float) and heat > HIGHEST_TEMPERATURE:
            raise SpecError(
                f"{job.name}: Mistral refuses a temperature above {HIGHEST_TEMPERATURE}, this is "
                f"{heat}. Lower it."
            )
    effort = parameters.reasoning_effort
    if effort is not None and effort not in _EFFORTS:
        raise SpecError(
            f"{job.name}: Mistral has no reasoning_effort {effort!r}. Known: {', '.join(_EFFORTS)}."
        )
