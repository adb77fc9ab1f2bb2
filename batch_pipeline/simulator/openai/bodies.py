"""The endpoints that a batch may name, and what answers there."""

from collections.abc import Callable, Mapping

from batch_pipeline.simulator import model as simulated
from batch_pipeline.simulator import tokens
from batch_pipeline.simulator.model import Answer, Ask
from batch_pipeline.simulator.openai.checks import Body, check_context, check_request
from batch_pipeline.simulator.openai.prompts import (
    Made,
    asked,
    count_messages,
    input_tokens,
    read_messages,
    schema,
    texts_of,
    thinking,
    tool,
    whole,
)
from batch_pipeline.simulator.openai.responses import make_response
from batch_pipeline.simulator.prompt_reading import Hints
from batch_pipeline.simulator.records import Usage

_CATEGORIES = {
    "harassment": "idiot moron",
    "harassment/threatening": "threaten",
    "hate": "hate racist",
    "hate/threatening": "exterminate",
    "illicit": "steal shoplift",
    "illicit/violent": "bomb weapon",
    "self-harm": "suicide",
    "self-harm/instructions": "overdose",
    "self-harm/intent": "suicidal",
    "sexual": "porn nude",
    "sexual/minors": "underage",
    "violence": "kill murder attack",
    "violence/graphic": "gore",
}
_ALSO_PICTURES = ("self-harm", "sexual", "violence")  # and what is below them, minors aside
_FLAGGED = 0.5


def make_moderation(body: Body, name: str, _created: int, fault: str | None) -> Made:
    """Judge texts, each by itself, or the parts of one input together."""
    inputs = read_inputs(body)
    results = [] if fault == "invalid" else [_judged(text, kinds) for text, kinds in inputs]
    told = {"id": f"modr-{name}", "model": body["model"], "results": results}
    return Made(told, Usage(input=sum(tokens.count(text) for text, _ in inputs)))


def read_inputs(body: Body) -> list[tuple[str, list[str]]]:
    """The text of each input, and whether text or image or both are in it."""
    given = body.get("input")
    if not isinstance(given, list):
        return [(str(given), ["text"])]
    if not any(isinstance(part, Mapping) for part in given):
        return [(str(each), ["text"]) for each in given]
    texts = [str(part["text"]) for part in given if "text" in part]
    kinds = ["text"] * bool(texts) + ["image"] * (len(texts) < len(given))
    return [("\n".join(texts), kinds)]


def _judged(text: str, kinds: list[str]) -> dict[str, object]:
    hints, words = Hints(text), set(text.lower().split())
    scores = {
        category: (0.0 if words.isdisjoint(telling.split()) else 0.9)
        + hints.number(category) % 1000 / 10_000
        for category, telling in _CATEGORIES.items()
    }
    found = {category: score > _FLAGGED for category, score in scores.items()}
    applied = {
        category: [kind for kind in kinds if kind == "text" or _sees_pictures(category)]
        for category in _CATEGORIES
    }
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": scores,
        "category_applied_input_types": applied,
    }


def _sees_pictures(category: str) -> bool:
    return category.startswith(_ALSO_PICTURES) and category != "sexual/minors"


def make_embeddings(body: Body, _name: str, _created: int, fault: str | None) -> Made:
    """Answer one embeddings request."""
    model = str(body["model"])
    inputs = texts_of(body)
    counts = [input_tokens(given) for given in inputs]
    check_context(model, max(counts), "input")
    usual = 3072 if model.endswith("large") else 1536
    dimensions = 1 if fault == "invalid" else whole(body.get("dimensions")) or usual
    vectors = [simulated.embedding(str(given), dimensions) for given in inputs]
    base64 = body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": simulated.packed(vector) if base64 else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    total = sum(counts)
    usage = {"prompt_tokens": total, "total_tokens": total}
    return Made(
        {"object": "list", "data": data, "model": model, "usage": usage}, Usage(input=total)
    )


_FINISH = {"tool": "tool_calls", "refusal": "stop"}


def make_chat(body: Body, name: str, created: int, fault: str | None) -> Made:
    """Answer one chat request."""
    messages = read_messages("/v1/chat/completions", body)
    prompt_tokens = count_messages(messages)
    check_context(str(body["model"]), prompt_tokens, "messages")
    prompt = asked(messages)
    wanted = body.get("response_format")
    shape = wanted if isinstance(wanted, dict) else {}
    ask = Ask(
        prompt=prompt,
        schema=schema(shape.get("json_schema")),
        json_object=shape.get("type") == "json_object",
        tool=tool(body.get("tools"), body.get("tool_choice")),
        limit=whole(body.get("max_completion_tokens")) or whole(body.get("max_tokens")),
        reasoning_tokens=thinking(body, prompt),
    )
    said = simulated.answer(ask, fault)
    copies = whole(body.get("n")) or 1
    usage = Usage(
        input=prompt_tokens,
        output=said.output_tokens * copies,
        reasoning=said.reasoning_tokens * copies,
    )
    return Made(
        {
            "id": f"chatcmpl-{name}",
            "object": "chat.completion",
            "created": created,
            "model": body["model"],
            "choices": [_choice(said, ask, name, index) for index in range(copies)],
            "usage": _chat_usage(usage),
            "service_tier": None,  # recorded rows said `default`, and were billed as batch
            "system_fingerprint": "fp_simulated",
        },
        usage,
    )


def _choice(said: Answer, ask: Ask, name: str, index: int) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": said.text,
        "refusal": None,
        "annotations": [],
    }
    if said.finish == "refusal":
        message |= {"content": None, "refusal": said.text}
    elif ask.tool is not None and said.finish in {"tool", "length"}:
        call = {"name": ask.tool[0], "arguments": said.text}
        message["content"] = None
        message["tool_calls"] = [
            {"id": f"call_{name[:24]}{index}", "type": "function", "function": call}
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": _FINISH.get(said.finish, said.finish),
    }


def _chat_usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "audio_tokens": 0,
            "cache_write_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


_MAKERS: dict[str, Callable[[Body, str, int, str | None], Made]] = {
    "/v1/chat/completions": make_chat,
    "/v1/responses": make_response,
    "/v1/embeddings": make_embeddings,
    "/v1/moderations": make_moderation,
}
ENDPOINTS = tuple(_MAKERS)


def make_body(
    endpoint: str, body: Body, *, name: str, created: int, fault: str | None = None
) -> Made:
    """Run one request; *name* makes its ids. Raises RefusedRequestError like the provider."""
    check_request(endpoint, body)
    return _MAKERS[endpoint](body, name, created, fault)


def count_prompt(endpoint: str, body: Body) -> int:
    """The prompt tokens of a request, also of one that will be refused."""
    if endpoint == "/v1/embeddings":
        return sum(map(input_tokens, texts_of(body)))
    if endpoint == "/v1/moderations":
        return sum(input_tokens(text) for text, _ in read_inputs(body))
    return count_messages(read_messages(endpoint, body))


def count_inputs(body: Body) -> int:
    """How many texts an embeddings request holds."""
    return len(texts_of(body))
