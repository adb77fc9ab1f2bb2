"""What Anthropic refuses in the messages of a request: turns, blocks, images, documents."""

import base64
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from batch_pipeline.simulator.anthropic.refusals import EXTRA, Params, RefusedRequestError, parts
from batch_pipeline.simulator.anthropic.wire import NEW_VERSION

_ONLY_ASSISTANT = frozenset(["thinking", "redacted_thinking", "tool_use", "server_tool_use"])
_MAGIC = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG",),
    "image/gif": (b"GIF8",),
    "image/webp": (b"RIFF",),
}
_MOST_BREAKPOINTS = 4
_NO_DOWNLOAD = "Unable to download the file. Please verify the URL and try again."


def check_messages(params: Params, version: str, *, prefill: bool) -> None:
    """Raise for what is wrong with `messages`, each field of which is right."""
    messages = parts(params, "messages")
    if not messages:
        raise RefusedRequestError("messages: at least one message is required")
    for place, message in enumerate(messages):
        _check_message(message, place, version, last=place == len(messages) - 1)
    _check_tool_turns(messages)
    if not prefill and messages[-1]["role"] == "assistant":
        raise RefusedRequestError(
            "This model does not support assistant message prefill. The conversation must end with "
            "a user message."
        )


def check_breakpoints(blocks: list[Params]) -> None:
    """Raise for too many `cache_control` among all blocks of a request."""
    found = sum(1 for block in blocks if block.get("cache_control"))
    if found > _MOST_BREAKPOINTS:
        raise RefusedRequestError(
            f"A maximum of 4 blocks with cache_control may be provided. Found {found}."
        )


def check_system(params: Params) -> None:
    """Raise for empty texts in the system prompt."""
    for place, block in enumerate(parts(params, "system")):
        _check_text(block, f"system.{place}", "system", "")


def _check_message(message: Params, place: int, version: str, *, last: bool) -> None:
    where = f"messages.{place}"
    role = message["role"]
    if role == "system" and place == 0:
        raise RefusedRequestError(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
            'parameter, not "system" as an input message role.'
        )
    if message["content"] in ("", []) and not (last and role == "assistant"):
        raise RefusedRequestError(
            f"{where}: all messages must have non-empty content except for the optional final "
            "assistant message"
        )
    for number, block in enumerate(parts(message, "content")):
        _check_block(block, f"{where}.content.{number}", str(role), version)


def _check_block(block: Params, where: str, role: str, version: str) -> None:
    kind = block["type"]
    if kind in _ONLY_ASSISTANT and role != "assistant":
        raise RefusedRequestError(f"{where}: `{kind}` blocks can only be in `assistant` messages")
    if kind == "tool_result" and role != "user":
        raise RefusedRequestError(f"{where}: `tool_result` blocks can only be in `user` messages")
    check = _CHECKS.get(str(kind))
    if check is not None:
        check(block, f"{where}.{kind}", role, version)


def _check_text(block: Params, where: str, role: str, version: str) -> None:
    if not block["text"]:
        raise RefusedRequestError("messages: text content blocks must be non-empty")
    if version == NEW_VERSION and role == "user" and block.get("citations"):
        raise RefusedRequestError(f"{where}.citations: {EXTRA}")


def _check_image(block: Params, where: str, _role: str, _version: str) -> None:
    source = _source(block)
    if source["type"] == "url":
        _check_url(source, f"{where}.source.url")
    elif source["type"] == "base64":
        data = _decoded(source, f"{where}.source.base64.data")
        if not data.startswith(_MAGIC[str(source["media_type"])]):
            raise RefusedRequestError("Could not process image", running=True)


def _check_document(block: Params, where: str, role: str, version: str) -> None:
    if version == NEW_VERSION and role == "assistant":
        raise RefusedRequestError(f"{where}: `document` blocks can only be in `user` messages")
    source = _source(block)
    if source["type"] == "url":
        _check_url(source, f"{where}.source.url")
    if source["type"] == "base64":
        data = _decoded(source, f"{where}.source.base64.data")
        if not data.startswith(b"%PDF"):
            raise RefusedRequestError("The PDF specified was not valid.", running=True)


def _check_tool_result(block: Params, where: str, role: str, version: str) -> None:
    for number, part in enumerate(parts(block, "content")):
        _check_block(part, f"{where}.content.{number}", role, version)


_Check = Callable[[Params, str, str, str], None]
_CHECKS: dict[str, _Check] = {
    "text": _check_text,
    "image": _check_image,
    "document": _check_document,
    "tool_result": _check_tool_result,
}


def _source(block: Params) -> Params:
    source = block["source"]
    assert isinstance(source, Mapping)  # noqa: S101 - checked; this tells the type checker
    return source


def _check_url(source: Params, where: str) -> None:
    url = urlsplit(str(source["url"]))
    if url.scheme != "https":
        raise RefusedRequestError(f"{where}.url: Only HTTPS URLs are supported.")
    if (url.hostname or ".invalid").endswith(".invalid"):
        raise RefusedRequestError(_NO_DOWNLOAD, running=True)


def _decoded(source: Params, where: str) -> bytes:
    try:
        return base64.b64decode(str(source["data"]), validate=True)
    except ValueError as error:  # no base64, or no ASCII
        raise RefusedRequestError(f"{where}: Invalid base64 data") from error


def _check_tool_turns(messages: list[Params]) -> None:
    """A tool's use is answered by the next message, and nothing else is."""
    open_uses: set[str] = set()
    for place, message in enumerate(messages):
        blocks = parts(message, "content")
        answered = {str(each["tool_use_id"]) for each in blocks if each["type"] == "tool_result"}
        _check_answers(open_uses, answered, place)
        open_uses = {str(each["id"]) for each in blocks if each["type"] == "tool_use"}
    if open_uses and messages[-1]["role"] == "assistant":
        raise _unanswered(open_uses, len(messages) - 1)


def _check_answers(open_uses: set[str], answered: set[str], place: int) -> None:
    if answered - open_uses:
        unasked = min(answered - open_uses)
        raise RefusedRequestError(
            f"messages.{place}.content: unexpected `tool_use_id` found in `tool_result` blocks: "
            f"{unasked}. Each `tool_result` block must have a corresponding `tool_use` block in "
            "the previous message."
        )
    if open_uses - answered:
        raise _unanswered(open_uses - answered, place - 1)


def _unanswered(uses: set[str], place: int) -> RefusedRequestError:
    return RefusedRequestError(
        f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {', '.join(sorted(uses))}. Each `tool_use` block must have a corresponding "
        "`tool_result` block in the next message."
    )
