"""Anthropic's JSON answers, parsed once: only the fields we rely on, into our own nouns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from batch_pipeline.model import Observation, RemoteStatus
from batch_pipeline.providers.anthropic.facts import RESULT_DAYS
from batch_pipeline.providers.listing import AnyBatch, Page, first_time

__all__ = ["Batch", "Page", "observation"]

_WINDOW = timedelta(hours=24)
_KEPT = timedelta(days=RESULT_DAYS)  # from its creation, not from its end


class _Counts(msgspec.Struct):
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class Batch(AnyBatch, kw_only=True):
    """Anthropic's message batch; `results_url` is left unread on purpose: it may name any host."""

    processing_status: str
    created_at: datetime | None = None
    request_counts: _Counts = msgspec.field(default_factory=_Counts)
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    archived_at: datetime | None = None
    cancel_initiated_at: datetime | None = None


def observation(batch: Batch) -> Observation:
    """What the batch says, in our words; its results go by the batch's own id.

    All rows are in one file: there is none of failed rows alone, and none of requests. Archived
    results keep their id, so that fetching them says that they are gone.
    """
    counts = batch.request_counts
    over = batch.processing_status == "ended"
    failed = counts.errored + counts.canceled + counts.expired
    ended, expires = _utc(batch.ended_at), _utc(batch.expires_at)
    made = _utc(batch.created_at) or (None if expires is None else expires - _WINDOW)
    return Observation(
        batch_id=batch.id,
        status=_status(batch),
        raw_status=batch.processing_status,
        total=counts.processing + counts.succeeded + failed,
        completed=counts.succeeded,
        failed=failed,
        created_at=first_time(made, ended),
        ended_at=ended,
        expires_at=expires,
        results_until=made + _KEPT if over and made is not None else None,
        output_file_id=batch.id if over else None,
        one_file=True,
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


def _utc(when: datetime | None) -> datetime | None:
    if when is None:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
