"""The endpoints that a batch may name, and what answers there."""

from collections.abc import Callable

from batch_pipeline.simulator.openai.chat import make_chat
from batch_pipeline.simulator.openai.checks import Body, check_request
from batch_pipeline.simulator.openai.embeddings import make_embeddings
from batch_pipeline.simulator.openai.moderations import make_moderation, read_inputs
from batch_pipeline.simulator.openai.prompts import (
    Made,
    count_messages,
    input_tokens,
    read_messages,
    texts_of,
)
from batch_pipeline.simulator.openai.responses import make_response

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
