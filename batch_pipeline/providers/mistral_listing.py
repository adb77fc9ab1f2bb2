"""Reading a list of jobs whose pages are only counted, without missing one that moves meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

from batch_pipeline.errors import Unavailable
from batch_pipeline.providers.mistral_answers import Job, Odd, Page

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
