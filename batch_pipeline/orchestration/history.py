"""What Dagster's run history says: which partitions have a live run, and what was tried before."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.orchestration.checks import READ
from batch_pipeline.orchestration.naming import asset_key
from batch_pipeline.orchestration.partitions import range_of
from batch_pipeline.orchestration.run_partitions import listed_in, spans
from batch_pipeline.spec import BatchJob

NEED_TAG = "watch"
"""On a run the watch asked for: the stretch, and a digest of its need; short, to fit the page."""
PAUSES = (0, 0, 60, 300, 900)
"""Seconds from the end of the last try to the next one; after as many tries we give up."""
_IN_ONE_QUERY = 500
_LIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def busy(instance: dg.DagsterInstance, asset_jobs: Iterable[str], known: Sequence[str]) -> set[str]:
    """Partitions that a run of these asset jobs, whoever launched it, is still about."""
    place = {name: at for at, name in enumerate(known)}
    found: set[str] = set()
    for name in asset_jobs:
        live = dg.RunsFilter(job_name=name, statuses=_LIVE)
        for run in instance.get_runs(live):
            own = range_of(run.tags) or (UNPARTITIONED, UNPARTITIONED)
            for first, last in spans(listed_in(run.run_config)) or [own]:
                if first in place and last in place:
                    found |= set(known[place[first] : place[last] + 1])
    return found


def tries(
    instance: dg.DagsterInstance, needs: Sequence[str]
) -> dict[tuple[str, str], tuple[int, datetime | None]]:
    """By asset job and need: how many runs were asked for it, and when the last of them ended."""
    found: dict[tuple[str, str], tuple[int, datetime | None]] = {}
    for start in range(0, len(needs), _IN_ONE_QUERY):
        some = dg.RunsFilter(tags={NEED_TAG: needs[start : start + _IN_ONE_QUERY]})
        for record in instance.get_run_records(some):  # the newest first
            run = record.dagster_run
            key = (run.job_name, run.tags[NEED_TAG])
            ended = (
                None if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)
            )
            number, last = found.get(key, (0, ended))
            found[key] = (number + 1, last)
    return found


def unread(context: dg.AssetExecutionContext, job: BatchJob) -> dict[str, str]:
    """Partitions whose data could not be read when this run built them, and why.

    A run that goes on from where another failed builds nothing: what that one found still holds.
    """
    check = dg.AssetCheckKey(asset_key(job, "requests"), READ)
    run: dg.DagsterRun | None = context.run
    while run is not None:
        found = [one for one in _evaluations(context, run) if one.asset_check_key == check]
        if found:
            return {
                one.partition or UNPARTITIONED: one.description or ""
                for one in found
                if not one.passed
            }
        parent = run.get_parent_run_id()
        run = context.instance.get_run_by_id(parent) if parent else None
    return {}


def _evaluations(
    context: dg.AssetExecutionContext, run: dg.DagsterRun
) -> list[dg.AssetCheckEvaluation]:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    logs = context.instance.all_logs(run.run_id, of_type=kind)
    return [log.get_dagster_event().asset_check_evaluation_data for log in logs]


def may_ask(number: int, last: datetime | None, *, now: datetime) -> bool | None:
    """True: ask now. False: the pause after the last try is not over. None: tried often enough."""
    if number >= len(PAUSES):
        return None
    return last is None or now >= last + timedelta(seconds=PAUSES[number])
