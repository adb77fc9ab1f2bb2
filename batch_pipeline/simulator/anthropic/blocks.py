"""What Anthropic refuses in the messages of a request: turns, blocks, images, documents."""

import base64
import binascii
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from batch_pipeline.simulator.anthropic.refusals import (
    Params,
    RefusedRequestError,
    extra,
    items,
    mapping,
    missing,
    not_one_of,
    text,
    unknown_tag,
)

NEW_VERSION = "2026-10-21"
_ROLES = ("user", "assistant", "system")
_BLOCKS = (
    "bash_code_execution_tool_result code_execution_tool_result container_upload document image "
    "redacted_thinking search_result server_tool_use text text_editor_code_execution_tool_result "
    "thinking tool_result tool_search_tool_result tool_use web_fetch_tool_result "
    "web_search_tool_result"
)
_KNOWN_BLOCKS = tuple(_BLOCKS.split())
_ONLY_ASSISTANT = frozenset(["thinking", "redacted_thinking", "tool_use", "server_tool_use"])
_MAGIC = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG",),
    "image/gif": (b"GIF8",),
    "image/webp": (b"RIFF",),
}
_TTLS = ("5m", "1h")
_MOST_BREAKPOINTS = 4
_NO_DOWNLOAD = "Unable to download the file. Please verify the URL and try again."


def check_messages(params: Params, version: str, *, prefill: bool) -> None:
    """Raise for what is wrong with `messages`."""
    if "messages" not in params:
        raise missing("messages")
    messages = items(params["messages"], "messages")
    if not messages:
        raise RefusedRequestError("messages: at least one message is required")
    for place, message in enumerate(messages):
        last = place == len(messages) - 1
        _check_message(mapping(message, f"messages.{place}"), place, version, last=last)
    _check_tool_turns([message for message in messages if isinstance(message, Mapping)])
    final = messages[-1]
    if not prefill and isinstance(final, Mapping) and final["role"] == "assistant":
        raise RefusedRequestError(
            "This model does not support assistant message prefill. The conversation must end with "
            "a user message."
        )


def check_breakpoints(blocks: list[Params]) -> None:
    """Raise for wrong `cache_control` among all blocks of a request."""
    controls = [block["cache_control"] for block in blocks if block.get("cache_control")]
    for control in controls:
        given = mapping(control, "cache_control")
        if given.get("type") != "ephemeral":
            raise unknown_tag("cache_control", given.get("type"), ("ephemeral",))
        if given.get("ttl", "5m") not in _TTLS:
            raise not_one_of("cache_control.ephemeral.ttl", _TTLS)
    if len(controls) > _MOST_BREAKPOINTS:
        raise RefusedRequestError(
            f"A maximum of 4 blocks with cache_control may be provided. Found {len(controls)}."
        )


def check_text_blocks(given: object, where: str) -> None:
    """Raise unless it is a text or a list of text blocks: what a system prompt may be."""
    if isinstance(given, str):
        return
    for place, block in enumerate(items(given, where)):
        each = mapping(block, f"{where}.{place}")
        if each.get("type") != "text":
            raise unknown_tag(f"{where}.{place}", each.get("type"), ("text",))
        _check_text(each, f"{where}.{place}", "system", "")


def _check_message(message: Params, place: int, version: str, *, last: bool) -> None:
    where = f"messages.{place}"
    if "role" not in message:
        raise missing(f"{where}.role")
    role = message["role"]
    if role not in _ROLES:
        raise not_one_of(f"{where}.role", _ROLES[:2])
    if role == "system" and place == 0:
        raise RefusedRequestError(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
            'parameter, not "system" as an input message role.'
        )
    if "content" not in message:
        raise missing(f"{where}.content")
    content = message["content"]
    if content in ("", []) and not (last and role == "assistant"):
        raise RefusedRequestError(
            f"{where}: all messages must have non-empty content except for the optional final "
            "assistant message"
        )
    if isinstance(content, str):
        return
    for number, block in enumerate(items(content, f"{where}.content")):
        _check_block(block, f"{where}.content.{number}", str(role), version)


