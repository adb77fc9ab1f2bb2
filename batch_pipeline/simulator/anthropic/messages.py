"""The answers of `/v1/messages`: what a succeeded row holds."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.anthropic.models import Model
from batch_pipeline.simulator.anthropic.prompts import Prompt, asked, count_prompt
from batch_pipeline.simulator.anthropic.refusals import Params, RefusedRequestError
from batch_pipeline.simulator.anthropic.tools import forced_tool, forces_tool
from batch_pipeline.simulator.model import Answer, Ask
from batch_pipeline.simulator.records import Usage

_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
}
_WINDOW = "model_context_window_exceeded"


@dataclass(frozen=True, slots=True)
class Made:
    """A message and what it used."""

    message: dict[str, object]
    usage: Usage


def make_message(
    params: Params, model: Model, *, name: str, fault: str | None, hits: int, cache_least: int
) -> Made:
    """Answer one request that passed the checks; *name* makes its ids."""
    prompt = count_prompt(params, hits=hits, least=cache_least)
    if prompt.total >= model.context:
        raise RefusedRequestError(
            f"prompt is too long: {prompt.total} tokens > {model.context} maximum", running=True
        )
    ask = _ask(params, model, prompt)
    window_ends_it = fault == "context_exceeded" or ask.limit != params["max_tokens"]
    said = simulated.answer(ask, "truncated" if fault == "context_exceeded" else fault)
    said, sequence = _stopped(said, params)
    content = list(_content(said, ask, params, model, name))
    reason = _STOP[said.finish]
    if sequence is not None:
        reason = "stop_sequence"
    elif reason == "max_tokens" and window_ends_it:
        reason = _WINDOW
    elif reason == "tool_use" and all(block["type"] != "tool_use" for block in content):
        reason = "end_turn"
    message: dict[str, object] = {
        "model": model.name,
        "id": f"msg_simulated{name[:24]}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "stop_details": _details(reason),
        "usage": _usage(prompt, said),
    }
    usage = Usage(
        input=prompt.total,
        cached=prompt.read,
        output=said.output_tokens,
        reasoning=said.reasoning_tokens,
    )
    return Made(message, usage)


def _ask(params: Params, model: Model, prompt: Prompt) -> Ask:
    text = asked(params)
    shape = _format(params)
    limit = params["max_tokens"]
    assert isinstance(limit, int)  # noqa: S101 - checked; this tells the type checker
    return Ask(
        prompt=text,
        schema=None if shape is None else orjson.dumps(shape["schema"]),
        tool=forced_tool(params),
        limit=min(limit, model.context - prompt.total),
        reasoning_tokens=_thinking_tokens(params, model, text),
    )


def _format(params: Params) -> dict[str, object] | None:
    output = params.get("output_config")
    shape = output.get("format") if isinstance(output, dict) else None
    shape = shape or params.get("output_format")
    return shape if isinstance(shape, dict) else None


def _thinking(params: Params) -> dict[str, object]:
    given = params.get("thinking")
    return given if isinstance(given, dict) else {}


def _thinking_tokens(params: Params, model: Model, prompt: str) -> int:
    thinking = _thinking(params)
    kind = thinking.get("type", "adaptive" if model.thinks_unasked else "disabled")
    if kind == "disabled" or forces_tool(params):
        return 0
    output = params.get("output_config")
    effort = output.get("effort") if isinstance(output, dict) else None
    thought = simulated.reasoning_tokens(prompt, str(effort or "medium"))
    budget = thinking.get("budget_tokens")
    return min(thought, budget) if isinstance(budget, int) else thought


def _stopped(said: Answer, params: Params) -> tuple[Answer, str | None]:
    """The answer up to the first stop sequence in it, and which one that was."""
    sequences = params.get("stop_sequences") or []
    assert isinstance(sequences, list)  # noqa: S101 - checked; this tells the type checker
    found = [(said.text.find(each), each) for each in sequences if each in said.text]
    if not found or said.finish != "stop":
        return said, None
    place, sequence = min(found)
    text = said.text[:place]
    spent = tokens.count(text) + said.reasoning_tokens
    return Answer(text, "stop", spent, said.reasoning_tokens), sequence


def _content(
    said: Answer, ask: Ask, params: Params, model: Model, name: str
) -> Iterator[dict[str, object]]:
    if said.reasoning_tokens:
        display = _thinking(params).get("display")
        shown = display == "summarized" or (display is None and model.manual_thinking)
        yield {
            "type": "thinking",
            "thinking": "Simulated thoughts about the request." if shown else "",
            "signature": f"simulated{name}",
        }
    if ask.tool is not None and said.finish in {"tool", "length"}:
        yield _tool_use(said, ask.tool[0], name)
    elif said.text:
        yield {"type": "text", "text": said.text}


def _tool_use(said: Answer, tool: str, name: str) -> dict[str, object]:
    """The call; one that was cut has no input, and what is no JSON object is plain text."""
    try:
        given = orjson.loads(said.text)
    except orjson.JSONDecodeError:
        if said.finish == "tool":
            return {"type": "text", "text": said.text}
        given = {}
    return {
        "type": "tool_use",
        "id": f"toolu_{name[:24]}",
        "name": tool,
        "input": given if isinstance(given, dict) else {},
        "caller": {"type": "direct"},
    }


def _details(reason: str) -> dict[str, object] | None:
    if reason != "refusal":
        return None
    return {"type": "refusal", "category": None, "explanation": "A simulated refusal."}


def _usage(prompt: Prompt, said: Answer) -> dict[str, object]:
    return {
        "input_tokens": prompt.uncached,
        "cache_creation_input_tokens": prompt.written_5m + prompt.written_1h,
        "cache_read_input_tokens": prompt.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": prompt.written_5m,
            "ephemeral_1h_input_tokens": prompt.written_1h,
        },
        "output_tokens": max(1, said.output_tokens),
        "output_tokens_details": {"thinking_tokens": said.reasoning_tokens},
        "server_tool_use": None,
        "service_tier": "batch",
        "inference_geo": "not_available",
        "speed": "standard",
    }
