"""The engine: brings batches through their life as the simulated clock says."""

import logging
import threading
from typing import Self

from msgspec.structs import replace

from batch_pipeline.simulator.clock import Clock
from batch_pipeline.simulator.dialect import Dialect, Validator, Verdict
from batch_pipeline.simulator.faults import (
    BatchFault,
    FaultScript,
    IgnoreCancels,
    Invalidate,
    LateResults,
    Stall,
    Stick,
)
from batch_pipeline.simulator.limits import Limits, Pace
from batch_pipeline.simulator.records import Batch, Flaw
from batch_pipeline.simulator.running import Runner, StoppedError
from batch_pipeline.simulator.state import State

_NEVER = float("inf")
_log = logging.getLogger(__name__)


class Engine:
    """Owns the batches' clockwork; `settle` does everything that is due and then returns."""

    def __init__(self, state: State, clock: Clock, *, limits: Limits, pace: Pace) -> None:
        self.state = state
        self.clock = clock
        self.limits = limits
        self.script = FaultScript()
        self.dialects: dict[str, Dialect] = {}
        self.validators: dict[str, Validator] = {}  # of those that validate after the create
        self._pace = pace
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._runner = Runner(state, self._stop)
        self._worker = threading.Thread(target=self._work, name="simulator-worker", daemon=True)

    def __enter__(self) -> Self:
        """Let batches go on by themselves, in a thread of their own."""
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop where we are; everything finished is on disk."""
        self._stop.set()
        self._worker.join()
        with self._turn:
            self._runner.close()
        self.state.close()

    def advance(self, seconds: float) -> float:
        """Push the clock and do everything that falls due before returning."""
        now = self.clock.advance(seconds)
        self.settle()
        return now

    def settle(self) -> None:
        """Do everything that is due, in the order in which it fell due."""
        with self._turn:
            now = self.clock.now()
            try:
                self._catch_up(now)
                for batch in self.state.batches(live=True):
                    self._runner.run_until(self.dialects[batch.dialect], batch, now)
            except StoppedError:
                return
            self._sweep(now)

    def quirks(self) -> tuple[BatchFault, ...]:
        """The faults that the script has for the next batch; asking counts as creating it."""
        return tuple(
            rule
            for number, rule in enumerate(self.script.batches)
            if rule.fires(self.state.hit(f"batches/{number}"))
        )

    def plan(self, batch: Batch, quirks: tuple[BatchFault, ...] | None = None) -> Batch:
        """Add a new batch to the clockwork, with its *quirks* or those the script has for it.

        A batch that starts in progress was validated before; its rows get the time of that too.
        """
        simulated = self._pace.simulated(self._pace.seconds_to_complete, self.clock.speed)
        simulated = min(simulated, 0.8 * (batch.expires_at - batch.created_at))
        validating = 0.25 if batch.status == "validating" else 0.0
        return self.state.add_batch(
            replace(
                batch,
                validated_at=batch.created_at + validating * simulated,
                run_seconds=(0.90 - validating) * simulated,
                finalize_seconds=0.10 * simulated,
                quirks=self.quirks() if quirks is None else quirks,
            )
        )

    def cancel(self, batch: Batch) -> Batch:
        """Ask a live batch to stop; rows that finished by now have finished."""
        now = self.clock.now()
        due = now + self._pace.simulated(self._pace.seconds_to_cancel, self.clock.speed)

        def cancelling(saved: Batch) -> Batch:
            if not saved.live or saved.status == "cancelling":
                return saved
            if saved.quirk(IgnoreCancels) is not None:
                return saved
            return replace(saved, status="cancelling", cancelling_at=now, cancelled_at=due)

        return self.state.change_batch(batch, cancelling)

    def replace_script(self, script: FaultScript) -> FaultScript:
        """Use another fault script from now on; its rules count from zero."""
        self.state.forget_hits()
        self.use(script)
        return script

    def use(self, script: FaultScript) -> None:
        """Use a fault script; its rules count on from where an earlier process stopped."""
        self.script = script
        self._runner.rows = script.rows

    def _work(self) -> None:
        while not self._stop.wait(0.05):
            try:
                self.settle()
            except Exception:  # noqa: BLE001 - the thread must outlive any bug in one batch
                # must be seen: a worker that stops in silence would look like a slow provider
                _log.exception("the simulator's worker failed; it tries again")
                self._stop.wait(1.0)

    def _catch_up(self, now: float) -> None:
        """All changes of status until *now*, oldest first, each dated when it fell due."""
        while waiting := self.state.batches(live=True):
            batch = min(waiting, key=_due)
            if _due(batch) > now:
                return
            try:
                self._transition(batch, _due(batch))
            except StoppedError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, the other batches go on
                _log.exception("the simulator could not bring on %s; it fails", batch.id)
                flaw = Flaw(code="server_error", message="The server had an error (simulated).")
                self._change(batch, status="failed", flaws=(flaw,), ended_at=_due(batch))

    def _transition(self, batch: Batch, at: float) -> None:
        if batch.status == "validating":
            self._validate(batch, at)
        elif batch.status == "in_progress":
            self._runner.run_until(self.dialects[batch.dialect], batch, at)
            ending = "completed" if at < batch.expires_at else "expired"
            self._change(batch, status="finalizing", finalizing_at=at, ending=ending)
        else:
            self._end(batch, batch.ending if batch.status == "finalizing" else "cancelled", at)

    def _change(self, batch: Batch, **changes: object) -> Batch:
        """Change the batch, unless a cancel came first."""
        return self.state.change_batch(
            batch,
            lambda saved: replace(saved, **changes) if saved.status == batch.status else saved,
        )

    def _validate(self, batch: Batch, at: float) -> None:
        verdict = self._verdict(batch, at)
        if verdict.flaws:
            self._change(batch, status="failed", flaws=verdict.flaws, ended_at=at)
            return
        with self.state.transaction():
            accepted = self._change(
                batch,
                status="in_progress",
                in_progress_at=at,
                model=verdict.model or batch.model,
                total=len(verdict.custom_ids) if verdict.total is None else verdict.total,
            )
            if accepted.status == "in_progress":
                self.state.record_submissions(batch, verdict.custom_ids)

    def _verdict(self, batch: Batch, at: float) -> Verdict:
        scripted = batch.quirk(Invalidate)
        if scripted is not None:
            return Verdict(flaws=(_flaw(scripted),))
        file = self.state.file(batch.input_file_id)
        known = file is not None and file.purpose == "batch" and not file.gone(at)
        validator = self.validators.get(batch.dialect)
        if validator is None:  # the lines were looked at before there was a batch
            return Verdict(total=batch.total) if known else Verdict(flaws=(_gone(batch),))
        verdict = validator.validate(batch, self.state.blob(batch.input_file_id) if known else None)
        if verdict.flaws or verdict.model is None:
            return verdict
        limit = self.limits.enqueued_for(verdict.model)
        if self._enqueued(replace(batch, model=verdict.model), limit) <= limit:
            return verdict
        return Verdict(flaws=(validator.too_many_tokens(verdict.model, limit),))

    def _enqueued(self, batch: Batch, limit: int) -> int:
        """Prompt tokens of this batch and of the live ones of its model.

        They are counted only where it can matter: a token is at least one byte of a file.
        """
        live = self.state.batches(dialect=batch.dialect, live=True)
        rivals = [each for each in live if each.model == batch.model and each.id != batch.id]
        enqueued = [batch, *rivals]
        bytes_in_all = sum(self.state.blob(each.input_file_id).stat().st_size for each in enqueued)
        if bytes_in_all <= limit:
            return bytes_in_all
        return sum(self._prompt_tokens(each) for each in enqueued)

    def _prompt_tokens(self, batch: Batch) -> int:
        if batch.enqueued_tokens is not None:
            return batch.enqueued_tokens
        blob = self.state.blob(batch.input_file_id)
        tokens = self.validators[batch.dialect].prompt_tokens(batch, blob)
        self.state.change_batch(batch, lambda saved: replace(saved, enqueued_tokens=tokens))
        return tokens

    def _end(self, batch: Batch, ending: str, at: float) -> None:
        """Write what is left to write, publish the result files, and end."""
        dialect = self.dialects[batch.dialect]
        if batch.in_progress_at is not None:
            batch = self._runner.run_until(dialect, batch, at)
            batch = self._runner.publish(dialect, batch, ending, at)
        late = batch.quirk(LateResults)
        delay = late.seconds if late is not None and ending in late.endings else 0.0
        times = {"cancelled_at": at} if ending == "cancelled" else {"ended_at": at}

        def ended(saved: Batch) -> Batch:  # a cancel that comes this late comes too late
            return replace(
                batch,
                status=ending,
                results_from=at + delay,
                cancelling_at=saved.cancelling_at if ending == "cancelled" else None,
                **times,
            )

        self.state.change_batch(batch, ended)

    def _sweep(self, now: float) -> None:
        """Remove the bytes of files that are gone and that no live batch reads."""
        in_use = {batch.input_file_id for batch in self.state.batches(live=True)}
        for file in self.state.gone_files(now):
            if file.id not in in_use:
                self.state.blob(file.id).unlink(missing_ok=True)
                self.state.drop_file(file.id)


def _due(batch: Batch) -> float:
    """When the batch changes its status next."""
    stuck = [
        quirk for quirk in batch.quirks if isinstance(quirk, Stick) and quirk.at == batch.status
    ]
    longer = [_NEVER if quirk.seconds is None else quirk.seconds for quirk in stuck]
    return _usually_due(batch) + sum(longer)


def _usually_due(batch: Batch) -> float:
    match batch.status:
        case "validating":
            return batch.validated_at
        case "in_progress":
            run = batch.run_seconds if batch.quirk(Stall) is None else _NEVER
            return min(batch.expires_at, (batch.in_progress_at or 0.0) + run)
        case "finalizing":
            return (batch.finalizing_at or 0.0) + batch.finalize_seconds
        case _:
            return batch.cancelled_at or 0.0


def _gone(batch: Batch) -> Flaw:
    return Flaw(code="file_not_found", message=f"Input file {batch.input_file_id} was not found.")


def _flaw(scripted: Invalidate) -> Flaw:
    return Flaw(
        code=scripted.code, message=scripted.message, param=scripted.param, line=scripted.line
    )
