"""Mistral over HTTP: its routes, its errors, its headers."""

import uuid
from collections.abc import Mapping

import orjson
from starlette.requests import Request
from starlette.routing import Route

from batch_pipeline.simulator.calls import Door, Face, Handler, RefusedCallError
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.mistral.creation import check_input_files
from batch_pipeline.simulator.mistral.files import Files
from batch_pipeline.simulator.mistral.jobs import Jobs, strangers_job
from batch_pipeline.simulator.mistral.lines import MistralLines
from batch_pipeline.simulator.mistral.objects import NAME, ToldError, uuid_of
from batch_pipeline.simulator.provider import Simulated
from batch_pipeline.simulator.reply import Reply

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_OVERLOADED = 429
_TOLD_AS_ERRORS = {
    _OVERLOADED: ("rate_limited", "1300"),
    500: ("internal_server_error", "1000"),
    503: ("unreachable_backend", "1100"),
}


class MistralFace(Face):
    """Mistral's errors and headers."""

    name = NAME

    async def check_first(self, request: Request) -> None:
        """Ids that are no UUIDs are refused whoever asks."""
        if "id" in request.path_params:
            kind = "job_id" if "/batch/" in request.url.path else "file_id"
            uuid_of(request.path_params["id"], "path", kind)
        elif request.method == "POST" and request.url.path.endswith("/batch/jobs"):
            body = _loaded(await request.body())
            if isinstance(body, dict):
                check_input_files(body)

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Any key is good unless it contains `invalid`."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip() or "invalid" in key:
            raise RefusedCallError(401, "Invalid API Key")

    def error_body(self, refused: RefusedCallError) -> object:
        """A detail for what the caller did wrong, an error object for the rest."""
        if isinstance(refused, ToldError):
            return refused.body
        if refused.status < 500 and refused.status != _OVERLOADED:  # noqa: PLR2004 - HTTP's split
            return {"detail": refused.message}
        kind, code = _TOLD_AS_ERRORS.get(refused.status, _TOLD_AS_ERRORS[500])
        return {
            "object": "error",
            "message": refused.message,
            "type": kind,
            "param": None,
            "code": refused.code or code,
            "raw_status_code": refused.status,
        }

    def stranger(self, now: float) -> dict[str, object]:
        """A job of somebody else's."""
        return strangers_job(now)

    def headers(self, request_id: str, milliseconds: int) -> dict[str, str]:
        """Two names for the same call."""
        return {
            "mistral-correlation-id": str(uuid.UUID(request_id.removeprefix("req_"))),
            "x-kong-request-id": request_id.removeprefix("req_"),
            "x-kong-upstream-latency": str(milliseconds),
        }


def join(engine: Engine) -> None:
    """Let the engine run Mistral's jobs."""
    engine.dialects[NAME] = MistralLines(engine.limits)


def routes(engine: Engine) -> list[Route]:
    """Mistral's endpoints, to be mounted under `/mistral`."""
    door = Door(engine, MistralFace())
    files, jobs = Files(engine), Jobs(engine)

    def route(path: str, method: str, operation: str, handler: Handler) -> Route:
        return Route(f"/v1{path}", door.endpoint(operation, handler), methods=[method])

    return [
        route("/files", "POST", "upload", files.upload),
        route("/files", "GET", "files", files.list),
        route("/files/{id}", "GET", "file", files.retrieve),
        route("/files/{id}", "DELETE", "delete", files.delete),
        route("/files/{id}/content", "GET", "content", files.content),
        route("/batch/jobs", "POST", "create", jobs.create),
        route("/batch/jobs", "GET", "list", jobs.list),
        route("/batch/jobs/{id}", "GET", "retrieve", jobs.retrieve),
        route("/batch/jobs/{id}", "DELETE", "delete", jobs.delete),
        route("/batch/jobs/{id}/cancel", "POST", "cancel", jobs.cancel),
        Route("/{rest:path}", door.endpoint("unknown", _not_found), methods=_METHODS),
    ]


def _loaded(content: bytes) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


async def _not_found(_: Request) -> Reply:
    raise RefusedCallError(404, "Not Found")


SIMULATED = Simulated(NAME, "Mistral", "/mistral", "server_url", join, routes)
