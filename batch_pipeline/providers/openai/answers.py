"""OpenAI's JSON answers, parsed once: only the fields we rely on, into our own nouns."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from batch_pipeline.model import TERMINAL, Observation, Problem, RemoteStatus
from batch_pipeline.providers.listing import AnyBatch, Page, first_time, unix
from batch_pipeline.providers.openai.facts import RESULT_DAYS, sorted_problem

__all__ = ["Batch", "File", "Page", "observation"]

_STATUS = {
    "validating": RemoteStatus.VALIDATING,
    "in_progress": RemoteStatus.RUNNING,
    "finalizing": RemoteStatus.ENDING,
    "cancelling": RemoteStatus.ENDING,
    "completed": RemoteStatus.COMPLETED,
    "failed": RemoteStatus.FAILED,
    "expired": RemoteStatus.EXPIRED,
    "cancelled": RemoteStatus.CANCELLED,
}
_KEPT = timedelta(days=RESULT_DAYS)


class _Counts(msgspec.Struct):
    total: int | None = None  # Azure's are null at first
    completed: int | None = None
    failed: int | None = None


class _Problem(msgspec.Struct):
    code: str | None = None
    message: str | None = None
    line: int | None = None
    param: str | None = None


class _Problems(msgspec.Struct):
    data: list[_Problem] | None = None


class Batch(AnyBatch, kw_only=True):
    """OpenAI's batch object."""

    status: str
    created_at: int | None = None  # unix seconds, as all its times; null was seen elsewhere
    input_file_id: str | None = None
    output_file_id: str | None = None  # "" was seen too, for "none"
    error_file_id: str | None = None
    expires_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None
    request_counts: _Counts | None = None
    errors: _Problems | None = None
    metadata: dict[str, object] | None = None


class File(msgspec.Struct):
    """OpenAI's file object."""

    id: str
    status: str | None = None


def observation(batch: Batch) -> Observation:
    """What the batch object says, in our words."""
    counts = batch.request_counts or _Counts()
    endings = (batch.completed_at, batch.failed_at, batch.expired_at, batch.cancelled_at)
    ended = next((unix(ending) for ending in endings if ending), None)
    expires = unix(batch.expires_at)
    status = _STATUS.get(batch.status.lower(), RemoteStatus.UNKNOWN)
    return Observation(
        batch_id=batch.id,
        status=status,
        raw_status=batch.status,
        total=counts.total or 0,
        completed=counts.completed or 0,
        failed=counts.failed or 0,
        created_at=first_time(unix(batch.created_at), ended, _a_window_before(expires)),
        ended_at=ended,
        expires_at=expires,
        results_until=ended + _KEPT if ended and status in TERMINAL else None,
        input_file_id=batch.input_file_id or None,
        output_file_id=batch.output_file_id or None,
        error_file_id=batch.error_file_id or None,
        problems=_problems(batch.errors),
        metadata={name: str(value) for name, value in (batch.metadata or {}).items()},
    )


def _a_window_before(expires: datetime | None) -> datetime | None:
    return None if expires is None else expires - timedelta(hours=24)


def _problems(errors: _Problems | None) -> tuple[Problem, ...]:
    listed = (errors.data if errors else None) or []
    return tuple(
        sorted_problem(
            code=each.code,
            message=each.message or "(no message)",
            line=each.line,
            param=each.param,
        )
        for each in listed
    )
