"""What Dagster's run history says: which partitions have a live run, and what was tried before."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.orchestration.partitions import range_of

NEED_TAG = "watch"
"""On a run the watch asked for: the stretch, and a digest of its need; short, to fit the page."""
PAUSES = (0, 0, 60, 300, 900)
"""Seconds from the end of the last try to the next one; after as many tries we give up."""
_LIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def busy(instance: dg.DagsterInstance, asset_jobs: Iterable[str], known: Sequence[str]) -> set[str]:
    """Partitions that a run of these asset jobs, whoever launched it, is still about."""
    found: set[str] = set()
    for name in asset_jobs:
        live = dg.RunsFilter(job_name=name, statuses=_LIVE)
        for record in instance.get_run_records(live):
            first, last = range_of(record.dagster_run.tags) or (UNPARTITIONED, UNPARTITIONED)
            if first in known and last in known:
                found |= set(known[known.index(first) : known.index(last) + 1])
    return found


def tries(instance: dg.DagsterInstance, asset_job: str, need: str) -> tuple[int, datetime | None]:
    """How many runs were asked for *need*, and when the last of them ended."""
    asked = dg.RunsFilter(job_name=asset_job, tags={NEED_TAG: need})
    number = instance.get_runs_count(asked)
    records = instance.get_run_records(asked, limit=1) if number else []
    ended = records[0].end_time if records else None
    return number, None if ended is None else datetime.fromtimestamp(ended, UTC)


def may_ask(number: int, last: datetime | None, *, now: datetime) -> bool | None:
    """True: ask now. False: the pause after the last try is not over. None: tried often enough."""
    if number >= len(PAUSES):
        return None
    return last is None or now >= last + timedelta(seconds=PAUSES[number])
