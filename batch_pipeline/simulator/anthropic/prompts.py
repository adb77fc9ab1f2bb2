"""Reading what a request asks for: its blocks in order, their tokens, and what a cache shares."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.anthropic.refusals import Params

_PICTURE_TOKENS = 1_000  # the text is what is counted for real
_DOCUMENT_TOKENS = 2_000
_TOOLS_TOKENS = 300  # the instructions that come with any tool
_OVERHEAD = 7


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input tokens of a request, split as they are billed."""

    uncached: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def total(self) -> int:
        """All tokens that the model reads."""
        return self.uncached + self.read + self.written_5m + self.written_1h


def blocks_of(params: Params) -> list[Params]:
    """Tools, system and messages as one list of blocks: the order in which a cache sees them."""
    blocks = [block for block in _blocks(params) if isinstance(block, Mapping)]
    if params.get("cache_control") and blocks and not blocks[-1].get("cache_control"):
        blocks[-1] = {**blocks[-1], "cache_control": params["cache_control"]}
    return blocks


def asked(params: Params) -> str:
    """The text that the answer is about: the last thing the user said."""
    messages = params.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if message.get("role") == "user":
            return "\n".join(_texts(_content(message.get("content"))))
    return ""


def cached_prefixes(params: Params) -> list[str]:
    """A digest of each prefix that ends in a `cache_control`, shortest first."""
    digest = hashlib.blake2b(str(params.get("model")).encode(), digest_size=16)
    found = []
    for block in blocks_of(params):
        bare = {key: value for key, value in block.items() if key != "cache_control"}
        digest.update(orjson.dumps(bare, option=orjson.OPT_SORT_KEYS))
        if block.get("cache_control"):
            found.append(digest.hexdigest())
    return found


def count_prompt(params: Params, *, hits: int, least: int) -> Prompt:
    """The input tokens, of which the first *hits* cached prefixes were written by earlier rows.

    A prefix of fewer than *least* tokens is not cached.
    """
    so_far = read = 0
    written = {"5m": 0, "1h": 0}
    for block in blocks_of(params):
        so_far += _count(block)
        control = block.get("cache_control")
        if not isinstance(control, Mapping):
            continue
        hits -= 1
        if so_far < least:
            continue
        if hits >= 0:
            read = so_far
        else:
            before = read + sum(written.values())
            written[str(control.get("ttl", "5m"))] += so_far - before
    cached = read + sum(written.values())
    total = so_far + _OVERHEAD + (_TOOLS_TOKENS if params.get("tools") else 0)
    return Prompt(total - cached, read, written["5m"], written["1h"])


def _blocks(params: Params) -> Iterator[object]:
    tools, messages = params.get("tools"), params.get("messages")
    yield from tools if isinstance(tools, list) else []
    yield from _content(params.get("system"))
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, Mapping):
            yield {"type": "role", "role": message.get("role")}
            yield from _content(message.get("content"))


def _content(given: object) -> list[object]:
    if isinstance(given, str):
        return [{"type": "text", "text": given}]
    return given if isinstance(given, list) else []


def _texts(blocks: list[object]) -> Iterator[str]:
    for block in blocks:
        if not isinstance(block, Mapping):
            continue
        if isinstance(block.get("text"), str):
            yield str(block["text"])
        elif block.get("type") == "tool_result":
            yield from _texts(_content(block.get("content")))
        elif block.get("type") == "document":
            source = block.get("source")
            if isinstance(source, Mapping) and source.get("type") == "text":
                yield str(source["data"])


def _count(block: Params) -> int:
    match block.get("type"):
        case "role":
            return 3
        case "image":
            return _PICTURE_TOKENS
        case "text":
            text = str(block["text"])
            return tokens.count_repeated(text) if "cache_control" in block else tokens.count(text)
        case "tool_result":
            return 3 + sum(tokens.count(text) for text in _texts([block]))
        case "document":
            text = "\n".join(_texts([block]))
            return tokens.count(text) if text else _DOCUMENT_TOKENS
        case _:  # tools, and what the model said earlier by other means than text
            bare = {key: value for key, value in block.items() if key != "cache_control"}
            return tokens.count_repeated(orjson.dumps(bare).decode())
