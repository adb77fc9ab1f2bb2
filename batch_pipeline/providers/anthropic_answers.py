"""Anthropic's JSON answers, parsed once: only the fields we rely on, into our own nouns."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from batch_pipeline.model import Observation, RemoteStatus

ENDED = "ended"


class _Counts(msgspec.Struct):
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class Batch(msgspec.Struct):
    """Anthropic's message batch; `results_url` is left unread on purpose: it may name any host."""

    id: str
    processing_status: str
    created_at: datetime
    request_counts: _Counts
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    archived_at: datetime | None = None
    cancel_initiated_at: datetime | None = None


class Page(msgspec.Struct):
    """One page of the list of batches, newest first."""

    data: list[Batch]
    has_more: bool


class Deleted(msgspec.Struct):
    """What a delete answers."""

    id: str


class Line(msgspec.Struct):
    """Whose result a line is."""

    custom_id: str


def observation(batch: Batch) -> Observation:
    """What the batch says, in our words; its results go by the batch's own id.

    All rows are in one file: there is none of failed rows alone, and none of requests. Archived
    results keep their id, so that fetching them says that they are gone.
    """
    counts = batch.request_counts
    failed = counts.errored + counts.canceled + counts.expired
    return Observation(
        batch_id=batch.id,
        status=_status(batch),
        raw_status=batch.processing_status,
        total=counts.processing + counts.succeeded + failed,
        completed=counts.succeeded,
        failed=failed,
        created_at=_utc(batch.created_at),
        ended_at=None if batch.ended_at is None else _utc(batch.ended_at),
        expires_at=None if batch.expires_at is None else _utc(batch.expires_at),
        input_file_id="",
        output_file_id=batch.id if batch.processing_status == ENDED else None,
        error_file_id="",
    )


def _status(batch: Batch) -> RemoteStatus:
    """Anthropic only says that a batch ended: the counts, final then, say how."""
    match batch.processing_status:
        case "in_progress":
            return RemoteStatus.RUNNING
        case "canceling":
            return RemoteStatus.ENDING
        case "ended":
            if batch.cancel_initiated_at is not None and batch.request_counts.canceled:
                return RemoteStatus.CANCELLED
            expired = batch.request_counts.expired
            return RemoteStatus.EXPIRED if expired else RemoteStatus.COMPLETED
    return RemoteStatus.UNKNOWN


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
