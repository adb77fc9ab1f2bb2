"""Mistral's JSON answers, parsed once: only the fields we rely on, into our own nouns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil

import msgspec

from batch_pipeline.errors import Unavailable
from batch_pipeline.model import TERMINAL, Observation, Problem, RemoteStatus
from batch_pipeline.providers.listing import AnyBatch, first_time, id_of, unix
from batch_pipeline.providers.mistral.facts import RESULT_HOURS, sorted_problem

HOURS = "timeout_hours"
"""The window's name in the metadata we send: Mistral's own object does not repeat it."""

_STATUS = {
    "QUEUED": RemoteStatus.VALIDATING,
    "RUNNING": RemoteStatus.RUNNING,
    "SUCCESS": RemoteStatus.COMPLETED,
    "FAILED": RemoteStatus.FAILED,
    "TIMEOUT_EXCEEDED": RemoteStatus.EXPIRED,
    "CANCELLATION_REQUESTED": RemoteStatus.ENDING,
    "CANCELLED": RemoteStatus.CANCELLED,
}
_KEPT = timedelta(hours=RESULT_HOURS)


class _Error(msgspec.Struct):
    message: str | None = None
    count: int | None = None


class Batch(AnyBatch, kw_only=True):
    """Mistral's batch job."""

    status: str
    created_at: int | None = None  # unix seconds, as all its times
    input_files: list[str] | None = None
    output_file: str | None = None
    error_file: str | None = None
    completed_at: int | None = None
    total_requests: int | None = None
    succeeded_requests: int | None = None
    failed_requests: int | None = None
    errors: list[_Error] | None = None
    metadata: dict[str, object] | None = None


class Page(msgspec.Struct):
    """One page of the list of jobs, newest first, unread; `total` counts those on all pages."""

    total: int
    data: list[msgspec.Raw] | None = None


def observation(job: Batch) -> Observation:
    """What the job says, in our words."""
    status = _STATUS.get(job.status, RemoteStatus.UNKNOWN)
    ended = unix(job.completed_at)
    created = first_time(unix(job.created_at), ended)
    metadata = {name: str(value) for name, value in (job.metadata or {}).items()}
    return Observation(
        batch_id=job.id,
        status=status,
        raw_status=job.status,
        total=job.total_requests or 0,
        completed=job.succeeded_requests or 0,
        failed=job.failed_requests or 0,
        created_at=created,
        ended_at=ended,
        expires_at=_expiry(created, metadata),
        results_until=ended + _KEPT if ended and status in TERMINAL else None,
        input_file_id=next(iter(job.input_files or ()), None),
        output_file_id=job.output_file or None,
        error_file_id=job.error_file or None,
        problems=_problems(job) if status is RemoteStatus.FAILED else (),
        metadata=metadata,
    )


def _expiry(created: datetime, metadata: Mapping[str, str]) -> datetime | None:
    hours = metadata.get(HOURS, "")
    return created + timedelta(hours=int(hours)) if re.fullmatch(r"[0-9]{1,4}", hours) else None


def _problems(job: Batch) -> tuple[Problem, ...]:
    """Why a job failed. In other statuses the list only sums up rows, which say more themselves."""
    answered = bool(job.output_file or job.error_file or job.succeeded_requests)
    return tuple(
        sorted_problem(each.message or "(no message)", answered=answered)
        for each in job.errors or ()
    )


PAGE = 100
"""Jobs a page."""
_IN_VAIN = 10  # pages in a row that only repeat others: so many jobs are not made in that time


def listed(page: Callable[[int], Page]) -> Iterator[msgspec.Raw]:
    """Every job once, newest first; *page* fetches one of PAGE jobs, by its number from 0.

    New jobs push others to later pages, where they come a second time and are left out. Deleted
    ones pull others back onto pages that were read: then `total` shrinks, and as many pages are
    read again. Raises Unavailable when the list contradicts itself.
    """
    told: set[str] = set()
    sizes: list[int] = []  # of the pages up to the one at hand: a server may make them smaller
    number, furthest, total, vain = 0, -1, 0, 0
    while True:
        answer = page(number)
        gone, total = total - answer.total, answer.total
        if gone > 0 and number > 0:
            number = max(0, number - ceil(gone / max(sizes)))
            continue
        jobs = answer.data or []
        new = [(name, job) for name, job in map(_named, jobs) if name not in told]
        vain = vain + 1 if number > furthest and not new else 0
        if (jobs and vain > _IN_VAIN) or (not jobs and number == 0 and total > 0):
            raise Unavailable(
                f"mistral: page {number} of the list of batches has nothing new on it, though "
                f"there are {total} in all. The listing costs nothing: make it again."
            )
        told.update(name for name, _ in new)
        yield from (job for _, job in new)
        sizes = [*sizes[:number], len(jobs)]
        if not jobs or (len(jobs) < PAGE and sum(sizes) >= total):
            return
        number, furthest = number + 1, max(furthest, number)


def _named(job: msgspec.Raw) -> tuple[str, msgspec.Raw]:
    """By its own id, or by one made of its bytes."""
    return id_of(job) or sha256(bytes(job)).hexdigest(), job
