"""Answers of OpenAI that are whole and yet not what was asked for, as the script wants them."""

from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.merging import merged

_Body = dict[str, object]
_SEARCHES = 2


def odd_body(body: _Body, fault: Row, name: str) -> object:
    """The body of a 200 as *fault* has it; the same body when the fault is none of a body's."""
    if fault.becomes == "edited":
        return merged(body, fault.edit)
    if fault.becomes == "standard_tier" and "service_tier" in body:
        return body | {"service_tier": "default"}
    if body.get("object") == "response":
        return body | _response(body, fault.becomes, name)
    if body.get("object") == "chat.completion":
        return body | _chat(body, fault.becomes, name)
    return body


def _chat(body: _Body, becomes: str, name: str) -> _Body:
    if becomes == "web_search":
        place = {"start_index": 0, "end_index": 9, "title": "Simulated", "url": _FOUND}
        cited = {"type": "url_citation", "url_citation": place}
        return _said(body, annotations=[cited])
    silent: _Body = {"content": None}
    if becomes == "unknown_items":
        audio = {"id": f"audio_{name}", "data": "", "expires_at": body["created"], "transcript": ""}
        return _said(body, **silent, audio=audio)
    if becomes == "reasoning_only":
        return _said(body, **silent) | {"usage": _all_thought(body["usage"])}
    return _said(body, **silent) if becomes == "empty" else {}


def _said(body: _Body, **message: object) -> _Body:
    """Every choice with a message that differs, without calls, ended as it should."""
    choices = body["choices"]
    assert isinstance(choices, list)  # noqa: S101 - this tells the type checker
    return {"choices": [_choice(each, message) for each in choices]}


def _choice(choice: _Body, changes: _Body) -> _Body:
    message = choice["message"]
    assert isinstance(message, dict)  # noqa: S101 - this tells the type checker
    kept = {name: said for name, said in message.items() if name != "tool_calls"}
    return choice | {"message": kept | changes, "finish_reason": "stop"}


def _all_thought(usage: object) -> object:
    """Usage of an answer whose tokens all went into thinking."""
    assert isinstance(usage, dict)  # noqa: S101 - this tells the type checker
    details = {"completion_tokens_details": {"reasoning_tokens": usage["completion_tokens"]}}
    return merged(usage, details)


def _response(body: _Body, becomes: str, name: str) -> _Body:
    output = body["output"]
    assert isinstance(output, list)  # noqa: S101 - this tells the type checker
    match becomes:
        case "empty":
            return {"output": []}
        case "reasoning_only":
            return {"output": [{"id": f"rs_{name}", "type": "reasoning", "summary": []}]}
        case "unknown_items":
            return {"output": _unread(name)}
        case "commentary":
            return {"output": [_remark(name), *output]}
        case "web_search":
            searches = [_search(name, number) for number in range(_SEARCHES)]
            counted = merged(body.get("tool_usage"), {"web_search": {"num_requests": _SEARCHES}})
            return {"output": [*searches, *output], "tool_usage": counted}
        case _:
            return {}


def _remark(name: str) -> _Body:
    text = "Simulated remark: I look at the request first."
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {
        "id": f"msg_remark{name}",
        "type": "message",
        "status": "completed",
        "content": [part],
        "phase": "commentary",
        "role": "assistant",
    }


_FOUND = "https://simulated.invalid/page"


def _search(name: str, number: int) -> _Body:
    sources = [{"type": "url", "url": _FOUND}]
    action = {"type": "search", "query": "simulated", "queries": ["simulated"], "sources": sources}
    return {
        "id": f"ws_{name}{number}",
        "type": "web_search_call",
        "status": "completed",
        "action": action,
    }


def _unread(name: str) -> list[_Body]:
    """Calls that wait for somebody to act on them."""
    return [
        {
            "id": f"cu_{name}",
            "type": "computer_call",
            "status": "completed",
            "call_id": f"call_{name[:24]}",
            "action": {"type": "screenshot"},
            "pending_safety_checks": [],
        },
        {
            "id": f"mcpr_{name}",
            "type": "mcp_approval_request",
            "server_label": "simulated",
            "name": "look_up",
            "arguments": "{}",
        },
        {
            "id": f"ig_{name}",
            "type": "image_generation_call",
            "status": "completed",
            "result": None,
        },
    ]
