"""Everything Dagster sees of one job: assets, checks, asset jobs, watch sensor, schedule."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from batch_pipeline.orchestration.assets import asset_key, build_assets
from batch_pipeline.orchestration.checks import build_checks
from batch_pipeline.orchestration.schedules import build_schedule
from batch_pipeline.orchestration.sensors import build_watch
from batch_pipeline.spec import BatchJob


def build_defs(job: BatchJob) -> dg.Definitions:
    """The definitions of *job*; the resource `pipeline` is the code location's own."""
    checks = build_checks(job)
    submit = _asset_job(job, "submit", "requests", "batches")
    collect = _asset_job(job, "collect", "results", "cost_report")
    retry = _asset_job(job, "retry_failed", "batches")
    return dg.Definitions(
        assets=build_assets(job),
        asset_checks=checks,
        jobs=[submit, collect, retry],
        sensors=[build_watch(job, [submit, collect, retry])],
        schedules=[] if job.schedule is None else [build_schedule(job, job.schedule, submit)],
    )


_MEANT_FOR = {
    "submit": "Build requests and send what is not answered: backfill this one.",
    "collect": "Fetch what has ended, land results, write the report.",
    "retry_failed": "Send failed custom_ids again; config names kinds, ids or a past run.",
}


def _asset_job(job: BatchJob, name: str, *steps: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        f"{job.name}_{name}",
        selection=dg.AssetSelection.assets(*(asset_key(job, step) for step in steps)),
        description=_MEANT_FOR[name],
        tags=job.tags,
    )
