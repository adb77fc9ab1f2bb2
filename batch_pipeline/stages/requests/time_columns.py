"""A column of times against a calendar: a partition's bounds in it, and the partitions it has."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from batch_pipeline.stages.requests.periods import Calendar, Window

_STEP = timedelta(minutes=15)
"""Nearly every boundary of a partition is a multiple of it, in any zone of today."""
_INSTANT = timedelta(microseconds=1)


def is_time(kind: pa.DataType) -> bool:
    """Whether values of *kind* are moments or days; a time of day alone is none."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def bounds(calendar: Calendar, span: Window, kind: pa.DataType) -> tuple[pa.Scalar, pa.Scalar]:
    """From which value of *kind* to before which one a row is in *span*.

    A time without a zone is read by the clocks of the partitions' own; a day is its midnight.
    """
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return tuple(pa.scalar(end.astimezone(UTC), kind) for end in (span.start, span.end))
    walls = (calendar.wall(span.start), calendar.wall(span.end))
    if pa.types.is_date(kind):
        return tuple(pa.scalar(_first_day(wall), kind) for wall in walls)
    return tuple(pa.scalar(wall, kind) for wall in walls)


def _first_day(wall: datetime) -> datetime:
    """The first midnight that is not before *wall*."""
    midnight = datetime.combine(wall.date(), time())
    return midnight if midnight == wall else midnight + timedelta(days=1)


class Found:
    """The partitions that the values seen so far are in."""

    def __init__(self, calendar: Calendar, kind: pa.DataType) -> None:
        self._calendar = calendar
        self._zoned = bool(pa.types.is_timestamp(kind) and kind.tz is not None)
        self._steps: dict[datetime, str | None] = {}
        self.names: set[str] = set()
        self.left_out: set[datetime] = set()
        """Times that the clocks of the zone never show, by the quarter of an hour."""

    def see(self, values: pa.Array) -> None:
        """Add the partitions of *values*; nulls are in none."""
        moments = _plain(values)
        floored = pc.floor_temporal(moments, multiple=15, unit="minute").cast(pa.timestamp("us"))
        new = [step for step in pc.unique(floored).drop_null().to_pylist() if self._is_odd(step)]
        if new:  # a boundary lies within these quarters: moment by moment
            odd = pc.is_in(floored, pa.array(new, pa.timestamp("us")))
            exact = pc.floor_temporal(moments.filter(odd), unit="microsecond")
            self._name(pc.unique(exact.cast(pa.timestamp("us"))).to_pylist())

    def _is_odd(self, step: datetime) -> bool:
        """Whether a quarter's moments are in several partitions; if not, its one is known now."""
        if step not in self._steps:
            first, last = (self._moment(at) for at in (step, step + _STEP - _INSTANT))
            name = self._calendar.name_of(first)
            one = name == self._calendar.name_of(last)
            self._steps[step] = name if one else None
            if one:
                self.names.add(name)
            if not self._zoned and self._calendar.left_out(step):
                self.left_out.add(step)
        return self._steps[step] is None

    def _name(self, moments: Iterable[datetime]) -> None:
        self.names.update(self._calendar.name_of(self._moment(at)) for at in moments)

    def _moment(self, at: datetime) -> datetime:
        return at.replace(tzinfo=UTC) if self._zoned else self._calendar.instant(at)


def _plain(values: pa.Array) -> pa.Array:
    """The instants in UTC, or what a wall clock showed; a day is its midnight."""
    if pa.types.is_date(values.type):
        return values.cast(pa.timestamp("s"))
    return values.cast(pa.timestamp(values.type.unit))
