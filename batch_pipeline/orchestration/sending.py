"""What a run sends, whether it materializes `batches` or retries."""

from collections.abc import Sequence

import dagster as dg

from batch_pipeline.orchestration import asked
from batch_pipeline.orchestration.retry_config import BatchesConfig
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.running import waiting_helps
from batch_pipeline.pipeline.sending import Submission


def sent(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    config: BatchesConfig,
    shell: Pipeline,
    names: Sequence[str],
) -> Submission:
    """What the run sends; what waiting mends is only warned of, for the watch comes back."""
    run_id, only = context.run.run_id, config.only()
    if isinstance(context, dg.AssetExecutionContext):
        asked.warn_of_runs(context, names)
    if config.lift_holds:
        lost, release = config.lost, config.release
        done = shell.resend(names, run_id=run_id, only=only, lost=lost, release=release)
    else:
        done = shell.submit(names, run_id=run_id, only=only, by_itself=True)
    if done.problem is not None:
        if not waiting_helps(done.problem):
            raise done.problem
        context.log.warning("Not all was sent; the watch comes back for it: %s", done.problem)
    return done
