"""Running the rows of a batch: shuffled, a few hundred at a time, each lot safe on disk."""

import codecs
import logging
import os
import random
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from batch_pipeline.simulator.dialect import Answered, Dialect, RowFaultOf
from batch_pipeline.simulator.faults import ByteOrderMark, LoseFinished, NoFinalNewline, Row, Stall
from batch_pipeline.simulator.records import Batch, Usage
from batch_pipeline.simulator.state import State

_ROWS_AT_ONCE = 250  # a stop or an advance never waits for more rows than this
_NEVER = float("inf")
_log = logging.getLogger(__name__)


class StoppedError(Exception):
    """The simulator is shutting down; what was saved is whole."""


class Runner:
    """Runs rows by the clock; what it saved survives a kill, what it had not saved is redone."""

    def __init__(self, state: State, stop: threading.Event) -> None:
        self.rows: list[Row] = []
        self._state = state
        self._stop = stop
        self._open: dict[str, _Lines] = {}

    def close(self) -> None:
        """Let go of all files."""
        for lines in self._open.values():
            lines.close()
        self._open.clear()

    def run_until(self, dialect: Dialect, batch: Batch, now: float) -> Batch:
        """Run the rows that finish by *now*."""
        due = rows_due(batch, now)
        while batch.done < due:
            if self._stop.is_set():
                raise StoppedError
            batch = self._run_some(dialect, batch, min(due, batch.done + _ROWS_AT_ONCE))
        return batch

    def publish(self, dialect: Dialect, batch: Batch, ending: str, at: float) -> Batch:
        """Write the rows that never ran and make files of the results."""
        lines = self._lines(dialect, batch)
        if ending == "cancelled" and batch.quirk(LoseFinished) is not None:
            batch = replace(batch, done=0, completed=0, failed=0, expired=0, cancelled=0)
            batch = replace(batch, usage=Usage(), complaints={})
            batch = replace(batch, output_bytes=0, error_bytes=0)
            lines.rewind(batch)
        left = (
            dialect.unfinished(batch, line, ending)
            for line in lines.between(batch.done, batch.total)
        )
        output_bytes, error_bytes = lines.append(left)
        lines.close()
        del self._open[batch.id]
        batch = replace(batch, output_bytes=output_bytes, error_bytes=error_bytes)
        return replace(
            batch,
            output_file_id=self._publish(dialect, batch, "output", at),
            error_file_id=self._publish(dialect, batch, "error", at),
        )

    def _publish(self, dialect: Dialect, batch: Batch, kind: str, at: float) -> str | None:
        file = dialect.result_file(batch, kind, at)
        blob = self._state.blob(file.id)
        size = blob.stat().st_size
        if size == 0:
            blob.unlink()
            return None
        if batch.quirk(NoFinalNewline) is not None:
            size -= 1
            os.truncate(blob, size)
        if batch.quirk(ByteOrderMark) is not None:
            size += _mark_order(blob)
        self._state.put_file(replace(file, bytes=size))
        return file.id

    def _run_some(self, dialect: Dialect, batch: Batch, upto: int) -> Batch:
        def fault_of(custom_id: str) -> Row | None:
            return self._fault_of(batch, custom_id)

        lines = self._lines(dialect, batch)
        answers = [
            _answer(dialect, batch, line, fault_of) for line in lines.between(batch.done, upto)
        ]
        output_bytes, error_bytes = lines.append(answers)
        usage = batch.usage
        for each in answers:
            usage = usage.plus(each.usage)
        completed = batch.completed + sum(each.completed for each in answers)
        failed = batch.failed + sum(each.failed for each in answers)
        expired = batch.expired + sum(each.expired for each in answers)
        cancelled = batch.cancelled + sum(each.cancelled for each in answers)
        complaints = Counter(each.complaint for each in answers if each.complaint)
        complaints.update(batch.complaints)

        def progressed(saved: Batch) -> Batch:  # a cancel may have changed the status meanwhile
            return replace(
                saved,
                done=upto,
                completed=completed,
                failed=failed,
                expired=expired,
                cancelled=cancelled,
                complaints=dict(complaints),
                usage=usage,
                output_bytes=output_bytes,
                error_bytes=error_bytes,
            )

        return self._state.change_batch(batch, progressed)

    def _fault_of(self, batch: Batch, custom_id: str) -> Row | None:
        for rule in self.rows:
            if not rule.picks(custom_id):
                continue
            if rule.first_times is None:
                return rule
            if self._state.times_submitted(custom_id, until=batch) <= rule.first_times:
                return rule
        return None

    def _lines(self, dialect: Dialect, batch: Batch) -> "_Lines":
        if batch.id not in self._open:
            blobs = [
                self._state.blob(dialect.result_file(batch, kind, 0.0).id)
                for kind in ("output", "error")
            ]
            source = self._state.blob(batch.input_file_id)
            self._open[batch.id] = _Lines(source, blobs[0], blobs[1])
            self._open[batch.id].rewind(batch)
        return self._open[batch.id]


