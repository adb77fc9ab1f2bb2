"""Answers of Anthropic that are whole and yet not what was asked for, as the script wants them."""

from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.merging import merged

_Message = dict[str, object]
_SEARCHES = 2


def odd_message(message: _Message, fault: Row, name: str) -> object:
    """The message as *fault* has it; the same when the fault is none of a message's."""
    match fault.becomes:
        case "edited":
            return merged(message, fault.edit)
        case "standard_tier":
            return merged(message, {"usage": {"service_tier": "standard"}})
        case "web_search":
            return _searched(message, name)
        case "empty" | "reasoning_only" | "unknown_items" as becomes:
            return message | {"stop_reason": "end_turn", "content": _silent(becomes, name)}
        case _:
            return message


def _silent(becomes: str, name: str) -> list[_Message]:
    """Blocks without a word that a client reads."""
    if becomes == "reasoning_only":
        return [{"type": "thinking", "thinking": "", "signature": f"simulated{name}"}]
    unread: _Message = {"type": "container_upload", "file_id": f"file_{name[:24]}"}
    return [_search(name, 0), unread] if becomes == "unknown_items" else []


def _searched(message: _Message, name: str) -> object:
    spoken = message["content"]
    assert isinstance(spoken, list)  # noqa: S101 - this tells the type checker
    turns = [turn(name, number) for number in range(_SEARCHES) for turn in (_search, _found)]
    counts = {"web_search_requests": _SEARCHES, "web_fetch_requests": 0}
    billed = merged(message, {"usage": {"server_tool_use": counts}})
    assert isinstance(billed, dict)  # noqa: S101 - this tells the type checker
    return billed | {"content": [*turns, *spoken]}


def _search(name: str, number: int) -> _Message:
    return {
        "type": "server_tool_use",
        "id": f"srvtoolu_{name[:22]}{number}",
        "name": "web_search",
        "input": {"query": "simulated"},
        "caller": {"type": "direct"},
    }


def _found(name: str, number: int) -> _Message:
    page = {
        "type": "web_search_result",
        "title": "Simulated page",
        "url": "https://simulated.invalid/page",
        "encrypted_content": f"simulated{name}",
        "page_age": None,
    }
    return {
        "type": "web_search_tool_result",
        "tool_use_id": f"srvtoolu_{name[:22]}{number}",
        "content": [page],
        "caller": {"type": "direct"},
    }
