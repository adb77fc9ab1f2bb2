"""A job's partitions of time: which one a moment is in, and the window that a name stands for.

Names are Dagster's, whose clock they follow: an hour is sixty minutes of the world's clock,
counted from the first full hour after `start`, and the second of two hours that the clocks of a
zone show alike carries its offset. Windows of one kind touch and do not overlap, so every moment
is in exactly one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from batch_pipeline.errors import DatasetError, PartitionError
from batch_pipeline.spec import Partitions

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Window:
    """From *start* to before *end*, aware, in the partitions' timezone."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Calendar:
    """The partitions of a job that are cut by time."""

    said: Partitions

    @cached_property
    def zone(self) -> ZoneInfo:
        """Where a day begins and ends."""
        return ZoneInfo(self.said.timezone)

    def name_of(self, moment: datetime) -> str:
        """The name of the partition that *moment* (aware) is in."""
        return self._named(self._window_start(moment))

    def window(self, partition: str) -> Window:
        """The window of *partition*; DatasetError when that is no partition's name."""
        start = self._must_parse(partition)
        if self.name_of(start) != partition:
            skipped = self.left_out(start.replace(tzinfo=None))
            why = ", where no clock shows that time" if skipped else ""
            raise PartitionError(
                f"partition {partition!r} is no {self.said.kind} partition of "
                f"{self.said.timezone}{why}: it is part of {self.name_of(start)!r}. "
                f"{self._example}"
            )
        return Window(start, self._next(start))

    def after(self, partition: str) -> str:
        """The name of the partition after the one that the time of *partition* is in."""
        return self._named(self._next(self._window_start(self._must_parse(partition))))

    def start_of(self, partition: str) -> datetime:
        """When *partition* begins, in UTC: names sort by it; DatasetError for what is no time."""
        return self._must_parse(partition).astimezone(UTC)

    def check(self, names: Iterable[str], *, where: str) -> None:
        """DatasetError that names the first few of *names* that are no partitions' names."""
        odd = [name for name in sorted(names) if not self._fits(name)]
        if odd:
            more = f" and {len(odd) - _TOLD} more" if len(odd) > _TOLD else ""
            raise DatasetError(
                f"{where} holds {', '.join(map(repr, odd[:_TOLD]))}{more}, which "
                f"{'is no name' if len(odd) == 1 else 'are no names'} of {self.said.kind} "
                f"partitions in {self.said.timezone}: Dagster would not know "
                f"{'it' if len(odd) == 1 else 'them'}. {self._example}"
            )

    def instant(self, wall: datetime) -> datetime:
        """When a clock of the zone shows *wall* (naive): the first time, if it does so twice.

        A time that the clocks leave out is the moment at which they were put forward.
        """
        first = wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        second = wall.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        return self._turn(second, first) if self.left_out(wall) else first

    def left_out(self, wall: datetime) -> bool:
        """Whether the zone's clocks never show *wall* (naive): they were put forward over it."""
        there = self._shown(wall.replace(tzinfo=self.zone, fold=0))
        return there.replace(tzinfo=None, fold=0) != wall

    def wall(self, moment: datetime) -> datetime:
        """The earliest naive time whose `instant` is not before *moment*: a bound for columns."""
        local = self._shown(moment)
        before = (moment.astimezone(UTC) - timedelta(microseconds=1)).astimezone(self.zone)
        if _offset(before) < _offset(local):  # clocks go forward now: what they leave out is now
            return (before + timedelta(microseconds=1)).replace(tzinfo=None)
        if local.fold:  # shown before: the next time that is shown once
            shown = local.replace(fold=0)
            turn = self._turn(shown.astimezone(UTC), moment.astimezone(UTC))
            return (turn + _offset(shown)).replace(tzinfo=None)
        return local.replace(tzinfo=None, fold=0)

    def _shown(self, moment: datetime) -> datetime:
        """What the zone's clocks show at *moment*, also when it was named by a time left out."""
        return moment.astimezone(UTC).astimezone(self.zone)

    def _turn(self, low: datetime, high: datetime) -> datetime:
        """The second at which the zone's offset changes, after *low* and not after *high*."""
        new = _offset(high.astimezone(self.zone))
        seconds = (0, int((high - low).total_seconds()))
        while seconds[1] - seconds[0] > 1:
            middle = sum(seconds) // 2
            there = _offset((low + timedelta(seconds=middle)).astimezone(self.zone))
            seconds = (seconds[0], middle) if there == new else (middle, seconds[1])
        return low + timedelta(seconds=seconds[1])

    def _window_start(self, moment: datetime) -> datetime:
        """The start of the window that *moment* is in."""
        if self.said.kind == "hourly":
            hours = (moment.astimezone(UTC) - self._hours_from) // _HOUR
            return (self._hours_from + hours * _HOUR).astimezone(self.zone)
        day = self._shown(moment).date()
        # A clock put back over midnight shows the day before once more.
        for candidate in (day + _DAY, day, day - _DAY):
            start = self._midnight(self._first_day(candidate))
            if start.astimezone(UTC) <= moment.astimezone(UTC):
                return start
        raise AssertionError(f"{moment} is in no window")

    def _first_day(self, day: date) -> date:
        match self.said.kind:
            case "weekly":  # from Sunday, as Dagster's
                return day - timedelta(days=(day.weekday() + 1) % 7)
            case "monthly":
                return day.replace(day=1)
            case _:
                return day

    def _next(self, start: datetime) -> datetime:
        match self.said.kind:
            case "hourly":
                return (start.astimezone(UTC) + _HOUR).astimezone(self.zone)
            case "weekly":
                return self._midnight(start.date() + 7 * _DAY)
            case "monthly":
                return self._midnight((start.date().replace(day=1) + 32 * _DAY).replace(day=1))
            case _:
                return self._midnight(start.date() + _DAY)

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self.zone)

    def _named(self, start: datetime) -> str:
        pattern = self.said.key_format
        again = self.said.kind == "hourly" and start.fold and "%z" not in pattern
        return start.strftime(pattern + "%z" if again else pattern)

    def _parsed(self, partition: str) -> datetime | None:
        for pattern in (self.said.key_format, self.said.key_format + "%z"):
            try:
                found = datetime.strptime(partition, pattern)  # noqa: DTZ007 - the zone is added
            except ValueError:
                continue
            if found.tzinfo is None:
                return found.replace(tzinfo=self.zone)
            return found.astimezone(self.zone)
        return None

    def _must_parse(self, partition: str) -> datetime:
        start = self._parsed(partition)
        if start is None:
            raise PartitionError(
                f"partition {partition!r} is no {self.said.kind} partition: it does not fit the "
                f"format {self.said.key_format!r}. {self._example}"
            )
        return start

    def _fits(self, partition: str) -> bool:
        start = self._parsed(partition)
        return start is not None and self.name_of(start) == partition

    @cached_property
    def _hours_from(self) -> datetime:
        """The first full hour that a clock of the zone shows from `start` on, in UTC."""
        said = self._parsed(self.said.start or "")
        start = said or datetime(1970, 1, 1, tzinfo=self.zone)
        past = timedelta(minutes=start.minute, seconds=start.second)
        return start.astimezone(UTC) + (_HOUR - past if past else timedelta(0))

    @property
    def _example(self) -> str:
        return f"Names are like {self.name_of(self._hours_from)!r}."


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta(0)
