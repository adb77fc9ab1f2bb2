"""Making a job of a wish: its input lines in one place, and the limits kept."""

from collections.abc import Iterator

import orjson
from msgspec.structs import replace

from batch_pipeline.simulator.calls import RefusedCallError, check_lag
from batch_pipeline.simulator.engine import Engine
from batch_pipeline.simulator.limits import DAY
from batch_pipeline.simulator.mistral import models
from batch_pipeline.simulator.mistral.creation import Wish
from batch_pipeline.simulator.mistral.files import lines_of, no_file
from batch_pipeline.simulator.mistral.objects import NAME, job_id
from batch_pipeline.simulator.records import Batch, StoredFile

_WORK = "mistral-work"  # dialect of the lines that we put together ourselves: no caller sees them


class Planner:
    """Creates jobs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = engine.state

    def plan(self, wish: Wish, owner: str) -> Batch:
        """Find the input, count it, and put the job into the clockwork."""
        inputs = [self._input(file_id) for file_id in wish.file_ids]
        self._check_model(wish)
        total = sum(file.num_lines or 0 for file in inputs) + len(wish.requests or ())
        now = self._engine.clock.now()
        job = Batch(
            id=job_id(),
            dialect=NAME,
            endpoint=wish.endpoint,
            input_file_id=inputs[0].id if len(inputs) == 1 else "",
            created_at=now,
            expires_at=now + wish.timeout_hours * 3600,
            validated_at=now,
            run_seconds=0.0,
            finalize_seconds=0.0,
            metadata=wish.metadata,
            model=wish.model,
            total=total,
            owner=owner,
            input_files=wish.file_ids,
        )
        with self._state.transaction():
            self._check_room(total)
            if not job.input_file_id:
                job = replace(job, input_file_id=self._put_together(job, wish, inputs))
            job = self._engine.plan(job)
            self._state.record_submissions(job, self._custom_ids(job))
        return job

    def _input(self, file_id: str) -> StoredFile:
        file = self._state.file(file_id)
        if file is None or file.dialect != NAME or file.gone(self._engine.clock.now()):
            raise no_file(file_id)
        if file.purpose != "batch":
            raise RefusedCallError(422, f"File {file_id} is not of sample type batch_request.")
        check_lag(self._engine, "create", file_id, file.created_at, no_file(file_id))
        return file

    def _check_model(self, wish: Wish) -> None:
        if wish.agent_id is not None:
            raise RefusedCallError(404, f"Agent {wish.agent_id} not found.")
        if wish.model is not None and not models.known(
            wish.model, self._engine.limits.extra_models
        ):
            raise RefusedCallError(422, f"You do not have access to the model {wish.model}")

    def _check_room(self, wanted: int) -> None:
        limits = self._engine.limits
        if wanted > limits.mistral_max_requests:
            raise RefusedCallError(
                422,
                f"The job has {wanted} requests. The maximum is {limits.mistral_max_requests}.",
            )
        live = self._state.batches(dialect=NAME, live=True)
        pending = sum(job.total - job.done for job in live)
        if pending + wanted > limits.mistral_max_pending:
            raise RefusedCallError(
                429,
                f"{pending} requests are pending in the workspace. The maximum is "
                f"{limits.mistral_max_pending}.",
            )

    def _put_together(self, job: Batch, wish: Wish, inputs: list[StoredFile]) -> str:
        """One blob of several files, or of the requests in the call itself."""
        blob = self._state.blob(job.id)
        with blob.open("wb") as work:
            for request in wish.requests or ():
                work.write(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
            for file in inputs:
                with self._state.blob(file.id).open("rb") as source:
                    work.writelines(lines_of(source))
        self._state.put_file(
            StoredFile(
                id=job.id,
                dialect=_WORK,
                filename=f"{job.id}.jsonl",
                purpose="batch",
                bytes=blob.stat().st_size,
                created_at=job.created_at,
                expires_at=job.expires_at + DAY,  # swept when it is over
            )
        )
        return job.id

    def _custom_ids(self, job: Batch) -> Iterator[str]:
        with self._state.blob(job.input_file_id).open("rb") as lines:
            for line in lines:
                custom_id = orjson.loads(line).get("custom_id")
                if custom_id is not None:
                    yield str(custom_id)
