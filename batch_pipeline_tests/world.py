"""A small world for tests of the whole loop: a dataset, a simulator and a clock that we own.

Nothing sleeps: waiting moves our clock and the simulator's by the same seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch_pipeline.pipeline import Pipeline
from batch_pipeline.settings import Settings
from batch_pipeline.simulator.limits import Limits, Pace
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob

KEY = "sk-test-7f3a9c-never-written-anywhere"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["good", "bad"]},
        "topics": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
    "required": ["mood", "topics"],
    "additionalProperties": False,
}
DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")


@dataclass
class World:
    """Everything a test of the loop touches."""

    folder: Path
    sim: Simulator
    settings: Settings
    env: dict[str, str]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """Our clock; the simulator's moves with it."""
        return self.at

    def wait(self, seconds: float) -> None:
        """Let time pass, for us and for the provider."""
        self.at += timedelta(seconds=seconds)
        self.sim.advance(seconds)

    def job(self, **changes: Any) -> BatchJob:  # noqa: ANN401 - a job file's own freedom
        """A daily job over `rows/`, with a schema; *changes* replace its top-level keys."""
        said: dict[str, Any] = {
            "name": "moods",
            "dataset": {"path": str(self.folder / "rows"), "key": "id"},
            "partitions": {"kind": "daily", "column": "day", "start": DAYS[0], "end": DAYS[-1]},
            "request": {"prompt": "How is it? {{ body }}", "output_schema": SCHEMA},
            "targets": [{"provider": "openai", "model": "gpt-4.1-nano"}],
        }
        return BatchJob.model_validate({**said, **changes}).resolved(self.folder)

    @contextmanager
    def open(self, job: BatchJob | None = None, **env: str) -> Iterator[Pipeline]:
        """The job's shell in this world."""
        with Pipeline.open(
            job or self.job(),
            env={**self.env, **env},
            settings=self.settings,
            now=self.now,
            sleep=self.wait,
        ) as shell:
            yield shell

    def write_rows(
        self, rows: Mapping[str, Sequence[Mapping[str, object]]], *, schema: pa.Schema | None = None
    ) -> None:
        """Write each day's rows as a hive partition of `rows/`."""
        for day, records in rows.items():
            folder = self.folder / "rows" / f"day={day}"
            folder.mkdir(parents=True, exist_ok=True)
            table = pa.Table.from_pylist(list(records), schema=schema or ROWS)
            pq.write_table(table, folder / "part-0.parquet")

    def results(self, partition: str, job: str = "moods") -> list[dict[str, Any]]:
        """The landed results of a partition."""
        with self.shell_store(job, partition).open("rb") as file:
            rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows

    def shell_store(self, job: str, partition: str) -> Path:
        """Where a partition's results are."""
        with self.open(self.job(name=job)) as shell:
            return shell.work.store.results_file(job, partition)


ROWS = pa.schema([("id", pa.string()), ("body", pa.string())])


def rows(number: int, *, prefix: str = "r") -> list[dict[str, object]]:
    """*number* plain rows."""
    return [{"id": f"{prefix}/{n:03d}", "body": f"Row {n} is good"} for n in range(number)]


@contextmanager
def made(
    folder: Path,
    *,
    faults: object = None,
    limits: Limits | None = None,
    per_day: int = 5,
    days: Sequence[str] = DAYS,
) -> Iterator[World]:
    """A world with *per_day* rows on each day and a simulator whose time stands still."""
    with Simulator(speed=0, faults=faults, limits=limits, pace=Pace(seconds_to_complete=5)) as sim:
        settings = Settings(store=str(folder / "store"), poll_seconds=10, settle_seconds=30)
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": sim.openai_url}
        world = World(folder, sim, settings, env, at=datetime.fromtimestamp(sim.now, UTC))
        world.write_rows({day: rows(per_day) for day in days})
        yield world
