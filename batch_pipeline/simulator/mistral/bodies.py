"""Running one request at one of the endpoints that a job may name."""

from collections.abc import Callable

from batch_pipeline.simulator.mistral import models
from batch_pipeline.simulator.mistral.chat import make_chat, make_fim
from batch_pipeline.simulator.mistral.checks import body_flaw
from batch_pipeline.simulator.mistral.other_endpoints import (
    make_chat_moderation,
    make_embeddings,
    make_moderation,
    make_ocr,
)
from batch_pipeline.simulator.mistral.row_answer import Body, Made, RefusedRequestError

_MAKERS: dict[str, Callable[[Body, str, int, str | None], Made]] = {
    "/v1/chat/completions": make_chat,
    "/v1/fim/completions": make_fim,
    "/v1/embeddings": make_embeddings,
    "/v1/moderations": make_moderation,
    "/v1/chat/moderations": make_chat_moderation,
    "/v1/ocr": make_ocr,
}


def make_body(
    endpoint: str, body: Body, *, name: str, created: int, fault: str | None = None
) -> Made:
    """Run one request; *name* is its id. Raises RefusedRequestError like the provider."""
    flaw = body_flaw(endpoint, body)
    if flaw is not None:
        raise RefusedRequestError(flaw)
    model = body.get("model")
    if not isinstance(model, str) or not models.serves(model, endpoint):
        raise RefusedRequestError(f"Invalid model: {model}", "invalid_model", "1500")
    return _MAKERS[endpoint](body, name, created, fault)
