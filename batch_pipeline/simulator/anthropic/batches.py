"""Anthropic's `/v1/messages/batches`."""

import threading
import uuid
from collections.abc import Collection

from msgspec.structs import replace
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from batch_pipeline.simulator.anthropic.incoming import receive, split
from batch_pipeline.simulator.anthropic.objects import (
    NAME,
    RESULTS_LIFE,
    batch_object,
    list_reply,
    page_of,
    processing_status,
)
from batch_pipeline.simulator.calls import RefusedCallError, check_lag, is_hidden
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.faults import ForeignResults, Invalidate, NoFinalNewline
from batch_pipeline.simulator.limits import DAY
from batch_pipeline.simulator.records import Batch, StoredFile
from batch_pipeline.simulator.reply import Reply

_POLL_AGAIN = {"retry-after": "10"}


class Batches:
    """`/v1/messages/batches`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state
        self._turn = threading.Lock()  # one create at a time looks at the queue and joins it

    async def create(self, request: Request) -> Reply:
        """Create a batch; its envelope is looked at now, its requests when they run."""
        limits = self._engine.limits
        batch_id = f"msgbatch_simulated{uuid.uuid4().hex}"  # nobody takes its answers for real ones
        version = request.headers["anthropic-version"]
        lines_id = f"{batch_id}.requests"
        body, lines = self._state.blob(f"{batch_id}.body"), self._state.blob(lines_id)
        try:
            await receive(request, body, limits.anthropic_max_body_bytes)
            custom_ids = await run_in_threadpool(split, body, lines, version=version, limits=limits)
            now = self._engine.clock.now()
            batch = Batch(
                id=batch_id,
                dialect=NAME,
                endpoint="/v1/messages",
                input_file_id=lines_id,
                created_at=now,
                expires_at=now + DAY,
                validated_at=now,
                run_seconds=0.0,
                finalize_seconds=0.0,
                metadata={"version": version, "betas": request.headers.get("anthropic-beta", "")},
                status="in_progress",
                in_progress_at=now,
                total=len(custom_ids),
            )
            batch = await run_in_threadpool(self._accept, batch, custom_ids)
        except BaseException:
            lines.unlink(missing_ok=True)
            raise
        finally:
            body.unlink(missing_ok=True)
        return Reply(self._object(batch, request), effect=batch.id)

    async def list(self, request: Request) -> Reply:
        """A page of batches, newest first."""
        batches = [
            batch
            for batch in reversed(self._state.batches(dialect=NAME))
            if not batch.deleted and not is_hidden(self._engine, batch)
        ]
        page, more = page_of(batches, request.query_params)
        return list_reply([self._object(batch, request) for batch in page], more=more)

    async def retrieve(self, request: Request) -> Reply:
        """One batch."""
        batch = self._batch(request, "retrieve")
        running = processing_status(batch) == "in_progress"
        return Reply(self._object(batch, request), headers=_POLL_AGAIN if running else {})

    async def results(self, request: Request) -> Reply:
        """The results of an ended batch."""
        batch = self._batch(request, "content")
        if not self._has_results(batch):
            raise RefusedCallError(404, f"Message Batch {batch.id} has no available results.")
        results = self._state.blob(f"{batch.id}.output")
        results.touch()  # a batch of which nothing is left has no file
        headers = {
            "content-type": "application/x-jsonl",
            "content-disposition": f'attachment; filename="{batch.id}_results.jsonl"',
        }
        return Reply(download=results, headers=headers)

    async def cancel(self, request: Request) -> Reply:
        """Ask a live batch to stop."""
        batch = self._batch(request)
        if not batch.live:
            message = f"Message Batch {batch.id} has ended and cannot be canceled."
            raise RefusedCallError(400, message)
        return Reply(self._object(self._engine.cancel(batch), request), effect=batch.id)

    async def delete(self, request: Request) -> Reply:
        """Delete an ended batch with its results."""
        batch = self._batch(request, "delete")
        if batch.live:
            raise RefusedCallError(
                400,
                "In progress batches cannot be deleted. Consider canceling the batch instead.",
            )
        with self._state.transaction():
            self._state.change_batch(batch, lambda saved: replace(saved, deleted=True))
            for file_id in (batch.input_file_id, batch.output_file_id):
                file = self._state.file(file_id or "")
                if file is not None:
                    self._state.put_file(replace(file, deleted=True))
        return Reply({"id": batch.id, "type": "message_batch_deleted"}, effect=batch.id)

    def _accept(self, batch: Batch, custom_ids: Collection[str]) -> Batch:
        with self._turn:
            self._check_queue(len(custom_ids))
            quirks = self._engine.quirks()
            for quirk in quirks:
                if isinstance(quirk, Invalidate):
                    raise RefusedCallError(400, quirk.message, code=quirk.code)
            with self._state.transaction():
                # the real one's last line has no newline either
                batch = self._engine.plan(batch, (*quirks, NoFinalNewline()))
                self._state.record_submissions(batch, custom_ids)
                self._state.put_file(self._requests_file(batch))
        return batch

    def _check_queue(self, new: int) -> None:
        live = self._state.batches(dialect=NAME, live=True)
        queued = sum(batch.total - batch.done for batch in live)
        most = self._engine.limits.anthropic_queue_requests
        if queued + new > most:
            raise RefusedCallError(
                429,
                f"This request would exceed your organization's limit of {most:,} batch requests "
                f"in the processing queue; {queued:,} are in it. Please try again later.",
                retry_after=60,
            )

    def _requests_file(self, batch: Batch) -> StoredFile:
        return StoredFile(
            id=batch.input_file_id,
            dialect=NAME,
            filename="requests.jsonl",
            purpose="requests",
            bytes=self._state.blob(batch.input_file_id).stat().st_size,
            created_at=batch.created_at,
            expires_at=batch.created_at + RESULTS_LIFE,
        )

    def _batch(self, request: Request, operation: str | None = None) -> Batch:
        batch_id = str(request.path_params["id"])
        unknown = RefusedCallError(404, f"Message Batch {batch_id} not found.")
        batch = self._state.batch(batch_id)
        if batch is None or batch.dialect != NAME or batch.deleted:
            raise unknown
        if operation is not None:
            ended_at = batch.cancelled_at if batch.status == "cancelled" else batch.ended_at
            since = ended_at if operation == "content" and ended_at else batch.created_at
            check_lag(self._engine, operation, batch_id, since, unknown)
        return batch

    def _has_results(self, batch: Batch) -> bool:
        now = self._engine.clock.now()
        return not batch.live and batch.results_from <= now < batch.created_at + RESULTS_LIFE

    def _object(self, batch: Batch, request: Request) -> dict[str, object]:
        results_url = None
        if self._has_results(batch):
            foreign = batch.quirk(ForeignResults)
            host = f"{request.url.scheme}://{request.url.netloc}/{NAME}"
            host = host if foreign is None else foreign.host
            results_url = f"{host}/v1/messages/batches/{batch.id}/results"
        return batch_object(batch, now=self._engine.clock.now(), results_url=results_url)
