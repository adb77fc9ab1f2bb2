"""Answers of Mistral that are whole and yet not what was asked for, as the script wants them."""

from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.merging import merged

_Body = dict[str, object]


def odd_body(body: _Body, fault: Row, name: str) -> object:
    """The body of a 200 as *fault* has it; the same body when the fault is none of a body's."""
    match fault.becomes:
        case "edited":
            return merged(body, fault.edit)
        case "standard_tier" if "usage" in body:
            return merged(body, {"usage": {"service_tier": "standard"}})
        case "empty" if "choices" in body:
            return body | _said(body, None)
        case "reasoning_only" if "choices" in body:
            thought = [{"type": "text", "text": "Simulated thoughts about the request."}]
            thinking = {"type": "thinking", "thinking": thought, "closed": True}
            return body | _said(body, [thinking])
        case "unknown_items" if "choices" in body:
            unread = {"type": "tool_file", "tool": "code_interpreter", "file_id": name}
            return body | _said(body, [unread])
        case _:
            return body


def _said(body: _Body, content: object) -> _Body:
    choices = body["choices"]
    assert isinstance(choices, list)  # noqa: S101 - this tells the type checker
    silent = {"content": content, "tool_calls": None}
    said = [each["message"] | silent for each in choices]
    pairs = zip(choices, said, strict=True)
    return {"choices": [each | {"message": one, "finish_reason": "stop"} for each, one in pairs]}
