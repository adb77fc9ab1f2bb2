"""OpenAI over HTTP: its routes, its errors, its headers."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.routing import Route

from batch_pipeline.simulator.calls import Door, Face, Handler, RefusedCallError
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.openai.batches import Batches, strangers_batch
from batch_pipeline.simulator.openai.files import Files
from batch_pipeline.simulator.openai.lines import OpenAILines
from batch_pipeline.simulator.openai.objects import NAME
from batch_pipeline.simulator.provider import Simulated
from batch_pipeline.simulator.reply import Reply

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class OpenAIFace(Face):
    """OpenAI's errors and headers."""

    name = NAME

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Any key is good unless it contains `invalid`."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            message = (
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
            raise RefusedCallError(401, message)
        if "invalid" in key:
            message = f"Incorrect API key provided: {key[:3]}***. You can find your API key online."
            raise RefusedCallError(401, message, code="invalid_api_key")

    def error_body(self, refused: RefusedCallError) -> object:
        """`{"error": {...}}` with all four fields."""
        kind = {429: "requests", 403: "insufficient_permissions"}.get(refused.status)
        if kind is None:
            kind = "server_error" if refused.status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's split
        return {
            "error": {
                "message": refused.message,
                "type": kind,
                "param": refused.param,
                "code": refused.code,
            }
        }

    def stranger(self, now: float) -> dict[str, object]:
        """A batch of another project's."""
        return strangers_batch(now)

    def headers(self, request_id: str, milliseconds: int) -> dict[str, str]:
        """As recorded."""
        return {
            "x-request-id": request_id,
            "openai-version": "2020-10-01",
            "openai-organization": "org-simulated",
            "openai-processing-ms": str(milliseconds),
        }


def join(engine: Engine) -> None:
    """Let the engine run OpenAI's batches."""
    engine.dialects[NAME] = engine.validators[NAME] = OpenAILines(engine.limits)


def routes(engine: Engine) -> list[Route]:
    """OpenAI's endpoints, to be mounted under `/openai/v1`."""
    door = Door(engine, OpenAIFace())
    files, batches = Files(engine), Batches(engine)

    def route(path: str, method: str, operation: str, handler: Handler) -> Route:
        return Route(path, door.endpoint(operation, handler), methods=[method])

    return [
        route("/files", "POST", "upload", files.upload),
        route("/files", "GET", "files", files.list),
        route("/files/{id}", "GET", "file", files.retrieve),
        route("/files/{id}", "DELETE", "delete", files.delete),
        route("/files/{id}/content", "GET", "content", files.content),
        route("/batches", "POST", "create", batches.create),
        route("/batches", "GET", "list", batches.list),
        route("/batches/{id}", "GET", "retrieve", batches.retrieve),
        route("/batches/{id}/cancel", "POST", "cancel", batches.cancel),
        Route("/{rest:path}", door.endpoint("unknown", _no_such_url), methods=_METHODS),
    ]


async def _no_such_url(request: Request) -> Reply:
    message = f"Invalid URL ({request.method} {request.url.path.removeprefix('/openai')})"
    raise RefusedCallError(404, message)


SIMULATED = Simulated(NAME, "OpenAI", "/openai/v1", "base_url", join, routes)
