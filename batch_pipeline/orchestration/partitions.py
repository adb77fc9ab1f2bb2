"""The job's partitions as Dagster's, and runs of neighbouring partitions as ranges."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from batch_pipeline.spec import Partitions
from batch_pipeline.stages.requests.periods import Calendar


def partitions_def(said: Partitions) -> dg.PartitionsDefinition[str] | None:
    """Dagster's partitions; `end` is the last partition in ours, the first one out in theirs."""
    if said.kind == "none":
        return None
    if said.kind == "static":
        return dg.StaticPartitionsDefinition(said.values)
    windows: Mapping[str, Callable[..., dg.PartitionsDefinition[str]]] = {
        "hourly": dg.HourlyPartitionsDefinition,
        "daily": dg.DailyPartitionsDefinition,
        "weekly": dg.WeeklyPartitionsDefinition,
        "monthly": dg.MonthlyPartitionsDefinition,
    }
    return windows[said.kind](
        start_date=said.start or "",  # the job file is checked: there is one
        end_date=None if said.end is None else Calendar(said).after(said.end),
        fmt=said.key_format,
        timezone=said.timezone,
    )


def ranges(
    ready: Iterable[str], known: Iterable[str], *, bridges: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """The *ready* partitions as the fewest (first, last) stretches of the *known* order.

    A stretch may pass over *bridges*: partitions for which the run has nothing to do.
    """
    wanted, first, last = set(ready), None, None
    for name in known:
        if name in wanted:
            first, last = first or name, name
        elif first is not None and last is not None and name not in bridges:
            yield first, last
            first = last = None
    if first is not None and last is not None:
        yield first, last


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of a stretch of partitions."""
    if first == last:
        return {PARTITION_NAME_TAG: first}
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def range_of(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """The stretch that a run's tags name."""
    if PARTITION_NAME_TAG in tags:
        return tags[PARTITION_NAME_TAG], tags[PARTITION_NAME_TAG]
    start, end = (
        tags.get(ASSET_PARTITION_RANGE_START_TAG),
        tags.get(ASSET_PARTITION_RANGE_END_TAG),
    )
    return (start, end) if start and end else None
