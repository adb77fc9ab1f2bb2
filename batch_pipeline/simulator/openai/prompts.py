"""Reading what a request asks for, and counting its prompt, on every wire of OpenAI."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.openai.checks import (
    Body,
    RefusedRequestError,
    effort_of,
    is_reasoning,
)
from batch_pipeline.simulator.records import Usage

_IMAGE_TOKENS = 85  # a low-detail picture; the text is what is counted for real


@dataclass(frozen=True, slots=True)
class Made:
    """A 200 answer and what it used."""

    body: dict[str, object]
    usage: Usage


def read_messages(endpoint: str, body: Body) -> list[tuple[str, str, int]]:
    """Role, text and pictures of every message, on either wire."""
    if endpoint == "/v1/chat/completions":
        return list(_read_list(body.get("messages")))
    given = body.get("input")
    instructions = body.get("instructions")
    first = [("system", instructions, 0)] if isinstance(instructions, str) else []
    if isinstance(given, str):
        return [*first, ("user", given, 0)]
    return [*first, *_read_list(given)]


def _read_list(given: object) -> Iterator[tuple[str, str, int]]:
    for message in given if isinstance(given, list) else ():
        if not isinstance(message, Mapping):
            continue
        role, content = str(message.get("role", "user")), message.get("content")
        if isinstance(content, str):
            yield role, content, 0
            continue
        parts = [part for part in content or () if isinstance(part, Mapping)]
        texts = [str(part["text"]) for part in parts if "text" in part]
        yield role, "\n".join(texts), len(parts) - len(texts)


def count_messages(messages: Sequence[tuple[str, str, int]]) -> int:
    """Chat's formula: three tokens for the answer, three and the texts per message."""
    total = 3
    for role, text, pictures in messages:
        repeated = role in {"system", "developer"}
        total += 3 + tokens.count_repeated(role) + _IMAGE_TOKENS * pictures
        total += tokens.count_repeated(text) if repeated else tokens.count(text)
    return total


def asked(messages: Sequence[tuple[str, str, int]]) -> str:
    """The text that the answer is about: the last thing the user said."""
    return next((text for role, text, _ in reversed(messages) if role == "user"), "")


def thinking(body: Body, prompt: str) -> int:
    """The tokens that the model thinks before it answers."""
    if not is_reasoning(str(body["model"])):
        return 0
    return simulated.reasoning_tokens(prompt, effort_of(body) or "low")


def whole(value: object) -> int | None:
    """The value if it is a whole number."""
    return value if isinstance(value, int) else None


def schema(named: object) -> bytes | None:
    """The JSON text of the schema in a named format."""
    return orjson.dumps(named["schema"]) if isinstance(named, dict) else None


def tool(tools: object, choice: object) -> tuple[str, bytes] | None:
    """The tool that must be called: name and parameter schema. Both wires."""
    offered = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    functions = [tool.get("function", tool) for tool in offered if tool.get("type") == "function"]
    if choice == "required" and functions:
        wanted = functions[0]
    elif isinstance(choice, dict) and choice.get("type") == "function":
        name = choice.get("function", choice).get("name")
        wanted = next((each for each in functions if each.get("name") == name), None)
        if wanted is None:
            raise RefusedRequestError(
                f"Tool choice 'function' not found in 'tools' parameter: {name}.", "tool_choice"
            )
    else:
        return None
    return str(wanted.get("name")), orjson.dumps(wanted.get("parameters") or {"type": "object"})


def texts_of(body: Body) -> list[object]:
    """The texts to embed; a list of numbers is one text that is already tokens."""
    given = body.get("input")
    if not isinstance(given, list):
        return [given]
    return [given] if given and isinstance(given[0], int) else given


def input_tokens(given: object) -> int:
    """The tokens of one text to embed."""
    return len(given) if isinstance(given, list) else tokens.count(str(given))
