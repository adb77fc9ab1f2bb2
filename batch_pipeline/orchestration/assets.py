"""The assets of one job: each fetches the resource, makes one call, and returns numbers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from batch_pipeline.errors import (
    BatchPipelineError,
    DatasetError,
    ProviderError,
    Throttled,
    Unavailable,
)
from batch_pipeline.escaping import line
from batch_pipeline.orchestration import (
    asked,
    checks,
    describing,
    failed_rows,
    history,
    metadata,
    sending,
)
from batch_pipeline.orchestration.launchpad import Webserver
from batch_pipeline.orchestration.naming import asset_key, partition_names
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.orchestration.resources import PipelineResource
from batch_pipeline.orchestration.retry_config import BatchesConfig
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.building import together
from batch_pipeline.pipeline.collecting import Collected, Stuck
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob


class RequestsConfig(dg.Config):
    """What a run builds."""

    only_asked: bool = Field(
        default=False,
        description="Only what an earlier run was asked to build and did not: the watch asks so.",
    )


class ResultsConfig(dg.Config):
    """What a run lands."""

    only_due: bool = Field(
        default=False,
        description="Only partitions with something new: the watch asks so for scattered ones.",
    )


def build_assets(job: BatchJob) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """`dataset` (external), `requests`, `batches`, `results` and `cost_report` of *job*."""
    return [_dataset(job), _requests(job), _batches(job), _results(job), _cost_report(job)]


def _dataset(job: BatchJob) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(job, "dataset"),
        group_name=job.name,
        partitions_def=partitions_def(job.partitions),
        description=describing.described(job, "dataset"),
        metadata={"dagster/uri": line(job.dataset.path), "key": line(", ".join(job.dataset.key))},
        kinds={"parquet"},
        tags=describing.asset_tags(job),
    )


def _requests(job: BatchJob) -> dg.AssetsDefinition:
    spec = checks.read_spec(job)

    @dg.asset(
        **describing.common(job, "requests", after="dataset"),
        code_version=job.version,
        check_specs=[spec],
    )
    def requests(
        context: dg.AssetExecutionContext, config: RequestsConfig, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.Output[None]]:
        with surfaced(), pipeline.open(job) as shell:
            names = asked.to_build(context, job, shell, only_asked=config.only_asked)
            built, unread = shell.build_each(names)
        found = {name: metadata.of_built(done) for name, done in built.items()}
        whole = not unread and len(built) == len(partition_names(context, job))
        on = bool(built) or not unread
        yield from metadata.materialized(context, job, "requests", found, whole=whole, go_on=on)
        yield from checks.recorded(context, [spec], checks.read(job, built, unread))
        if not on:
            raise _failure(together(unread))

    return requests


def _batches(job: BatchJob) -> dg.AssetsDefinition:
    # With a code version, Dagster takes what was sent for unchanged when a run sends nothing more,
    # so results do not look out of step with partitions that a retry merely passed over.
    spec = checks.in_time_spec(job)

    @dg.asset(
        **describing.common(job, "batches", after="requests"),
        code_version=job.version,
        check_specs=[spec],
    )
    def batches(
        context: dg.AssetExecutionContext, config: BatchesConfig, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.Output[None]]:
        unread = history.unread(context, job)
        names = [name for name in partition_names(context, job) if name not in unread]
        with surfaced(), pipeline.open(job) as shell:
            sent = sending.sent(context, config, shell, names)
            found = metadata.of_submission(shell, sent, names)
            judged = checks.in_time(job, shell.steps(), now=shell.now())
        yield from metadata.materialized(context, job, "batches", found, whole=not unread)
        yield from checks.recorded(context, [spec], [judged])
        if unread:
            raise _failure(_not_sent(unread))

    return batches


def _not_sent(unread: Mapping[str, str]) -> DatasetError:
    number = f"{len(unread)} partitions were" if len(unread) > 1 else "1 partition was"
    reasons = "\n".join(dict.fromkeys(unread.values()))
    return DatasetError(
        f"{number} not sent, for the data cannot be read; the others were.\n{reasons}"
    )


def _results(job: BatchJob) -> dg.AssetsDefinition:
    specs = checks.check_specs(job)

    @dg.asset(
        **describing.common(job, "results", after="batches"),
        output_required=False,
        check_specs=specs,
    )
    def results(
        context: dg.AssetExecutionContext, config: ResultsConfig, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[None] | dg.Output[None]]:
        names = partition_names(context, job)
        with surfaced(), pipeline.open(job) as shell:
            collected, stuck = _collected(shell, names, only_due=config.only_due)
            found = _shown(context, shell, collected, pipeline.settings().dagster_url)
            whole = stuck is None and collected.refusal is None and len(found) == len(names)
            judged = checks.evaluations(job, shell, names)
            # a run over a range is all or nothing to Dagster: name those that did land
            costs = {} if whole else metadata.of_reports(shell, list(found))
        yield from metadata.landed(context, job, found, costs, whole=whole)
        yield from checks.recorded(context, specs, judged)
        _say_what_is_open(context, collected, stuck)

    return results


def _shown(
    context: dg.AssetExecutionContext, shell: Pipeline, collected: Collected, address: str | None
) -> dict[str, metadata.Found]:
    """What the pages of landed partitions show; runs are told what failed of what they sent."""
    server = Webserver.of_run(context.run, address)
    found = metadata.of_collected(shell, collected)
    failed = failed_rows.of_partitions(shell.job, shell, list(found), server)
    failed_rows.tell_runs(context, shell.job, shell, collected.shards, server)
    return {name: values | failed[name] for name, values in found.items()}


def _collected(
    shell: Pipeline, names: Sequence[str], *, only_due: bool
) -> tuple[Collected, Stuck | None]:
    """What was collected, and what could not be read or written."""
    try:
        return shell.collect(_due(shell, names) if only_due else names), None
    except Stuck as error:
        return error.collected, error


def _due(shell: Pipeline, names: Sequence[str]) -> list[str]:
    """Of a stretch of partitions those whose results are to be fetched or written anew."""
    steps = shell.steps()
    return [name for name in names if name in steps and steps[name][0] is Step.COLLECT]


def _say_what_is_open(
    context: dg.AssetExecutionContext, collected: Collected, stuck: Stuck | None
) -> None:
    """Warn of rows still on their way; Failure for refused whole batches, and what is stuck."""
    for name, landed in collected.waiting.items():
        context.log.warning(
            "%s: %d of %d requests are not answered yet; the watch comes back when they are.",
            *(line(name), landed.unanswered, landed.requests),
        )
    if problem := collected.refusal or stuck:
        raise _failure(problem)


def _cost_report(job: BatchJob) -> dg.AssetsDefinition:
    @dg.asset(**describing.common(job, "cost_report", after="results"))
    def cost_report(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        with surfaced(), pipeline.open(job) as shell:
            found = metadata.of_reports(shell, partition_names(context, job))
        yield from metadata.materialized(context, job, "cost_report", found, whole=True)

    return cost_report


_RETRIES = 3
_WAIT_SECONDS = 30.0


@contextmanager
def surfaced() -> Iterator[None]:
    """Turn an error of ours into `RetryRequested` when time mends it, else into `Failure`."""
    try:
        with said():
            yield
    except (Throttled, Unavailable) as error:
        wait = getattr(error, "retry_after", None) or _WAIT_SECONDS
        raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=wait) from error
    except BatchPipelineError as error:
        raise _failure(error) from None


def _failure(error: BatchPipelineError) -> dg.Failure:
    """A failure that says what to do, and that a retry of the step would not help."""
    return dg.Failure(
        description=str(error),
        metadata={"kind": type(error).__name__, "what to do": dg.MetadataValue.md(_advice(error))},
        allow_retries=False,
    )


def _advice(error: BatchPipelineError) -> str:
    """The next move for a person, by the kind of error."""
    if isinstance(error, ProviderError):
        return (
            "Nothing is lost: batches at the provider go on and are collected. "
            "Mend the cause, then materialize `batches` again for the same partitions; "
            "only what was not sent goes out."
        )
    return "Mend what the message names, then materialize the same partitions again."
