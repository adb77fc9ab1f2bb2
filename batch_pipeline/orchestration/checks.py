"""Asset checks, one evaluation per partition, also in a run over many."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import dagster as dg

from batch_pipeline.errors import DatasetError
from batch_pipeline.escaping import line, plain
from batch_pipeline.model import PartitionCounts, PartitionSummary
from batch_pipeline.orchestration.event_log import kept_open
from batch_pipeline.orchestration.metadata import failed_ratio
from batch_pipeline.orchestration.naming import asset_key, partition_of
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.policy.retention import runs_out, told
from batch_pipeline.spec import BatchJob

ACCOUNTED_FOR, FAILED_RATIO = "every_request_accounted_for", "failed_ratio"
IN_TIME = "answers_fetched_in_time"
READ = "dataset_can_be_read"
Steps = Mapping[str, tuple[Step, PartitionSummary]]


def read_spec(job: BatchJob) -> dg.AssetCheckSpec:
    """The check of `requests`."""
    return dg.AssetCheckSpec(
        READ,
        asset=asset_key(job, "requests"),
        partitions_def=partitions_def(job.partitions),
        description="The partition's files could be read, and every row has a key of its own. "
        "One that fails stops none of the others.",
    )


def read(
    job: BatchJob, built: Iterable[str], unread: Mapping[str, DatasetError]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Whether each partition's data could be read."""
    said = dict.fromkeys(built, "Every file was read.") | {
        name: plain(str(error)) for name, error in unread.items()
    }
    for name, description in said.items():
        yield dg.AssetCheckEvaluation(
            asset_key=asset_key(job, "requests"),
            check_name=READ,
            passed=name not in unread,
            severity=dg.AssetCheckSeverity.ERROR,
            description=description,
            metadata={},
            partition=partition_of(job, name),
        )


def check_specs(job: BatchJob) -> list[dg.AssetCheckSpec]:
    """`every_request_accounted_for` (error) and `failed_ratio` (warning) of *job*."""
    key, cut = asset_key(job, "results"), partitions_def(job.partitions)
    return [
        dg.AssetCheckSpec(
            ACCOUNTED_FOR,
            asset=key,
            partitions_def=cut,
            description="The results file has one row for every request that was built: "
            "succeeded, or failed with a kind.",
        ),
        dg.AssetCheckSpec(
            FAILED_RATIO,
            asset=key,
            partitions_def=cut,
            description=f"At most {job.max_failed_ratio:.1%} of the rows failed "
            "(`max_failed_ratio` of the job file). Rows that go again may still mend it.",
        ),
    ]


def evaluations(
    job: BatchJob, shell: Pipeline, partitions: Iterable[str]
) -> list[dg.AssetCheckEvaluation]:
    """The checks of each of the partitions that has landed, be it before this run.

    A run plans them for every partition of its stretch, and shows one left out as skipped.
    Dagster's own AssetCheckResult would make one evaluation for the whole range of a run.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 - a second of import that most runs never pay

    steps = shell.steps()
    found: list[dg.AssetCheckEvaluation] = []
    for name in partitions:
        path = shell.results_file(name)
        if name not in steps or steps[name][1].counts.unanswered or not path.exists():
            continue
        counts, rows = steps[name][1].counts, pq.read_metadata(path).num_rows
        found += [accounted_for(job, counts, rows), _failed_ratio(job, counts)]
    return found


def recorded(
    context: dg.AssetExecutionContext,
    specs: Iterable[dg.AssetCheckSpec],
    found: Iterable[dg.AssetCheckEvaluation],
) -> Iterator[dg.Output[None]]:
    """Record the evaluations, and end the checks' outputs, as Dagster asks of the step."""
    with kept_open(context):
        for evaluation in found:
            context.log_event(evaluation)
    for spec in specs:
        yield dg.Output(None, output_name=spec.get_python_identifier())


def accounted_for(job: BatchJob, counts: PartitionCounts, rows: int) -> dg.AssetCheckEvaluation:
    """Whether *rows*, counted in the results file, are all that the ledger knows of."""
    known = counts.succeeded + counts.failed
    return _evaluation(
        job,
        counts,
        ACCOUNTED_FOR,
        passed=counts.requests == rows == known,
        severity=dg.AssetCheckSeverity.ERROR,
        said=f"{counts.requests:,} requests, {rows:,} rows: {counts.succeeded:,} succeeded, "
        f"{counts.failed:,} failed.",
        numbers={
            "requests": counts.requests,
            "rows": rows,
            "not_accounted_for": counts.requests - min(rows, known),
        },
    )


def in_time_spec(job: BatchJob) -> dg.AssetCheckSpec:
    """The check of `batches`: of the whole job, for outside a run a partition's is taken once."""
    return dg.AssetCheckSpec(
        IN_TIME,
        asset=asset_key(job, "batches"),
        description="No answers wait at the provider that it deletes soon. The watch tells when a "
        "quarter of the time is left: six hours at Mistral, a week elsewhere.",
    )


def in_time(job: BatchJob, steps: Steps, *, now: datetime) -> dg.AssetCheckEvaluation:
    """Whether answers of any partition must be fetched soon."""
    waiting = [s.results_until for _, s in steps.values() if s.results_until is not None]
    late = [name for name, (_, summary) in steps.items() if runs_out(summary, now=now)]
    said = "No answers wait at a provider."
    if waiting:
        said = f"Answers wait at the provider until {min(waiting):%Y-%m-%d %H:%M} UTC."
    if late:
        more = f" and {len(late) - 1} more" if len(late) > 1 else ""
        said = f"{told(min(waiting), now=now)} Of {line(late[0])}{more}."
    hours = {"hours_left": (min(waiting) - now).total_seconds() / 3600} if waiting else {}
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(job, "batches"),
        check_name=IN_TIME,
        passed=not late,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={name: dg.MetadataValue.float(number) for name, number in hours.items()},
    )


def _failed_ratio(job: BatchJob, counts: PartitionCounts) -> dg.AssetCheckEvaluation:
    ratio = failed_ratio(counts.failed, counts.requests)
    return _evaluation(
        job,
        counts,
        FAILED_RATIO,
        passed=ratio <= job.max_failed_ratio,
        severity=dg.AssetCheckSeverity.WARN,
        said=f"{counts.failed:,} of {counts.requests:,} rows failed ({ratio:.1%}; at most "
        f"{job.max_failed_ratio:.1%} may). {counts.retryable:,} of them go again.",
        numbers={
            "failed_ratio": ratio,
            "allowed": job.max_failed_ratio,
            "failed": counts.failed,
            "go_again": counts.retryable,
        },
    )


def _evaluation(
    job: BatchJob,
    counts: PartitionCounts,
    name: str,
    *,
    passed: bool,
    severity: dg.AssetCheckSeverity,
    said: str,
    numbers: Mapping[str, float],
) -> dg.AssetCheckEvaluation:
    values = {key: dg.MetadataValue.float(float(number)) for key, number in numbers.items()}
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(job, "results"),
        check_name=name,
        passed=passed,
        severity=severity,
        description=said,
        metadata=values,
        partition=partition_of(job, counts.partition),
    )
