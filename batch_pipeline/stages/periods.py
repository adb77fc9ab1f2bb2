"""The time that a partition's name stands for: a window from its start to the next one's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from batch_pipeline.errors import DatasetError
from batch_pipeline.spec import Partitions

_DECEMBER = 12


@dataclass(frozen=True, slots=True)
class Window:
    """From *start* to before *end*, aware, in the partitions' timezone."""

    start: datetime
    end: datetime


def window(said: Partitions, partition: str) -> Window:
    """The window of *partition*; DatasetError when the name does not fit the format."""
    start = _parsed(said, partition)
    if said.kind == "hourly":
        # An hour is counted on the world's clock, so that the night the clocks change adds up.
        end = (start.astimezone(UTC) + timedelta(hours=1)).astimezone(start.tzinfo)
    elif said.kind == "monthly":
        turn = start.month == _DECEMBER
        end = start.replace(year=start.year + turn, month=1 if turn else start.month + 1)
    else:
        end = start + timedelta(days=7 if said.kind == "weekly" else 1)
    return Window(start, end)


def name_of(said: Partitions, moment: datetime) -> str:
    """The partition that *moment* (aware) is in; weeks start on Sunday, as Dagster's do."""
    local = moment.astimezone(ZoneInfo(said.timezone))
    if said.kind == "hourly":
        return local.replace(minute=0, second=0, microsecond=0).strftime(said.key_format)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if said.kind == "weekly":
        day -= timedelta(days=(day.weekday() + 1) % 7)
    elif said.kind == "monthly":
        day = day.replace(day=1)
    return day.strftime(said.key_format)


def _parsed(said: Partitions, partition: str) -> datetime:
    zone = ZoneInfo(said.timezone)
    # Dagster adds the offset to the one hour of a year that the clock shows twice.
    for pattern in (said.key_format, said.key_format + "%z"):
        try:
            found = datetime.strptime(partition, pattern)  # noqa: DTZ007 - the zone is added below
        except ValueError:
            continue
        return found.replace(tzinfo=zone) if found.tzinfo is None else found.astimezone(zone)
    raise DatasetError(
        f"partition {partition!r} is no {said.kind} partition: it does not fit the format "
        f"{said.key_format!r}. Name it like {said.start!r}."
    )
