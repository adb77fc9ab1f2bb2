"""Mistral's JSON answers, parsed once: only the fields we rely on, into our own nouns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil

import msgspec

from batch_pipeline.errors import Unavailable
from batch_pipeline.model import TERMINAL, BatchProblem, Observation, RemoteStatus
from batch_pipeline.providers.listing import first_time, item, unix
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


class Job(msgspec.Struct):
    """Mistral's batch job."""

    id: str
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


class Odd(msgspec.Struct):
    """A job of another shape than Mistral's: what can be read of it, if it is one at all."""

    id: str  # its own, or made of its bytes
    raw: bytes
    job: Job | None = None


class Page(msgspec.Struct):
    """One page of the list of jobs, newest first; `total` counts those on all pages."""

    total: int
    data: Sequence[Job | Odd] | None = None


class UnreadPage(msgspec.Struct):
    """The same, its jobs unread."""

    total: int
    data: list[msgspec.Raw] | None = None

    def read(self) -> Page:
        """Each job by itself: an odd one spoils no other."""
        return Page(self.total, [_job(raw) for raw in self.data or ()])


class File(msgspec.Struct):
    """Mistral's file object."""

    id: str


class Deleted(msgspec.Struct):
    """The answer to the deletion of a file or a job."""

    id: str


def observation(job: Job) -> Observation:
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


def _job(raw: msgspec.Raw) -> Job | Odd:
    job, exact = item(raw, Job)
    if job is not None and exact:
        return job
    data = bytes(raw)
    return Odd(sha256(data).hexdigest() if job is None else job.id, data, job)


def _expiry(created: datetime, metadata: Mapping[str, str]) -> datetime | None:
    hours = metadata.get(HOURS, "")
    return created + timedelta(hours=int(hours)) if re.fullmatch(r"[0-9]{1,4}", hours) else None


def _problems(job: Job) -> tuple[BatchProblem, ...]:
    """Why a job failed. In other statuses the list only sums up rows, which say more themselves."""
    answered = bool(job.output_file or job.error_file or job.succeeded_requests)
    return tuple(
        sorted_problem(each.message or "(no message)", answered=answered)
        for each in job.errors or ()
    )


PAGE = 100
"""Jobs a page."""
_IN_VAIN = 10  # pages in a row that only repeat others: so many jobs are not made in that time


def listed(page: Callable[[int], Page]) -> Iterator[Job | Odd]:
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
        new = [job for job in jobs if job.id not in told]
        vain = vain + 1 if number > furthest and not new else 0
        if (jobs and vain > _IN_VAIN) or (not jobs and number == 0 and total > 0):
            raise Unavailable(
                f"mistral: page {number} of the list of batches has nothing new on it, though "
                f"there are {total} in all. The listing costs nothing: make it again."
            )
        told.update(job.id for job in new)
        yield from new
        sizes = [*sizes[:number], len(jobs)]
        if not jobs or (len(jobs) < PAGE and sum(sizes) >= total):
            return
        number, furthest = number + 1, max(furthest, number)