def _check_block(block: object, where: str, role: str, version: str) -> None:
    given = mapping(block, where)
    kind = given.get("type")
    if kind not in _KNOWN_BLOCKS:
        raise unknown_tag(where, kind, _KNOWN_BLOCKS)
    if kind in _ONLY_ASSISTANT and role != "assistant":
        raise RefusedRequestError(f"{where}: `{kind}` blocks can only be in `assistant` messages")
    if kind == "tool_result" and role != "user":
        raise RefusedRequestError(f"{where}: `tool_result` blocks can only be in `user` messages")
    check = _CHECKS.get(str(kind))
    if check is not None:
        check(given, f"{where}.{kind}", role, version)


def _check_text(block: Params, where: str, role: str, version: str) -> None:
    if "text" not in block:
        raise missing(f"{where}.text")
    if not text(block["text"], f"{where}.text"):
        raise RefusedRequestError("messages: text content blocks must be non-empty")
    if version == NEW_VERSION and role == "user" and block.get("citations"):
        raise extra(f"{where}.citations")


def _check_image(block: Params, where: str, _role: str, _version: str) -> None:
    source = _source(block, where, ("base64", "file", "url"))
    if source["type"] == "url":
        _check_url(source, f"{where}.source.url")
    elif source["type"] == "base64":
        media_type = source.get("media_type")
        if media_type not in _MAGIC:
            raise not_one_of(f"{where}.source.base64.media_type", tuple(_MAGIC))
        data = _decoded(source, f"{where}.source.base64.data")
        if not data.startswith(_MAGIC[str(media_type)]):
            raise RefusedRequestError("Could not process image", running=True)


def _check_document(block: Params, where: str, role: str, version: str) -> None:
    if version == NEW_VERSION and role == "assistant":
        raise RefusedRequestError(f"{where}: `document` blocks can only be in `user` messages")
    source = _source(block, where, ("base64", "content", "file", "text", "url"))
    kind = source["type"]
    if kind == "url":
        _check_url(source, f"{where}.source.url")
    elif kind == "base64":
        if source.get("media_type") != "application/pdf":
            raise not_one_of(f"{where}.source.base64.media_type", ("application/pdf",))
        if not _decoded(source, f"{where}.source.base64.data").startswith(b"%PDF"):
            raise RefusedRequestError("The PDF specified was not valid.", running=True)
    elif kind == "text":
        if source.get("media_type") != "text/plain":
            raise not_one_of(f"{where}.source.text.media_type", ("text/plain",))
        text(source.get("data"), f"{where}.source.text.data")


def _check_tool_use(block: Params, where: str, _role: str, _version: str) -> None:
    for name in ("id", "name", "input"):
        if name not in block:
            raise missing(f"{where}.{name}")
    mapping(block["input"], f"{where}.input")


def _check_tool_result(block: Params, where: str, role: str, version: str) -> None:
    if "tool_use_id" not in block:
        raise missing(f"{where}.tool_use_id")
    content = block.get("content", "")
    if not isinstance(content, str):
        for number, part in enumerate(items(content, f"{where}.content")):
            _check_block(part, f"{where}.content.{number}", role, version)


_Check = Callable[[Params, str, str, str], None]
_CHECKS: dict[str, _Check] = {
    "text": _check_text,
    "image": _check_image,
    "document": _check_document,
    "tool_use": _check_tool_use,
    "tool_result": _check_tool_result,
}


def _source(block: Params, where: str, known: tuple[str, ...]) -> Params:
    if "source" not in block:
        raise missing(f"{where}.source")
    source = mapping(block["source"], f"{where}.source")
    if source.get("type") not in known:
        raise unknown_tag(f"{where}.source", source.get("type"), known)
    return source


def _check_url(source: Params, where: str) -> None:
    if "url" not in source:
        raise missing(f"{where}.url")
    url = urlsplit(text(source["url"], f"{where}.url"))
    if url.scheme != "https":
        raise RefusedRequestError(f"{where}.url: Only HTTPS URLs are supported.")
    if (url.hostname or ".invalid").endswith(".invalid"):
        raise RefusedRequestError(_NO_DOWNLOAD, running=True)


def _decoded(source: Params, where: str) -> bytes:
    if "data" not in source:
        raise missing(where)
    try:
        return base64.b64decode(text(source["data"], where), validate=True)
    except binascii.Error as error:
        raise RefusedRequestError(f"{where}: Invalid base64 data") from error


def _check_tool_turns(messages: list[Params]) -> None:
    """A tool's use is answered by the next message, and nothing else is."""
    open_uses: set[str] = set()
    for place, message in enumerate(messages):
        content = message["content"]
        blocks = content if isinstance(content, list) else []
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
