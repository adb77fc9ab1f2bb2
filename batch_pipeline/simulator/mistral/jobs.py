"""Mistral's `/v1/batch/jobs`."""

import uuid
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import orjson
from msgspec.structs import replace
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from batch_pipeline.simulator.calls import RefusedCallError, check_lag, is_hidden
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.faults import EmptyErrorId, IgnoreCancels
from batch_pipeline.simulator.limits import DAY
from batch_pipeline.simulator.mistral.creation import read_wish
from batch_pipeline.simulator.mistral.objects import (
    NAME,
    checked,
    flag,
    owner_of,
    page_of,
    seconds,
    uuid_of,
)
from batch_pipeline.simulator.mistral.planning import Planner
from batch_pipeline.simulator.records import Batch
from batch_pipeline.simulator.reply import Reply

_Status: TypeAlias = Literal[
    "QUEUED",
    "RUNNING",
    "SUCCESS",
    "FAILED",
    "TIMEOUT_EXCEEDED",
    "CANCELLATION_REQUESTED",
    "CANCELLED",
]
_STATUS: dict[str, _Status] = {
    "validating": "QUEUED",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCESS",
    "failed": "FAILED",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelling": "CANCELLATION_REQUESTED",
    "cancelled": "CANCELLED",
}
_STATUSES: TypeAdapter[list[_Status]] = TypeAdapter(list[_Status])
_ORDER: TypeAdapter[str] = TypeAdapter(Literal["created", "-created"])
_MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)


class Jobs:
    """`/v1/batch/jobs`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state
        self._planner = Planner(engine)

    async def create(self, request: Request) -> Reply:
        """Create a job of lines that were looked at when they were uploaded."""
        wish = read_wish(await request.body(), self._engine.limits)
        job = await run_in_threadpool(self._planner.plan, wish, owner_of(request.headers))
        # the first answer does not know yet how many requests there are
        return Reply(self._object(job) | {"total_requests": 0}, effect=job.id)

    async def list(self, request: Request) -> Reply:
        """A page of jobs, newest first. Metadata in the query is not looked at."""
        owner, after = owner_of(request.headers), _created_after(request)
        statuses = _statuses(request)
        mine = flag(request, "created_by_me", usual=False)
        jobs = [
            job
            for job in self._state.batches(dialect=NAME)
            if not job.deleted
            and not is_hidden(self._engine, job)
            and (not mine or job.owner == owner)
            and job.created_at > after
            and (not statuses or _STATUS[job.status] in statuses)
            and request.query_params.get("model") in {None, job.model}
        ]
        if _newest_first(request):
            jobs.reverse()
        data = [self._object(job) for job in page_of(jobs, request)]
        return Reply({"data": data, "object": "list", "total": len(jobs)})

    async def retrieve(self, request: Request) -> Reply:
        """One job; with `inline` an ended one brings its output along."""
        job = self._job(request)
        check_lag(self._engine, "retrieve", job.id, job.created_at, _no_job(job.id))
        shown = self._object(job)
        if flag(request, "inline", usual=False) and shown["output_file"] is not None:
            shown["outputs"] = await run_in_threadpool(
                _outputs, self._engine, str(shown["output_file"])
            )
        return Reply(shown)

    async def cancel(self, request: Request) -> Reply:
        """Ask a live job to stop; one that has not started stops at once."""
        job = self._job(request)
        now = self._engine.clock.now()
        if not job.live:
            raise RefusedCallError(409, f"Job {job.id} has ended: {_STATUS[job.status]}.")

        def cancelled(saved: Batch) -> Batch:
            if saved.status != "validating" or saved.quirk(IgnoreCancels) is not None:
                return saved
            return replace(saved, status="cancelled", cancelling_at=now, cancelled_at=now)

        job = self._state.change_batch(job, cancelled)
        if job.live:
            job = self._engine.cancel(job)
        return Reply(self._object(job), effect=job.id)

    async def delete(self, request: Request) -> Reply:
        """Forget a job that has ended; its files stay."""
        job = self._job(request)
        if job.live:
            raise RefusedCallError(409, f"Job {job.id} is {_STATUS[job.status]}: cancel it first.")
        self._state.change_batch(job, lambda saved: replace(saved, deleted=True))
        return Reply({"id": job.id, "object": "batch", "deleted": True}, effect=job.id)

    def _job(self, request: Request) -> Batch:
        wanted = uuid_of(request.path_params["id"], "path", "job_id")
        job = self._state.batch(wanted)
        if job is None or job.dialect != NAME or job.deleted:
            raise _no_job(wanted)
        return job

    def _object(self, job: Batch) -> dict[str, object]:
        shown = not job.live and self._engine.clock.now() >= job.results_from
        error_file = job.error_file_id if shown else None
        if shown and error_file is None and job.quirk(EmptyErrorId) is not None:
            error_file = ""
        return _job_object(job) | {
            "output_file": job.output_file_id if shown else None,
            "error_file": error_file,
        }


def _outputs(engine: Engine, file_id: str) -> list[object]:
    file = engine.state.file(file_id)
    if file is None or file.gone(engine.clock.now()):
        return []
    lines = engine.state.blob(file_id).read_bytes().split(b"\n")
    return [orjson.loads(line) for line in lines if line]


def _job_object(job: Batch) -> dict[str, object]:
    errors = [{"message": flaw.message, "count": 1} for flaw in job.flaws]
    errors += [{"message": told, "count": count} for told, count in job.complaints.items()]
    ended = job.cancelled_at if job.status == "cancelled" else job.ended_at
    return {
        "id": job.id,
        "object": "batch",
        "input_files": list(job.input_files),
        "metadata": job.metadata,
        "endpoint": job.endpoint,
        "model": job.model,
        "agent_id": None,
        "output_file": None,
        "error_file": None,
        "errors": errors,
        "outputs": None,
        "status": _STATUS[job.status],
        "created_at": seconds(job.created_at),
        "total_requests": job.total,
        "completed_requests": job.completed + job.failed,
        "succeeded_requests": job.completed,
        "failed_requests": job.failed,
        "started_at": seconds(job.in_progress_at),
        "completed_at": None if job.live else seconds(ended),
    }


def strangers_job(now: float) -> dict[str, object]:
    """A regular job that nobody here created."""
    return _job_object(
        Batch(
            id=str(uuid.uuid4()),
            dialect=NAME,
            endpoint="/v1/chat/completions",
            input_file_id="",
            created_at=now,
            expires_at=now + DAY,
            validated_at=now,
            run_seconds=0.0,
            finalize_seconds=0.0,
            status="in_progress",
            in_progress_at=now,
            model="mistral-small-latest",
            total=10,
            input_files=(str(uuid.uuid4()),),
        )
    )


def _no_job(wanted: str) -> RefusedCallError:
    return RefusedCallError(404, f"Job {wanted} not found.")


def _created_after(request: Request) -> float:
    text = request.query_params.get("created_after")
    if text is None:
        return 0.0
    moment = checked(_MOMENT, text, "query", "created_after")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _statuses(request: Request) -> set[str]:
    wanted = checked(_STATUSES, request.query_params.getlist("status"), "query", "status")
    return set(wanted)


def _newest_first(request: Request) -> bool:
    given = request.query_params.get("order_by", "-created")
    return checked(_ORDER, given, "query", "order_by") == "-created"
