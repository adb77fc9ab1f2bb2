"""The messages of a conversation: what they say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from batch_pipeline.simulator import tokens

_PICTURE_TOKENS = 256  # a small picture; the text is what is counted for real


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
