"""Everything Dagster sees of one job: assets with checks, asset jobs, watch sensor, schedule."""

import warnings
from pathlib import Path

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.orchestration import naming
from batch_pipeline.orchestration.assets import build_assets
from batch_pipeline.orchestration.naming import asset_job, asset_key
from batch_pipeline.orchestration.resources import PIPELINE, PipelineResource
from batch_pipeline.orchestration.schedules import build_schedule
from batch_pipeline.orchestration.sensors import build_watch
from batch_pipeline.pipeline.checking import check
from batch_pipeline.spec import BatchJob


def build_defs(job: BatchJob, *, pipeline: PipelineResource = PIPELINE) -> dg.Definitions:
    """Everything Dagster sees of *job*, to be merged with other definitions.

    It brings its one resource, under the name `pipeline`: jobs of one code location share it.
    SpecError for a job that cannot run: now, and not as a paid failure.
    """
    job = job.resolved(Path.cwd())
    check(job, pipeline.settings())
    submit = _asset_job(job, naming.SUBMIT, "requests", "batches")
    collect = _asset_job(job, naming.COLLECT, "results", "cost_report")
    retry = _asset_job(job, naming.RETRY_FAILED, "batches")
    with warnings.catch_warnings():  # of two young features of Dagster, known and used here alone
        warnings.filterwarnings("ignore", r"[^`]*`backfill_policy` of", dg.BetaWarning)
        warnings.filterwarnings("ignore", r".*partitions_def on an AssetCheck", dg.PreviewWarning)
        assets = build_assets(job)
    return dg.Definitions(
        assets=assets,
        resources={"pipeline": pipeline},
        jobs=[submit, collect, retry],
        sensors=[build_watch(job, [submit, collect, retry])],
        schedules=[] if job.schedule is None else [build_schedule(job, job.schedule, submit)],
    )


_MEANT_FOR = {
    naming.SUBMIT: "Build requests and send what is not answered: backfill this one.",
    naming.COLLECT: "Fetch what has ended, land results, write the report.",
    naming.RETRY_FAILED: "Send failed custom_ids again. Without config: as the job's retry policy "
    "says. With config: failure kinds, custom_ids, or what failed in a past run.",
}


def _asset_job(job: BatchJob, name: str, *steps: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        asset_job(job, name),
        selection=dg.AssetSelection.assets(*(asset_key(job, step) for step in steps)),
        description=_MEANT_FOR[name],
        tags=job.tags,
    )
