"""Anthropic over HTTP: its routes, its errors, its headers."""

from collections import deque
from collections.abc import Mapping

from starlette.requests import Request
from starlette.routing import Route

from batch_pipeline.simulator.anthropic.batches import Batches
from batch_pipeline.simulator.anthropic.lines import AnthropicLines, error_kind
from batch_pipeline.simulator.anthropic.objects import NAME, moment, strangers_batch
from batch_pipeline.simulator.anthropic.wire import NEW_VERSION
from batch_pipeline.simulator.calls import Door, Face, Handler, RefusedCallError
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.provider import Simulated
from batch_pipeline.simulator.reply import Reply

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_VERSIONS = frozenset(["2023-06-01", NEW_VERSION])
_NOTED = {
    "anthropic-version": "version",
    "anthropic-beta": "betas",
    "anthropic-workspace-id": "workspace",
}
_MINUTE = 60.0


class AnthropicFace(Face):
    """Anthropic's errors and headers."""

    name = NAME

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._recent: deque[float] = deque()  # calls of the last minute

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Any key is good unless it contains `invalid`; then version and rate must be right."""
        key = headers.get("x-api-key") or _bearer(headers.get("authorization", ""))
        if not key:
            raise RefusedCallError(401, "x-api-key header is required")
        if "invalid" in key:
            raise RefusedCallError(401, "API key is invalid.")
        version = headers.get("anthropic-version")
        if version is None:
            raise RefusedCallError(400, "anthropic-version: header is required")
        if version not in _VERSIONS:
            raise RefusedCallError(400, f'anthropic-version: "{version}" is not a valid version')
        self._check_rate()

    def error_body(self, refused: RefusedCallError) -> object:
        """`{"type": "error", ...}`; a code goes into the details."""
        return {
            "type": "error",
            "error": {
                "details": None if refused.code is None else {"error_code": refused.code},
                "type": error_kind(refused.status),
                "message": refused.message,
            },
            "request_id": refused.request_id,
        }

    def stranger(self, now: float) -> dict[str, object]:
        """A batch of another program's."""
        return strangers_batch(now)

    def headers(self, request_id: str, milliseconds: int) -> dict[str, str]:  # noqa: ARG002 - not shown here
        """As recorded."""
        most = self._engine.limits.anthropic_requests_per_minute
        reset = (self._recent[0] if self._recent else self._engine.clock.now()) + _MINUTE
        return {
            "request-id": request_id,
            "anthropic-organization-id": "org-simulated",
            "anthropic-ratelimit-requests-limit": str(most),
            "anthropic-ratelimit-requests-remaining": str(most - len(self._recent)),
            "anthropic-ratelimit-requests-reset": str(moment(int(reset))),
        }

    def notes(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The version and the betas that the call asked for."""
        return {name: headers[header] for header, name in _NOTED.items() if header in headers}

    def _check_rate(self) -> None:
        now = self._engine.clock.now()
        while self._recent and self._recent[0] <= now - _MINUTE:
            self._recent.popleft()
        most = self._engine.limits.anthropic_requests_per_minute
        if len(self._recent) >= most:
            raise RefusedCallError(
                429,
                f"This request would exceed your organization's rate limit of {most:,} requests "
                "per minute.",
                retry_after=max(1.0, self._recent[0] + _MINUTE - now),
            )
        self._recent.append(now)


def join(engine: Engine) -> None:
    """Let the engine run Anthropic's batches."""
    engine.dialects[NAME] = AnthropicLines(engine.limits)


def routes(engine: Engine) -> list[Route]:
    """Anthropic's endpoints, to be mounted under `/anthropic`."""
    door = Door(engine, AnthropicFace(engine))
    batches = Batches(engine)
    one = "/v1/messages/batches/{id}"

    def route(path: str, method: str, operation: str, handler: Handler) -> Route:
        return Route(path, door.endpoint(operation, handler), methods=[method])

    return [
        route("/v1/messages/batches", "POST", "create", batches.create),
        route("/v1/messages/batches", "GET", "list", batches.list),
        route(one, "GET", "retrieve", batches.retrieve),
        route(one, "DELETE", "delete", batches.delete),
        route(f"{one}/cancel", "POST", "cancel", batches.cancel),
        route(f"{one}/results", "GET", "content", batches.results),
        Route("/{rest:path}", door.endpoint("unknown", _not_found), methods=_METHODS),
    ]


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def _not_found(_: Request) -> Reply:
    raise RefusedCallError(404, "Not found")


SIMULATED = Simulated(NAME, "Anthropic", "/anthropic", "base_url", join, routes)