def _answer(dialect: Dialect, batch: Batch, line: bytes, fault_of: RowFaultOf) -> Answered:
    """The row's answer; one that we cannot run fails alone."""
    try:
        return dialect.answer(batch, line, fault_of)
    except Exception:  # noqa: BLE001 - whatever it is, the other rows and batches go on
        _log.exception("the simulator could not run a row of %s", batch.id)
        return dialect.broken(batch, line)


def _mark_order(blob: Path) -> int:
    """Begin the file with a byte order mark; returns its size."""
    unmarked = blob.rename(blob.with_name(f"{blob.name}.unmarked"))
    with unmarked.open("rb") as source, blob.open("wb") as marked:
        marked.write(codecs.BOM_UTF8)
        shutil.copyfileobj(source, marked, 1 << 20)
    unmarked.unlink()
    return len(codecs.BOM_UTF8)


def rows_due(batch: Batch, now: float) -> int:
    """How many rows of the batch have finished by *now*."""
    if batch.in_progress_at is None:
        return 0
    elapsed = min(now, batch.expires_at, batch.cancelling_at or _NEVER) - batch.in_progress_at
    part = elapsed / batch.run_seconds if batch.run_seconds > 0 else 1.0
    stall = batch.quirk(Stall)
    return int(batch.total * max(0.0, min(part, 1.0 if stall is None else stall.after)))


class _Lines:
    """The input lines of a batch in the order they run, and its two growing result files."""

    def __init__(self, source: Path, output: Path, error: Path) -> None:
        self._source = source.open("rb")
        self._results: tuple[BinaryIO, BinaryIO] = (output.open("ab"), error.open("ab"))
        self._spans = list(line_spans(self._source))
        # a provider answers in any order; this one in the same order for the same number of rows
        random.Random(len(self._spans)).shuffle(self._spans)  # noqa: S311 - a shuffle, no secret

    def rewind(self, batch: Batch) -> None:
        """Forget result bytes that the saved batch does not know of."""
        for file, size in zip(self._results, (batch.output_bytes, batch.error_bytes), strict=True):
            file.truncate(size)

    def between(self, start: int, stop: int) -> Iterator[bytes]:
        """The lines number *start* to *stop* in running order."""
        for offset, size in self._spans[start:stop]:
            self._source.seek(offset)
            yield self._source.read(size)

    def append(self, answers: Iterable[Answered]) -> tuple[int, int]:
        """Add result lines; returns the sizes of both files."""
        output, error = self._results
        for answered in answers:
            output.write(answered.output)
            error.write(answered.error)
        for file in self._results:
            file.flush()
        return os.fstat(output.fileno()).st_size, os.fstat(error.fileno()).st_size

    def close(self) -> None:
        for file in (self._source, *self._results):
            file.close()


def line_spans(source: BinaryIO) -> Iterator[tuple[int, int]]:
    """Offset and size of each line, without its newline."""
    offset = 0
    for line in source:
        yield offset, len(line.rstrip(b"\r\n"))
        offset += len(line)
