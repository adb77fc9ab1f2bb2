"""A world in which one provider answers: for what the whole pipeline does about a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batch_pipeline.pipeline import Pipeline, planning
from batch_pipeline.pipeline.standing import Steps
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.settings import Settings
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.contract.cases import CASES, Case
from batch_pipeline_tests.contract.client_runner import HOUR
from batch_pipeline_tests.world import DAYS, World, every_provider, rows

ALL = "all"


@dataclass
class Place(World):
    """A world of one provider and one partition, beside others at the same simulator."""

    case: Case = CASES[0]
    began: int = 0  # calls that others made before

    @property
    def name(self) -> str:
        """A name of its own, so that custom_ids are its own."""
        return f"job_{self.began}"

    def _said(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": self.name,
            "dataset": {"path": str(self.folder / "rows"), "key": "id"},
            "request": {"prompt": "How is it? {{ body }}"},
            "targets": [self.case.target()],
            **changes,
        }

    def results(self, partition: str = ALL, job: str = "") -> list[dict[str, Any]]:
        return super().results(partition, job or self.name)

    def outcomes(self, job: str = "") -> list[dict[str, Any]]:
        return super().outcomes(job or self.name)

    def became(self, partition: str = ALL, job: str = "") -> dict[str, str]:
        return super().became(partition, job or self.name)

    @property
    def batches(self) -> list[str]:
        """The batches that this job's creates made, whatever was answered."""
        entries = self.sim.log()[self.began :]
        return [one.effect for one in entries if one.operation == "create" and one.effect]

    @property
    def sendings(self) -> set[int]:
        return set(self.sent.values())

    @property
    def sent(self) -> Counter[str]:
        """How often each custom_id was in an accepted batch."""
        return Counter(name for batch in self.batches for name in self.sim.custom_ids(batch))

    def step(self, steps: Steps) -> Step:
        """Where the one partition stands."""
        return steps[ALL][0]

    def plan(self, shell: Pipeline) -> Path:
        """Cut the one shard without sending it; returns its lines."""
        shell.build([ALL])
        planning.plan(shell.records, shell.clients, shell.runtime, [ALL])
        [shard] = shell.shards()
        return self.store.shard_lines(shard.job, shard.shard_id)


def placed(case: Case, sim: Simulator, folder: Path, *, count: int = 5) -> Place:
    """A place with *count* rows, an hour after all others."""
    sim.faults(None)
    sim.advance(HOUR)
    settings = Settings(store=str(folder / "store"), poll_seconds=30, settle_seconds=30)
    place = Place(
        folder,
        sim,
        settings,
        every_provider(sim),
        at=datetime.fromtimestamp(sim.now, UTC),
        case=case,
        began=len(sim.log()),
    )
    place.write_rows({DAYS[0]: rows(count)})
    return place
