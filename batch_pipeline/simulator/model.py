"""The simulated model: an answer that is a function of the request and of nothing else."""

import base64
import hashlib
import math
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import jsonschema_rs
import orjson

from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.prompt_reading import Hints
from batch_pipeline.simulator.schema import writer_for

_SURROGATE = "\ue0d8"  # stands for what no UTF-8 can hold until the line is written
_REFUSAL = "I'm sorry, but I can't help with that. (Simulated refusal.)"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants, whatever the dialect it came in."""

    prompt: str  # the text that the answer is about
    schema: bytes | None = None
    json_object: bool = False
    tool: tuple[str, bytes] | None = None  # name and parameter schema of the tool to call
    limit: int | None = None  # output tokens
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said; `finish` is one of stop, length, content_filter, tool, refusal."""

    text: str
    finish: str
    output_tokens: int
    reasoning_tokens: int = 0


def answer(ask: Ask, fault: str | None = None) -> Answer:
    """The model's answer; *fault* names a way in which it goes wrong."""
    if fault == "refused":
        return _limited(ask, _REFUSAL, "refusal")
    if fault == "content_filter":
        return Answer("", "content_filter", 0)
    text = _faulty_text(ask, fault)
    if fault == "truncated":
        return _cut_to(text, max(1, tokens.count(text) // 2), ask.reasoning_tokens)
    return _limited(ask, text, "stop" if ask.tool is None else "tool")


def _faulty_text(ask: Ask, fault: str | None) -> str:
    match fault:
        case "invalid":
            return _without_first_field(_text(ask))
        case "not_json":
            return "Sure! Here is the JSON you asked for: (simulated prose, no JSON)"
        case "line_separators":
            return _with_mark(ask, "\u2028 \u0085 \u2029")
        case "lone_surrogate":
            return _with_mark(ask, _SURROGATE)
        case _:
            return _text(ask)


def _text(ask: Ask) -> str:
    hints = Hints(ask.prompt)
    schema = ask.tool[1] if ask.tool is not None else ask.schema
    if schema is not None:
        return orjson.dumps(writer_for(schema)(hints, 0)).decode()
    if ask.json_object:
        return orjson.dumps({"simulated": True, "answer": hints.summary()}).decode()
    return f"Simulated answer to: {hints.summary(20)}"


def _without_first_field(text: str) -> str:
    """JSON that breaks its schema: the first field is missing, or the whole is a list."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return "{"
    if not isinstance(value, dict) or not value:
        return orjson.dumps([value]).decode()
    return orjson.dumps(dict(list(value.items())[1:])).decode()


def with_surrogate(line: bytes) -> bytes:
    """A line whose answer was marked for it, with half of a surrogate pair at the mark."""
    return line.replace(_SURROGATE.encode(), rb"\ud83d")


def _with_mark(ask: Ask, mark: str) -> str:
    """The answer with a mark in it: in its longest string that the schema leaves free."""
    text = _text(ask)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return f"{text}{mark}simulated"
    schema = ask.tool[1] if ask.tool is not None else ask.schema
    fields = value if isinstance(value, dict) else {}
    strings = [(len(said), key) for key, said in fields.items() if isinstance(said, str)]
    for _, key in sorted(strings, reverse=True):
        marked = {**fields, key: fields[key] + mark}
        if schema is None or jsonschema_rs.is_valid(orjson.loads(schema), marked):
            return orjson.dumps(marked).decode()
    return text


def _limited(ask: Ask, text: str, finish: str) -> Answer:
    size = tokens.count(text)
    if ask.limit is not None and size + ask.reasoning_tokens > ask.limit:
        reasoning = min(ask.reasoning_tokens, ask.limit)
        return _cut_to(text, ask.limit - reasoning, reasoning)
    return Answer(text, finish, size + ask.reasoning_tokens, ask.reasoning_tokens)


def _cut_to(text: str, limit: int, reasoning: int) -> Answer:
    return Answer(tokens.cut(text, limit), "length", limit + reasoning, reasoning)


def reasoning_tokens(prompt: str, effort: str) -> int:
    """How long the model thinks: multiples of 64, more with more effort."""
    steps = {"none": 0, "minimal": 0, "low": 1, "medium": 2, "high": 6}.get(effort, 8)
    return 64 * (steps + zlib.crc32(prompt.encode()) % (steps + 1)) if steps else 0


def embedding(text: str, dimensions: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    noise = array("h", hashlib.shake_128(text.encode()).digest(2 * dimensions))
    length = math.hypot(*noise) or 1.0
    return [value / length for value in noise]


def packed(vector: Sequence[float]) -> str:
    """A vector as base64 of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
