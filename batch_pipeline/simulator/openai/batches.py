"""OpenAI's `/batches`."""

import uuid

import orjson
from starlette.requests import Request

from batch_pipeline.simulator.calls import RefusedCallError, check_lag, is_hidden
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.faults import DropMetadata, EmptyErrorId
from batch_pipeline.simulator.limits import DAY
from batch_pipeline.simulator.openai.bodies import ENDPOINTS
from batch_pipeline.simulator.openai.objects import NAME, life, list_reply, page_of, seconds
from batch_pipeline.simulator.records import Batch
from batch_pipeline.simulator.reply import Reply

_CREATE_KEYS = frozenset(
    ["input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"]
)


class Batches:
    """`/batches`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state

    async def create(self, request: Request) -> Reply:
        """Create a batch; its lines are looked at later."""
        body = await _json_object(request)
        wish = _read_create(body)
        self._check_rate()
        self._check_lag(str(wish["input_file_id"]))
        now = self._engine.clock.now()
        batch = Batch(
            id=f"batch_simulated{uuid.uuid4().hex}",  # nobody takes its answers for real ones
            dialect=NAME,
            endpoint=str(wish["endpoint"]),
            input_file_id=str(wish["input_file_id"]),
            created_at=now,
            expires_at=now + DAY,
            validated_at=now,
            run_seconds=0.0,
            finalize_seconds=0.0,
            metadata=_metadata(wish.get("metadata")),
            results_live=life(wish.get("output_expires_after")),
        )
        batch = self._engine.plan(batch)
        return Reply(self._object(batch), effect=batch.id)

    async def list(self, request: Request) -> Reply:
        """A page of batches, newest first."""
        batches = [
            batch
            for batch in reversed(self._state.batches(dialect=NAME))
            if not is_hidden(self._engine, batch)
        ]
        page, more = page_of(batches, request, usual=20, most=100)
        return list_reply([self._object(batch) for batch in page], more=more)

    async def retrieve(self, request: Request) -> Reply:
        """One batch."""
        batch = self._batch(request)
        hidden = _no_batch(batch.id)
        check_lag(self._engine, "retrieve", batch.id, batch.created_at, hidden)
        return Reply(self._object(batch))

    async def cancel(self, request: Request) -> Reply:
        """Ask a live batch to stop."""
        batch = self._batch(request)
        if not batch.live:
            message = f"Cannot cancel a batch with status '{batch.status}'."
            raise RefusedCallError(409, message)
        return Reply(self._object(self._engine.cancel(batch)), effect=batch.id)

    def _batch(self, request: Request) -> Batch:
        batch_id = str(request.path_params["id"])
        batch = self._state.batch(batch_id)
        if batch is None or batch.dialect != NAME:
            raise _no_batch(batch_id)
        return batch

    def _check_rate(self) -> None:
        now = self._engine.clock.now()
        recent = sum(batch.created_at > now - 3600 for batch in self._state.batches(dialect=NAME))
        if recent >= self._engine.limits.creates_per_hour:
            raise RefusedCallError(
                429,
                f"Rate limit reached for batch creations: {recent} in the last hour.",
                code="rate_limit_exceeded",
                retry_after=60,
            )

    def _check_lag(self, file_id: str) -> None:
        file = self._state.file(file_id)
        if file is None:
            return  # found out later, by validation
        message = (
            f"Cannot find file {file_id}, or organization org-simulated does not have access to it."
        )
        hidden = RefusedCallError(400, message, param="file_id")
        check_lag(self._engine, "create", file_id, file.created_at, hidden)

    def _object(self, batch: Batch) -> dict[str, object]:
        shown = not batch.live and self._engine.clock.now() >= batch.results_from
        output_id = batch.output_file_id if shown else None
        error_id = batch.error_file_id if shown else None
        if shown and error_id is None and batch.quirk(EmptyErrorId) is not None:
            error_id = ""
        shown_files = {"output_file_id": output_id, "error_file_id": error_id}
        dropped = {} if batch.quirk(DropMetadata) is None else {"metadata": None}
        return _batch_object(batch) | shown_files | dropped


def _batch_object(batch: Batch) -> dict[str, object]:
    def ended(status: str) -> int | None:
        return seconds(batch.ended_at) if batch.status == status else None

    flaws = [
        {"code": flaw.code, "message": flaw.message, "param": flaw.param, "line": flaw.line}
        for flaw in batch.flaws
    ]
    usage = batch.usage
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": flaws} if flaws else None,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": None,
        "error_file_id": None,
        "created_at": seconds(batch.created_at),
        "in_progress_at": seconds(batch.in_progress_at),
        "expires_at": seconds(batch.created_at + DAY),
        "finalizing_at": seconds(batch.finalizing_at),
        "completed_at": ended("completed"),
        "failed_at": ended("failed"),
        "expired_at": ended("expired"),
        "cancelling_at": seconds(batch.cancelling_at),
        "cancelled_at": seconds(batch.cancelled_at) if batch.status == "cancelled" else None,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        },
        "metadata": batch.metadata,
    }


def strangers_batch(now: float) -> dict[str, object]:
    """A regular batch that nobody here created."""
    batch = Batch(
        id=f"batch_{uuid.uuid4().hex}",
        dialect=NAME,
        endpoint=ENDPOINTS[0],
        input_file_id=f"file-{uuid.uuid4().hex[:22]}",
        created_at=now,
        expires_at=now + DAY,
        validated_at=now,
        run_seconds=0.0,
        finalize_seconds=0.0,
        status="in_progress",
        in_progress_at=now,
        model="gpt-4o-mini",
        total=10,
    )
    return _batch_object(batch)


def _no_batch(batch_id: str) -> RefusedCallError:
    return RefusedCallError(404, f"No batch found with id '{batch_id}'.")


async def _json_object(request: Request) -> dict[str, object]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise RefusedCallError(400, "We could not parse the JSON body of your request.")
    return body


def _read_create(body: dict[str, object]) -> dict[str, object]:
    """The create body, checked as far as the real service checks it on the spot."""
    for name in body:
        if name not in _CREATE_KEYS:
            message = f"Unknown parameter: '{name}'."
            raise RefusedCallError(400, message, param=name, code="unknown_parameter")
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(name), str):
            message = f"Missing required parameter: '{name}'."
            raise RefusedCallError(400, message, param=name, code="missing_required_parameter")
    for name, allowed in (("endpoint", ENDPOINTS), ("completion_window", ("24h",))):
        if body[name] not in allowed:
            values = ", ".join(f"'{value}'" for value in allowed)
            message = f"Invalid value: '{body[name]}'. Supported values are: {values}."
            raise RefusedCallError(400, message, param=name, code="invalid_value")
    return body


def _metadata(given: object) -> dict[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, dict) or len(given) > 16:  # noqa: PLR2004 - documented limit
        message = "Invalid 'metadata': expected an object with at most 16 keys."
        raise RefusedCallError(400, message, param="metadata", code="invalid_value")
    for key, value in given.items():
        if not isinstance(value, str) or len(key) > 64 or len(value) > 512:  # noqa: PLR2004 - documented
            message = (
                f"Invalid 'metadata.{key}': strings only, keys to 64, values to 512 characters."
            )
            raise RefusedCallError(400, message, param=f"metadata.{key}", code="invalid_value")
    return given
