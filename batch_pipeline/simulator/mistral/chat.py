"""The answers of `/v1/chat/completions` and `/v1/fim/completions`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.mistral import models
from batch_pipeline.simulator.mistral.messages import (
    Said,
    asked,
    count_messages,
    read_messages,
    unreachable,
)
from batch_pipeline.simulator.mistral.row_answer import (
    Body,
    Made,
    RefusedRequestError,
    told_usage,
    unfetchable,
    whole,
)
from batch_pipeline.simulator.model import Answer, Ask
from batch_pipeline.simulator.prompt_reading import Hints
from batch_pipeline.simulator.records import Usage
from batch_pipeline.simulator.strict import schema_flaw

_FINISH = {"tool": "tool_calls", "refusal": "stop", "content_filter": "error"}
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Reply:
    """The model's answer with what stands around it."""

    said: Answer
    tool: str | None
    thinking: str
    finish: str


def make_chat(body: Body, name: str, created: int, fault: str | None) -> Made:
    """Answer one chat request."""
    messages = read_messages(body["messages"])
    _check_messages(messages)
    model = str(body["model"])
    prompt_tokens = count_messages(messages)
    _check_context(model, prompt_tokens)
    ask = _ask(body, model, asked(messages), prompt_tokens)
    return _completion(body, ask, (name, created, prompt_tokens), fault)


def make_fim(body: Body, name: str, created: int, fault: str | None) -> Made:
    """Fill in the middle between prompt and suffix."""
    prompt = f"{body['prompt']}\n{body.get('suffix') or ''}"
    prompt_tokens = tokens.count(prompt)
    model = str(body["model"])
    _check_context(model, prompt_tokens)
    ask = Ask(prompt=prompt, limit=_limit(body, model, prompt_tokens))
    return _completion(body, ask, (name, created, prompt_tokens), fault)


def _completion(body: Body, ask: Ask, about: tuple[str, int, int], fault: str | None) -> Made:
    name, created, prompt_tokens = about
    reply = _reply(ask, fault)
    copies = whole(body.get("n")) or 1
    usage = Usage(
        input=prompt_tokens,
        output=reply.said.output_tokens * copies,
        reasoning=reply.said.reasoning_tokens * copies,
    )
    return Made(
        {
            "id": name,
            "object": "chat.completion",
            "created": created,
            "model": body["model"],
            "choices": [_choice(reply, name, index) for index in range(copies)],
            "usage": told_usage(usage),
        },
        usage,
    )


def _reply(ask: Ask, fault: str | None) -> _Reply:
    beyond = fault == "context_exceeded"  # the model's own end, which has a name of its own
    said = simulated.answer(ask, "truncated" if beyond else fault)
    finish = "model_length" if beyond else _FINISH.get(said.finish, said.finish)
    called = ask.tool is not None and said.finish in {"tool", "length"}
    return _Reply(
        said=said,
        tool=ask.tool[0] if ask.tool is not None and called else None,
        thinking=_thoughts(ask.prompt, said.reasoning_tokens),
        finish=finish,
    )


def _choice(reply: _Reply, name: str, index: int) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": "", "tool_calls": None}
    if reply.tool is None:
        message["content"] = reply.said.text
    else:
        call = {"name": reply.tool, "arguments": reply.said.text}
        message["tool_calls"] = [
            {"id": f"{name[:8]}{index}", "type": "function", "function": call, "index": 0}
        ]
    if reply.thinking:
        message["content"] = _with_thinking(reply, str(message["content"]))
    return {"index": index, "finish_reason": reply.finish, "message": message}


def _with_thinking(reply: _Reply, text: str) -> list[dict[str, object]]:
    thought = [{"type": "text", "text": reply.thinking}]
    part: dict[str, object] = {"type": "thinking", "thinking": thought}
    if not text and reply.finish == "length":
        return [part | {"closed": False}]  # all tokens went into thinking
    spoken: list[dict[str, object]] = [{"type": "text", "text": text}] if text else []
    return [part | {"closed": True}, *spoken]


def _thoughts(prompt: str, size: int) -> str:
    """A text of about *size* tokens."""
    if size == 0:
        return ""
    sentence = f"(Simulated thinking.) The question is about: {Hints(prompt).summary(8)}. "
    return tokens.cut(sentence * (size // 8 + 1), size)


def _ask(body: Body, model: str, prompt: str, prompt_tokens: int) -> Ask:
    wanted = body.get("response_format")
    shape = wanted if isinstance(wanted, dict) else {}
    return Ask(
        prompt=prompt,
        schema=_schema(shape),
        json_object=shape.get("type") == "json_object",
        tool=_tool(body),
        limit=_limit(body, model, prompt_tokens),
        reasoning_tokens=_thinking(body, model, prompt),
    )


def _limit(body: Body, model: str, prompt_tokens: int) -> int | None:
    """The output tokens allowed; what is more than the model can give counts as that."""
    limit = whole(body.get("max_tokens"))
    return None if limit is None else min(limit, models.context(model) - prompt_tokens)


def _thinking(body: Body, model: str, prompt: str) -> int:
    if body.get("prompt_mode") is not None and not models.reasons(model):
        raise RefusedRequestError(f"prompt_mode is not supported for model {model}")
    effort = body.get("reasoning_effort") or ("medium" if models.reasons(model) else "none")
    return simulated.reasoning_tokens(prompt, str(effort))


def _schema(shape: dict[str, object]) -> bytes | None:
    named = shape.get("json_schema")
    if shape.get("type") != "json_schema" or not isinstance(named, dict):
        return None
    schema = orjson.dumps(named["schema"])
    flaw = schema_flaw(schema, strict=False)
    if flaw is not None:
        raise RefusedRequestError(f"Invalid json schema for response_format: {flaw}")
    return schema


def _tool(body: Body) -> tuple[str, bytes] | None:
    """The tool that must be called: name and parameter schema."""
    tools = body.get("tools")
    offered = [tool["function"] for tool in tools] if isinstance(tools, list) else []
    for function in offered:
        _check_name(str(function["name"]))
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        wanted = next((each for each in offered if each["name"] == name), None)
        if wanted is None:
            raise RefusedRequestError(f"Tool choice function {name} is not among the tools")
    elif choice in {"any", "required"}:
        if not offered:
            raise RefusedRequestError(f"Tool choice '{choice}' needs tools")
        wanted = offered[0]
    else:
        return None
    return str(wanted["name"]), orjson.dumps(wanted["parameters"])


def _check_name(name: str) -> None:
    if _FUNCTION_NAME.fullmatch(name) is None:
        message = (
            f"Function name was {name} but must be a-z, A-Z, 0-9, or contain underscores and "
            "dashes, with a maximum length of 64."
        )
        raise RefusedRequestError(message, "invalid_function_call", "3280")


def _check_messages(messages: Sequence[Said]) -> None:
    last = messages[-1]
    if last.role not in {"user", "tool"} and not (last.role == "assistant" and last.prefix):
        raise RefusedRequestError(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got "
            f"{last.role}",
            "invalid_request_message_order",
            "3230",
        )
    for said in messages:
        for address in said.pictures:
            if unreachable(address):
                raise unfetchable(address)


def _check_context(model: str, prompt_tokens: int) -> None:
    most = models.context(model)
    if prompt_tokens > most:
        raise RefusedRequestError(
            f"Prompt contains {prompt_tokens} tokens and 0 draft tokens, too large for model with "
            f"{most} maximum context length",
            code="3051",
        )
