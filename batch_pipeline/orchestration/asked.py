"""What a run of Dagster was asked to send, noted before it builds: if it dies, the watch asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.storage.tags import BACKFILL_ID_TAG

from batch_pipeline.orchestration.naming import asset_key, partition_names
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.asking import Wish
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.shards.pending import Only


def to_build(
    context: dg.AssetExecutionContext, job: BatchJob, shell: Pipeline, *, only_asked: bool
) -> list[str]:
    """The partitions of this run to build; noted as asked for, if the run sends them too.

    With *only_asked* those of them that an earlier run was asked for and left.
    """
    names = partition_names(context, job)
    if only_asked:
        return shell.left_unbuilt(names)
    if _sends(context, job):
        shell.ask(names, wish(context, job), run_id=context.run.run_id)
    return names


def wish(context: dg.AssetExecutionContext, job: BatchJob) -> Wish:
    """How the run sends, by the config of its `batches`."""
    config: Mapping[str, Any] = context.run.run_config
    said = ((config.get("ops") or {}).get(f"{job.name}__batches") or {}).get("config") or {}
    only = Only(
        custom_ids=tuple(said.get("custom_ids") or ()) or None,
        kinds=tuple(said.get("failure_kinds") or ()) or None,
        run_id=said.get("failed_in_run"),
    )
    by_hand = bool(said.get("lift_holds", True))
    return Wish(
        only=None if only == Only() else only,
        lost=by_hand and bool(said.get("lost")),
        release=by_hand and bool(said.get("release")),
        by_hand=by_hand,
    )


def warn_of_runs(context: dg.AssetExecutionContext, partitions: Sequence[str]) -> None:
    """Say in the log what it costs that a backfill was cut into many runs."""
    backfill = context.run.tags.get(BACKFILL_ID_TAG)
    if backfill is None:
        return
    runs = context.instance.get_runs_count(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill}))
    if runs > 1:
        context.log.warning(
            "This is one of %d runs of backfill %s, with %d of its partitions: runs share no "
            "batches, and each takes seconds to start. One run for all of them makes the fewest "
            "batches: `batch-pipeline backfill %s`, or a backfill from Dagster's UI.",
            *(runs, backfill, len(partitions), context.asset_key.path[0]),
        )


def _sends(context: dg.AssetExecutionContext, job: BatchJob) -> bool:
    layer = context.job_def.asset_layer
    return asset_key(job, "batches") in layer.selected_asset_keys
