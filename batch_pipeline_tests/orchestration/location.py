"""A code location of one job in a small world: Dagster's definitions, history and clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from batch_pipeline.model import PartitionSummary
from batch_pipeline.orchestration.build import build_defs
from batch_pipeline.orchestration.local import LocalDagster
from batch_pipeline.orchestration.partitions import range_tags
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.policy.lifecycle import MOVING, Step
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.world import World


@dataclass
class Location:
    """What a test of the skin drives: the world, the definitions, and a daemon in this process."""

    world: World
    job: BatchJob
    defs: dg.Definitions
    instance: dg.DagsterInstance
    dagster: LocalDagster

    def submit(self, *partitions: str) -> dg.ExecuteInProcessResult:
        """`<job>_submit` over a stretch."""
        return self.dagster.submit(self.job.name, partitions or self.days())

    def days(self) -> list[str]:
        """Every partition of the dataset."""
        with self.world.open(self.job) as shell:
            return shell.partitions()

    def run(self, name: str, *partitions: str, **config: object) -> dg.ExecuteInProcessResult:
        """`<job>_<name>` by hand; *config* is for `batches`."""
        tags = _tags(partitions)
        said: dict[str, object] | None
        said = {"ops": {f"{self.job.name}__batches": {"config": config}}} if config else None
        return self.dagster.execute(f"{self.job.name}_{name}", tags=tags, run_config=said)

    def tick(self, *, launch: bool = True) -> dg.SensorResult:
        """The watch sensor's tick, with the runs it asks for."""
        return self.dagster.tick(f"{self.job.name}_watch", launch=launch)

    def finish(self) -> list[str]:
        """Ticks until nothing moves; what was told meanwhile."""
        told: list[str] = []
        self.dagster.run_to_end(self.job.name, moving=self.moving, told=told.append)
        return told

    def moving(self) -> bool:
        """Whether any partition goes on by itself."""
        return bool(set(self.steps().values()) & MOVING)

    def steps(self) -> dict[str, Step]:
        """The ledger's next step per partition."""
        with self.world.open(self.job) as shell:
            return {name: step for name, (step, _) in shell.steps().items()}

    def summary(self, partition: str) -> PartitionSummary:
        """The ledger's view of a partition."""
        with self.world.open(self.job) as shell:
            return shell.steps()[partition][1]

    def creates(self) -> int:
        """How many batches were asked for at the provider."""
        return sum(call.operation == "create" for call in self.world.sim.log())

    def key(self, step: str) -> dg.AssetKey:
        """The asset of a step."""
        return dg.AssetKey([self.job.name, step])

    def landed(self, step: str) -> set[str | None]:
        """Partitions of an asset that Dagster holds as materialized."""
        return {event.partition for event in self.materializations(step)}

    def materializations(self, step: str) -> list[dg.AssetMaterialization]:
        """All materializations of an asset, newest first."""
        records = self.instance.fetch_materializations(self.key(step), limit=1000).records
        return [record.asset_materialization for record in records if record.asset_materialization]

    def metadata(self, step: str, partition: str | None) -> dict[str, Any]:
        """The plain values of the newest materialization of a partition."""
        newest = next(m for m in self.materializations(step) if m.partition == partition)
        return {key: value.value for key, value in newest.metadata.items()}

    def evaluations(self, step: str, check: str) -> dict[str | None, dg.AssetCheckEvaluation]:
        """The newest evaluation of an asset's check for each partition."""
        records = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(self.key(step), check), limit=100
        )
        found: dict[str | None, dg.AssetCheckEvaluation] = {}
        for record in records:
            event = record.event and record.event.dagster_event
            if event and event.event_type_value == "ASSET_CHECK_EVALUATION":
                one = event.asset_check_evaluation_data
                found.setdefault(one.partition, one)
        return found

    def observations(self) -> list[dg.AssetObservation]:
        """All observations of `batches`, newest first."""
        records = self.instance.fetch_observations(self.key("batches"), limit=1000).records
        return [record.asset_observation for record in records if record.asset_observation]


def _tags(partitions: Sequence[str]) -> dict[str, str]:
    return range_tags(partitions[0], partitions[-1]) if partitions else {}


def resource_of(world: World, **env: str) -> PipelineResource:
    """The resource with the world's environment and clock instead of this machine's."""

    class InWorld(PipelineResource):
        def open(self, job: BatchJob, *, hurried: bool = False) -> Pipeline:
            return Pipeline.open(
                job,
                env={**world.env, **env},
                settings=world.settings,
                now=world.now,
                sleep=world.wait,
                hurried=hurried,
            )

    return InWorld()


@contextmanager
def location(
    world: World,
    *,
    env: dict[str, str] | None = None,
    **changes: Any,  # noqa: ANN401 - a job file's own freedom
) -> Iterator[Location]:
    """The code location of the world's job with *changes*."""
    job = world.job(**changes)
    defs = dg.Definitions.merge(
        build_defs(job, pipeline=resource_of(world, **(env or {}))),
        dg.Definitions(executor=dg.in_process_executor),
    )
    quiet = {"python_logs": {"python_log_level": "WARNING"}}
    with dg.DagsterInstance.ephemeral(settings=quiet) as instance:
        dagster = LocalDagster(defs, instance, sleep=world.wait, tick_seconds=10)
        yield Location(world, job, defs, instance, dagster)
