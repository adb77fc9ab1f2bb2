"""A small world for tests of the whole loop: a dataset, a simulator and a clock that we own.

Nothing sleeps: waiting moves our clock and the simulator's by the same seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.sending import Submission
from batch_pipeline.pipeline.standing import Steps
from batch_pipeline.settings import Settings
from batch_pipeline.simulator.limits import Limits, Pace
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob
from batch_pipeline.store.files import Store

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
        return BatchJob.model_validate(self._said(changes)).resolved(self.folder)

    def job_file(self, **changes: Any) -> Path:  # noqa: ANN401 - as above
        """The same as a file."""
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(self._said(changes), sort_keys=False), encoding="utf-8")
        return path

    def _said(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": "moods",
            "dataset": {"path": str(self.folder / "rows"), "key": "id"},
            "partitions": {"kind": "daily", "column": "day", "start": DAYS[0], "end": DAYS[-1]},
            "request": {"prompt": "How is it? {{ body }}", "output_schema": SCHEMA},
            "targets": [{"provider": "openai", "model": "gpt-4.1-nano"}],
            **changes,
        }

    @property
    def whole_env(self) -> dict[str, str]:
        """The environment for a process of its own, where real time passes."""
        return {
            **self.env,
            "BATCH_PIPELINE_STORE": self.settings.store,
            "BATCH_PIPELINE_POLL_SECONDS": str(self.settings.poll_seconds),
            "BATCH_PIPELINE_SETTLE_SECONDS": str(self.settings.settle_seconds),
        }

    @contextmanager
    def open(
        self,
        job: BatchJob | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
        **env: str,
    ) -> Iterator[Pipeline]:
        """The job's shell in this world; *sleep* may do something else while it waits."""
        with Pipeline.open(
            job or self.job(),
            env={**self.env, **env},
            settings=self.settings,
            now=self.now,
            sleep=sleep or self.wait,
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

    def run(self, job: BatchJob | None = None, *, run_id: str = "run") -> Steps:
        """The whole loop over everything the job has."""
        with self.open(job) as shell:
            return shell.run(shell.partitions(), run_id=run_id)

    def send(self, job: BatchJob | None = None, *, run_id: str = "run") -> Submission:
        """Build and submit everything the job has, and no more."""
        with self.open(job) as shell:
            names = shell.partitions()
            shell.build(names)
            return shell.submit(names, run_id=run_id)

    @property
    def store(self) -> Store:
        """Where the files are."""
        return Store(self.settings.store)

    def results(self, partition: str = DAYS[0], job: str = "moods") -> list[dict[str, Any]]:
        """The landed results of a partition."""
        return _read(self.store.results_file(job, partition))

    def outcomes(self, job: str = "moods") -> list[dict[str, Any]]:
        """Every outcome of every attempt."""
        folder = self.store.root / "outcomes" / job
        return [row for path in sorted(folder.glob("*.parquet")) for row in _read(path)]

    def became(self, partition: str = DAYS[0], job: str = "moods") -> dict[str, str]:
        """Each row's last failure, or `succeeded`, by its key."""
        return {row["id"]: row["failure"] or row["status"] for row in self.results(partition, job)}

    def digests(self) -> dict[str, str]:
        """Every file of the store but the ledger's, by its bytes."""
        return {
            str(path.relative_to(self.store.root)): sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.store.root.rglob("*"))
            if path.is_file() and not path.name.startswith("ledger.db")
        }

    @property
    def batches(self) -> list[str]:
        """The batches that creates made at the provider, whatever was answered."""
        return [entry.effect for entry in self.sim.log("create") if entry.effect is not None]

    @property
    def sendings(self) -> set[int]:
        """How often custom_ids were in an accepted batch: {1} when each was sent once."""
        return set(self.sim.submissions().values())


def every_provider(sim: Simulator) -> dict[str, str]:
    """The environment in which *sim* stands in for every provider, with a key to look for."""
    return {name: KEY if name.endswith("_KEY") else said for name, said in sim.env.items()}


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:  # a handle: the folder's partition=... is no column of ours
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


ROWS = pa.schema([("id", pa.string()), ("body", pa.string())])


def rows(number: int, *, prefix: str = "r") -> list[dict[str, object]]:
    """*number* plain rows."""
    return [{"id": f"{prefix}/{n:03d}", "body": f"Row {n} is good"} for n in range(number)]


@dataclass
class LiveWorld(World):
    """The same in real time, a fraction of a second at once: for tests with real processes."""

    def now(self) -> datetime:
        """The wall clock."""
        return datetime.now(UTC)

    def wait(self, seconds: float) -> None:
        """Other processes cannot be told that time has passed: it has to."""
        time.sleep(seconds)


@contextmanager
def live(folder: Path, *, faults: object = None, per_day: int = 5) -> Iterator[LiveWorld]:
    """A world of one day in which a batch takes a fifth of a second."""
    with Simulator(speed=1, faults=faults, pace=Pace(seconds_to_complete=0.2)) as sim:
        settings = Settings(store=str(folder / "store"), poll_seconds=0.15, settle_seconds=0.1)
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": sim.urls["openai"]}
        world = LiveWorld(folder, sim, settings, env)
        world.write_rows({DAYS[0]: rows(per_day)})
        yield world


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
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": sim.urls["openai"]}
        world = World(folder, sim, settings, env, at=datetime.fromtimestamp(sim.now, UTC))
        world.write_rows({day: rows(per_day) for day in days})
        yield world
