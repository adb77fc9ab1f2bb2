"""A year, and ten, of small days: all that is ours from `run` to the report, per partition.

Days of twenty rows, one model, one batch where it fits. The simulator is a process of its own, and
its time is not ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from benchmarks.measuring import Figures, Measured, Stopwatch, Take

_ROWS = 20
_BEGAN = date(2016, 1, 1)
_SIMULATOR = """\
import json, sys
from batch_pipeline.simulator.limits import Pace
from batch_pipeline.simulator.server import Simulator
with Simulator(pace=Pace(seconds_to_complete=0)) as simulator:
    print(json.dumps(simulator.env), flush=True)
    sys.stdin.read()
"""


def _days(partitions: int, *, in_folders: bool) -> Take:
    def take(work: Path) -> Measured:
        from batch_pipeline import BatchJob, Pipeline, Settings  # noqa: PLC0415 - of the tree

        _write(work / "rows", partitions, in_folders=in_folders)
        job = BatchJob.model_validate(
            {
                "name": "days",
                "dataset": {"path": str(work / "rows"), "key": "id"},
                "partitions": {"kind": "daily", "column": "day", "start": _BEGAN.isoformat()},
                "request": {"prompt": "How is it? {{ body }}"},
                "targets": [{"provider": "openai", "model": "gpt-5-nano"}],
            }
        )
        settings = Settings(store=str(work / "store"), poll_seconds=0.5)
        with _simulated() as env, Pipeline.open(job, env=env, settings=settings) as shell:
            watch = Stopwatch()
            names = shell.partitions()
            steps = shell.run(names)
            report = shell.report(names)
            read = watch.read(each=partitions)
        done = sum(step.value == "done" for step, _ in steps.values())
        if (done, report.total.succeeded) != (partitions, partitions * _ROWS):
            raise SystemExit(f"{done} of {partitions} partitions were done: no measurement.")
        return read

    return take


def _write(into: Path, partitions: int, *, in_folders: bool) -> None:
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    days = [_BEGAN + timedelta(days=number) for number in range(partitions)]
    tables = [
        pa.table(
            {
                "id": [f"{day}/{row}" for row in range(_ROWS)],
                "body": [f"Row {row} of {day} is good {'word ' * 20}" for row in range(_ROWS)],
            }
        )
        for day in days
    ]
    into.mkdir()
    if in_folders:
        for day, table in zip(days, tables, strict=True):
            (into / f"day={day}").mkdir()
            pq.write_table(table, into / f"day={day}" / "rows.parquet")
        return
    told = pa.array([day for day in days for _ in range(_ROWS)], pa.date32())
    pq.write_table(pa.concat_tables(tables).append_column("day", told), into / "rows.parquet")


@contextmanager
def _simulated() -> Iterator[dict[str, str]]:
    """The environment of a simulator; it is ended, and never waited for by who measures."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own text
        [sys.executable, "-c", _SIMULATOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield json.loads(process.stdout.readline() if process.stdout else "{}")
    finally:
        process.communicate()


_YEAR, _TEN_YEARS = 365, 3_650
CONTEST = Figures(
    "partitions",
    f"Small partitions, {_ROWS} rows each, per partition",
    {
        "365 days in folders": _days(_YEAR, in_folders=True),
        "365 days in one file": _days(_YEAR, in_folders=False),
        "3,650 days in folders": _days(_TEN_YEARS, in_folders=True),
        "3,650 days in one file": _days(_TEN_YEARS, in_folders=False),
    },
    # Ten years took the commit before more than seven minutes a round.
    before={"3,650 days in folders": None, "3,650 days in one file": None},
    rounds={"3,650 days in folders": 1, "3,650 days in one file": 1},
)
