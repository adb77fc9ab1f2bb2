"""Each moment is in exactly one partition, and its name is Dagster's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.errors import DatasetError
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.spec import Partitions
from batch_pipeline.stages.requests.periods import Calendar
from batch_pipeline.stages.requests.reading import Keep
from batch_pipeline.stages.requests.time_columns import Found, bounds

TIMES = pa.timestamp("us", tz="UTC")
WALLS = pa.timestamp("us")
TURNS = {  # moments around which a zone's clocks were changed, and how
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "America/St_Johns": ["2006-04-02T03:31", "2006-10-29T02:31"],  # at one past midnight
    "America/Havana": ["2026-03-08T05:00", "2026-11-01T05:00"],  # at midnight
    "Africa/Cairo": ["2026-04-23T22:00", "2026-10-29T21:00"],  # midnight is left out
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30"],  # by half an hour
    "Pacific/Apia": ["2011-12-30T10:00"],  # a day is left out
    "America/Caracas": ["2007-12-09T07:00", "2016-05-01T07:00"],  # for good, by half an hour
    "Asia/Kolkata": ["2026-06-01T00:00"],
}


def partitions(kind: str, zone: str, around: datetime) -> Partitions:
    """A job's partitions from well before *around* to well after it."""
    first, last = (around + timedelta(days=days) for days in (-45, 45))
    if kind == "hourly":
        # on the full hour: where a zone had half hours, Dagster counts other starts from UTC's
        full = around.replace(minute=0, second=0)
        first, last = (full + timedelta(days=days) for days in (-2, 2))
    said = {"kind": kind, "column": "at", "timezone": zone}
    pattern = "%Y-%m-%d-%H:%M" if kind == "hourly" else "%Y-%m-%d"
    ends = {"start": first.strftime(pattern), "end": last.strftime(pattern)}
    return Partitions.model_validate(said | ends)


def names_of(said: Partitions) -> list[str]:
    definition = partitions_def(said)
    assert definition is not None
    with dg.partition_loading_context(effective_dt=datetime(2100, 1, 1, tzinfo=UTC)):
        return list(definition.get_partition_keys())


def rows_by_partition(said: Partitions, names: list[str], values: pa.Array) -> dict[str, list[int]]:
    """The rows of *values* that are selected for each of *names* that is one of ours."""
    calendar, found = Calendar(said), dict[str, list[int]]()
    for name in names:
        try:
            span = calendar.window(name)
        except DatasetError:  # Dagster has a key for the day that Apia never had
            continue
        low, high = bounds(calendar, span, values.type)
        mask = Keep("at", low=low, high=high).mask(values).to_pylist()
        found[name] = [row for row, kept in enumerate(mask) if kept]
    return found


def assert_conserved(said: Partitions, values: pa.Array) -> None:
    """Each row is in one partition: that which the listing names, which Dagster has too."""
    names = names_of(said)
    chosen = rows_by_partition(said, names, values)
    assert sorted(row for rows in chosen.values() for row in rows) == list(range(len(values)))
    seen = Found(Calendar(said), values.type)
    seen.see(values)
    assert {name for name, rows in chosen.items() if rows} == seen.names


KINDS = st.sampled_from(["hourly", "daily", "weekly", "monthly"])
MINUTES = st.lists(st.integers(-1500, 1500), min_size=1, max_size=40)


@pytest.mark.parametrize(("zone", "turn"), [(z, t) for z, turns in TURNS.items() for t in turns])
@pytest.mark.parametrize("kind", ["hourly", "daily", "weekly", "monthly"])
@pytest.mark.parametrize("values", ["instants", "walls", "days"])
def test_each_row_is_in_one_partition_where_clocks_change(
    zone: str, turn: str, kind: str, values: str
) -> None:
    around = datetime.fromisoformat(turn).replace(tzinfo=UTC)
    said = partitions(kind, zone, around)
    steps = [timedelta(minutes=minutes) for minutes in range(-300, 301, 5)]
    edges = [timedelta(minutes=minutes, microseconds=-1) for minutes in range(-120, 121, 30)]
    moments = [around + step for step in (*steps, *edges)]
    if values == "instants":
        assert_conserved(said, pa.array(moments, TIMES))
        return
    wall = around.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    walls = [wall + step for step in (*steps, *edges)]
    if values == "walls":
        assert_conserved(said, pa.array(walls, WALLS))
    else:
        assert_conserved(said, pa.array(sorted({w.date() for w in walls}), pa.date32()))


@given(
    zone=st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"})),
    around=st.datetimes(datetime(1975, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001 - as drawn
    kind=KINDS,
    minutes=MINUTES,
    naive=st.booleans(),
)
def test_whatever_the_zone_and_the_date_each_row_is_in_one_partition(
    zone: str, around: datetime, kind: str, minutes: list[int], *, naive: bool
) -> None:
    said = partitions(kind, zone, around.replace(tzinfo=UTC))
    moments = [around + timedelta(minutes=step) for step in minutes]
    assert_conserved(said, pa.array(moments, WALLS if naive else TIMES))
