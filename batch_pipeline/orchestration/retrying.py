"""`<job>_retry_failed`: sends failed rows again, and records `batches` where it did.

An op job: a run that materializes assets colours all of its partitions when it fails, also those
that were finished long ago.
"""

import dagster as dg

from batch_pipeline.errors import UsageError
from batch_pipeline.orchestration import failed_rows, metadata, naming, sending
from batch_pipeline.orchestration.assets import surfaced
from batch_pipeline.orchestration.launchpad import Webserver
from batch_pipeline.orchestration.naming import asset_job
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.orchestration.retry_config import RetryConfig
from batch_pipeline.orchestration.run_partitions import asked_for
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.spec import BatchJob

_ABOUT = """Sends failed custom_ids again, as the next attempt; what is answered is never sent.

Without config: as the job's retry policy says, which the watch does by itself. With config: the
failure kinds, custom_ids or past run that you name, whatever the policy says. Pick a partition, or
list partitions in the config. Each row is paid again: the pages with failed rows say what that is
expected to cost, and have a link that fills this form in."""


def build_retry(job: BatchJob, pipeline: PipelineResource) -> dg.JobDefinition:
    """The job, with the partitions of the assets.

    It is given its resources here: one that lacks any is made anew by Dagster, with each sensor
    that starts it.
    """

    @dg.op(name=f"{job.name}__send_again", description=_ABOUT)
    def send_again(
        context: dg.OpExecutionContext, config: RetryConfig, pipeline: PipelineResource
    ) -> None:
        try:
            with surfaced(), pipeline.open(job) as shell:
                names = _partitions(context, job, config, shell)
                sent = sending.sent(context, config, shell, names)
                out = {name for shard in (*sent.sent, *sent.adopted) for name in shard.partitions}
                found = metadata.of_submission(shell, sent, [name for name in names if name in out])
        except dg.Failure as failure:
            server = Webserver.of_run(context.run, pipeline.settings().dagster_url)
            link = failed_rows.again(job, config, context.run, server)
            raise failed_rows.linked(failure, link) from None
        metadata.record(context, job, "batches", found)
        context.log.info("%d rows sent again.", sent.requests)

    @dg.job(
        name=asset_job(job, naming.RETRY_FAILED),
        description=_ABOUT,
        partitions_def=partitions_def(job.partitions),
        tags=job.tags,
        resource_defs={"pipeline": pipeline, "io_manager": dg.mem_io_manager},
    )
    def retry_failed() -> None:
        send_again.alias(naming.retry_op(job))()

    return retry_failed


def _partitions(
    context: dg.OpExecutionContext, job: BatchJob, config: RetryConfig, shell: Pipeline
) -> list[str]:
    """Those of the config or the run, else those of the past run or the custom_ids it names."""
    names = asked_for(job, config.partitions, context.run.tags)
    if names:
        return names
    if config.failed_in_run:
        return shell.partitions_of_run(config.failed_in_run)
    if config.custom_ids:
        return list(shell.steps())
    raise UsageError(
        f"{job.name}: nobody said which partitions. Pick one in the launchpad, or list some in "
        "the config: partitions: [2026-01-01, 2026-01-05...2026-01-09]."
    )
