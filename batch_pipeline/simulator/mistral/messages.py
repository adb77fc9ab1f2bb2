"""The messages of a conversation: what is wrong with one, and what it says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.mistral.values import (
    Check,
    FlawError,
    any_of,
    boolean,
    check_fields,
    free,
    mapping,
    number,
    text,
    wrong_type,
)

_PICTURE_TOKENS = 256  # a small picture; the text is what is counted for real
_TALK = {"role": text, "content": any_of(str, list)}


def _calls(value: object, where: str) -> None:
    if not isinstance(value, list):
        raise wrong_type(where, list, value)
    fields = {"id": text, "type": text, "index": number(0, None, whole=True), "function": _called}
    for number_, call in enumerate(value):
        check_fields(call, f"{where}.{number_}", fields, ("function",))


def _called(value: object, where: str) -> None:
    fields = {"name": text, "arguments": any_of(str, dict)}
    check_fields(value, where, fields, ("name", "arguments"))


def _picture(value: object, where: str) -> None:
    if not isinstance(value, str):
        check_fields(value, where, {"url": text, "detail": text}, ("url",))


_ROLES: dict[str, dict[str, Check]] = {
    "system": _TALK,
    "user": _TALK,
    "assistant": _TALK | {"tool_calls": _calls, "prefix": boolean},
    "tool": _TALK | {"tool_call_id": text, "name": text},
}
_PARTS: dict[str, tuple[str, dict[str, Check]]] = {
    "text": ("text", {"text": text}),
    "image_url": ("image_url", {"image_url": _picture}),
    "document_url": ("document_url", {"document_url": text, "document_name": text}),
    "file": ("file_id", {"file_id": text}),
    "reference": ("reference_ids", {"reference_ids": free}),
    "input_audio": ("input_audio", {"input_audio": any_of(str, dict)}),
    "thinking": ("thinking", {"thinking": free, "signature": text, "closed": boolean}),
}


def check_messages(value: object, where: str) -> None:
    """Raise FlawError for the first message that is none."""
    if not isinstance(value, list):
        raise wrong_type(where, list, value)
    if not value:
        message = "List should have at least 1 item after validation, not 0"
        raise FlawError(where, message, "too_short", value)
    for place, message in enumerate(value):
        _check_message(message, f"{where}.{place}")


def _check_message(message: object, where: str) -> None:
    mapping(message, where)
    role = message.get("role") if isinstance(message, Mapping) else None
    fields = _ROLES.get(role) if isinstance(role, str) else None
    if fields is None or not isinstance(message, Mapping):
        known = ", ".join(f"'{name}'" for name in _ROLES)
        complaint = f"Input tag '{role}' found using 'role' does not match any of: {known}"
        raise FlawError(where, complaint, "union_tag_invalid", message)
    content = message.get("content")
    check_fields(message, where, fields, ("content",) if role == "system" else ())
    if role == "assistant" and content is None and not message.get("tool_calls"):
        complaint = "Assistant message must have either content or tool_calls, but not none."
        raise FlawError(where, complaint, "value_error", message)
    for place, part in enumerate(content if isinstance(content, list) else ()):
        _check_part(part, f"{where}.content.{place}")


def _check_part(part: object, where: str) -> None:
    mapping(part, where)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind not in _PARTS:
        known = ", ".join(f"'{name}'" for name in _PARTS)
        complaint = f"Input tag '{kind}' found using 'type' does not match any of: {known}"
        raise FlawError(where, complaint, "union_tag_invalid", part)
    needed, fields = _PARTS[kind]
    check_fields(part, where, fields | {"type": text}, (needed,))


@dataclass(frozen=True, slots=True)
class Said:
    """One message, read."""

    role: str
    text: str
    prefix: bool = False
    pictures: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()


def read_messages(given: object) -> list[Said]:
    """The messages of a conversation that was checked."""
    return [_read(message) for message in given] if isinstance(given, list) else []


def _read(message: Mapping[str, object]) -> Said:
    content = message.get("content")
    parts: Sequence[Mapping[str, object]] = content if isinstance(content, list) else ()
    said = content if isinstance(content, str) else "\n".join(_texts(parts))
    return Said(
        role=str(message["role"]),
        text=said,
        prefix=message.get("prefix") is True,
        pictures=tuple(_address(part["image_url"]) for part in parts if "image_url" in part),
        documents=tuple(str(part["document_url"]) for part in parts if "document_url" in part),
    )


def _texts(parts: Sequence[Mapping[str, object]]) -> Iterator[str]:
    for part in parts:
        if "text" in part:
            yield str(part["text"])


def _address(picture: object) -> str:
    return str(picture["url"]) if isinstance(picture, Mapping) else str(picture)


def count_messages(messages: Sequence[Said]) -> int:
    """The prompt's tokens: three for the frame, and what the messages say; as in the docs."""
    total = 3
    for said in messages:
        repeated = said.role == "system"
        total += tokens.count_repeated(said.text) if repeated else tokens.count(said.text)
        total += _PICTURE_TOKENS * (len(said.pictures) + len(said.documents))
    return total


def asked(messages: Sequence[Said]) -> str:
    """The text that the answer is about: the last thing the user said."""
    return next((said.text for said in reversed(messages) if said.role == "user"), "")


def unreachable(address: str) -> bool:
    """True for a URL that nothing can be fetched from: its host ends in `.invalid`."""
    if address.startswith("data:"):
        return False
    try:
        parts = urlsplit(address)
        return parts.scheme not in {"http", "https"} or (parts.hostname or "").endswith(".invalid")
    except ValueError:
        return True
