"""When what came is a whole result file, and how long it is fetched again while it is not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from batch_pipeline.model import Observation, RemoteStatus

PATIENCE = timedelta(hours=12)
"""How long a file may stay short of what its batch promises before it is taken as it is."""
_SOONEST, _LATEST = timedelta(seconds=30), timedelta(hours=1)


def promised(
    observation: Observation, source: Literal["output", "error"], *, requests: int
) -> int | None:
    """How many lines the counts promise in a file, at least; None when they promise nothing.

    Where one file has all rows, every count is of it. Else only the counts of a batch that
    completed are kept: a cancel was seen to leave fewer lines than it had counted.
    """
    if observation.one_file and source == "output":
        return min(observation.completed + observation.failed, requests)
    if observation.status is not RemoteStatus.COMPLETED:
        return None
    counted = observation.completed if source == "output" else observation.failed
    return min(counted, requests)


def next_look(*, since: datetime, now: datetime) -> datetime:
    """When a file that was short since then is fetched again: the longer it was, the later."""
    return now + min(max(now - since, _SOONEST), _LATEST)


def is_given_up(*, since: datetime, now: datetime) -> bool:
    """True when a file was short for so long that its rows are landed without the others."""
    return now - since >= PATIENCE
