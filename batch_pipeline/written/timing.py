"""Times as a job file writes them: timezones, cron lines, and names of partitions."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_CRON_WORDS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_MONTHS = (
    *("JAN", "FEB", "MAR", "APR", "MAY", "JUN"),
    *("JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
)
_CRON_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ("L",)),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
_CRON_PART = re.compile(r"^(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?$")
_CRON_LIKE = "Write five fields, for example `0 6 * * *` (at 06:00), or a word such as @daily"
_SAMPLE = datetime(2026, 3, 1)  # noqa: DTZ001 - a name, no instant
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_STEPS = {  # from one partition to another one of the kind
    "hourly": (_HOUR, 12 * _HOUR, _DAY, 31 * _DAY, 365 * _DAY),
    "daily": (_DAY, 31 * _DAY, 365 * _DAY),
    "weekly": (7 * _DAY, 28 * _DAY, 364 * _DAY),
    "monthly": (31 * _DAY, 365 * _DAY),
}


def known_zone(name: str) -> str:
    """*name*, when it is a timezone; ValueError with the nearest one when it is none."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zones = sorted(available_timezones())
        folded = {zone.casefold(): zone for zone in zones}
        ends = {zone.rpartition("/")[2].casefold(): zone for zone in zones}
        asked = name.strip().casefold().replace(" ", "_")
        near = difflib.get_close_matches(asked, [*ends, *folded], n=1)
        hint = f" Did you mean {(ends | folded)[near[0]]!r}?" if near else ""
        raise ValueError(
            f"{name!r} is no timezone.{hint} Write one like 'UTC' or 'Europe/Berlin'"
        ) from None
    return name


def known_cron(text: str) -> str:
    """*text*, when it is a cron line; ValueError with an example when it is none."""
    if text.startswith("@"):
        if text not in _CRON_WORDS:
            raise ValueError(f"{text!r} is not one of {', '.join(_CRON_WORDS)}. {_CRON_LIKE}")
        return text
    fields = text.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(f"{text!r} has {len(fields)} fields and not 5. {_CRON_LIKE}")
    for said, (what, low, high, names) in zip(fields, _CRON_FIELDS, strict=True):
        for part in said.split(","):
            if not _is_cron_part(part, low, high, names):
                raise ValueError(
                    f"{part!r} is no {what} in {text!r}: {low} to {high}. {_CRON_LIKE}"
                )
    return text


def _is_cron_part(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    found = _CRON_PART.match(part)
    if found is None or found[3] == "0":
        return False
    ends = [end for end in found.groups()[:2] if end is not None]
    numbers = [int(end) if end.isdecimal() else None for end in ends]
    if any(n is None and end.upper() not in names for n, end in zip(numbers, ends, strict=True)):
        return False
    return all(number is None or low <= number <= high for number in numbers)


def distinct_format(kind: str, pattern: str) -> None:
    """ValueError when *pattern* names two partitions of *kind* alike, or cannot be read back."""
    here = _SAMPLE.strftime(pattern)
    for step in _STEPS[kind]:
        if here == (_SAMPLE + step).strftime(pattern):
            raise ValueError(f"`format` {pattern!r} gives two {kind} partitions one name: {here!r}")
    try:
        back = datetime.strptime(here, pattern)  # noqa: DTZ007 - only its text is looked at
    except ValueError:
        back = None
    if back is None or back.strftime(pattern) != here:
        raise ValueError(
            f"`format` {pattern!r} gives names like {here!r}, from which the time cannot be read"
        )


def named_time(kind: str, pattern: str, name: str) -> datetime:
    """The time that the partition's *name* says; ValueError with an example of a name."""
    for one in (pattern, f"{pattern}%z"):
        try:
            found = datetime.strptime(name, one)  # noqa: DTZ007 - compared with its like
        except ValueError:
            continue
        if found.strftime(one) == name:
            return found.replace(tzinfo=found.tzinfo or UTC)
    raise ValueError(
        f"{name!r} does not fit the format {pattern!r}; a {kind} partition's name is like "
        f"{_SAMPLE.strftime(pattern)!r}"
    )
