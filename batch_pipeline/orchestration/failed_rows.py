"""What failed, on Dagster's pages: a table, all of it as Parquet, and one click to retry it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.storage.tags import PARTITION_NAME_TAG

from batch_pipeline.escaping import fenced, line, markdown
from batch_pipeline.model import Shard
from batch_pipeline.orchestration import naming
from batch_pipeline.orchestration.launchpad import Given, Webserver, op_config
from batch_pipeline.orchestration.metadata import Found
from batch_pipeline.orchestration.naming import asset_job, partition_of
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.orchestration.retry_config import RetryConfig
from batch_pipeline.orchestration.run_partitions import as_listed
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.failed_rows import Failures
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.bill.report import money
from batch_pipeline.stages.results.failed_rows import FailedRow, FailedRows

_INLINE = 1000
"""Dagster's pages show Markdown shorter than this in place, longer in a dialog."""
_KEY, _MESSAGE, _RUN = 24, 56, 8
"""Characters of a cell: a table of these fits a page of 1440 pixels."""
_RUNS_TOLD = 20


def of_partitions(
    job: BatchJob, shell: Pipeline, names: Sequence[str], server: Webserver
) -> dict[str, Found]:
    """Per partition, for its materialization of `results`: what failed, and the retry of it."""
    failures = shell.failed_rows(names)
    return {
        name: _found(
            failures.partitions.get(name, FailedRows()),
            failures.files.get(name),
            _Retry.of_partition(job, name, failures, server),
        )
        for name in names
    }


def of_stretch(job: BatchJob, shell: Pipeline, names: Sequence[str], server: Webserver) -> Found:
    """The same of several partitions together, with one link that retries all of it."""
    failures = shell.failed_rows(names)
    return _found(failures.whole, None, _Retry.of_stretch(job, failures, server))


def of_run(job: BatchJob, failures: Failures, run_id: str, server: Webserver) -> Found:
    """What failed of what a run had sent or collected."""
    given = {"failed_in_run": run_id}
    return _found(failures.whole, failures.file, _Retry(job, given, {}, server))


def tell_runs(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    job: BatchJob,
    shell: Pipeline,
    collected: Sequence[Shard],
    server: Webserver,
) -> None:
    """Put on the page of this run what failed of what it *collected*, and on those of the senders.

    A run that sends has ended when its answers come: the event is added to its log then.
    """
    instance, own = context.instance, context.run
    found = shell.failed_in_run(own.run_id, collected)
    _tell(instance, own, "collected", found, of_run(job, found, own.run_id, server))
    senders = dict.fromkeys(shard.run_id for shard in collected if shard.run_id != own.run_id)
    for run_id in islice(filter(None, senders), _RUNS_TOLD):
        if run := instance.get_run_by_id(run_id):  # one of the command line has no page
            found = shell.failed_in_run(run_id)
            _tell(instance, run, "sent", found, of_run(job, found, run_id, server))


def again(job: BatchJob, config: RetryConfig, run: dg.DagsterRun, server: Webserver) -> Found:
    """For the page of a retry that failed: the same launch, filled in once more."""
    own = {name: tag for name, tag in run.tags.items() if name == PARTITION_NAME_TAG}
    retry = _Retry(job, config.given(), own, server)
    return {"retry": dg.MetadataValue.md(f"[Fill the same in again]({retry.link})")}


def linked(failure: dg.Failure, found: Found) -> dg.Failure:
    """The same failure of a run, with what failed and the retry of it beside."""
    return dg.Failure(
        description=failure.description,
        metadata={**failure.metadata, **found},
        allow_retries=failure.allow_retries,
    )


class _Retry:
    """The launch that sends rows again: its config, and the page that is filled in with it."""

    def __init__(
        self,
        job: BatchJob,
        given: Mapping[str, Given],
        tags: Mapping[str, str],
        server: Webserver,
    ) -> None:
        self.config = op_config(naming.retry_op(job), given)
        self.link = server.launchpad(asset_job(job, naming.RETRY_FAILED), self.config, tags)

    @classmethod
    def of_partition(
        cls, job: BatchJob, name: str, failures: Failures, server: Webserver
    ) -> "_Retry":
        """All kinds that failed there: the same rows, in few words, and easy to take one out."""
        kinds = failures.partitions.get(name, FailedRows()).kinds_to_send
        own = partition_of(job, name)
        tags = {} if own is None else {PARTITION_NAME_TAG: own}
        return cls(job, {"failure_kinds": kinds}, tags, server)

    @classmethod
    def of_stretch(cls, job: BatchJob, failures: Failures, server: Webserver) -> "_Retry":
        definition = partitions_def(job.partitions)
        given: dict[str, Given] = {"failure_kinds": failures.whole.kinds_to_send}
        if definition is not None:
            wanted = [name for name, rows in failures.partitions.items() if rows.to_send]
            given["partitions"] = as_listed(wanted, list(definition.get_partition_keys()))
        return cls(job, given, {}, server)


def _found(rows: FailedRows, file: Path | None, retry: _Retry) -> Found:
    """A sentence with the link; the table in place where both are short, else in a dialog."""
    if not rows.total:
        return {"failed_rows": dg.MetadataValue.md("none")}
    said, table = _said(rows, retry.link), _table(rows)
    short = f"{said}\n\n{table}"
    found: Found = {"failed_rows": dg.MetadataValue.md(short if len(short) < _INLINE else said)}
    if len(short) >= _INLINE:
        found["failed_table"] = dg.MetadataValue.md(table)
    if file is not None:
        found["failed_file"] = dg.MetadataValue.path(line(str(file)))
    if rows.to_send:
        found["retry_config"] = dg.MetadataValue.md(fenced(retry.config.rstrip(), "yaml"))
    return found


def _said(rows: FailedRows, link: str) -> str:
    kinds = ", ".join(f"{number:,} {markdown(kind)}" for kind, number in rows.by_kind.items())
    said = f"**{rows.total:,} failed**: {kinds}."
    if not rows.to_send:
        return f"{said} None of them can be sent again now."
    return f"{said}\n\n[Retry {rows.to_send:,} of them]({link}): {expected(rows)}."


def expected(rows: FailedRows) -> str:
    """What sending again all that can be sent is expected to cost, in words."""
    if rows.retry_cost is None:
        return "what it will cost is not known"
    unknown = f", and for {rows.unpriced:,} of them nobody knows" if rows.unpriced else ""
    return f"expected to cost {money(rows.retry_cost)}{unknown}"


_COLUMNS = ("custom_id", "key", "kind", "message", "attempt", "run", "on retry")


def _table(rows: FailedRows) -> str:
    lines = [_line(_COLUMNS), "|" + "---|" * len(_COLUMNS), *map(_line, map(_cells, rows.first))]
    if rows.total > len(rows.first):
        lines += ["", f"The first {len(rows.first)} of {rows.total:,}; all are in the file."]
    return "\n".join(lines)


def _cells(row: FailedRow) -> Iterator[str]:
    said = ": ".join(part for part in (row.error_code, row.error_message) if part)
    yield markdown(row.custom_id)
    yield _cell(row.key, _KEY)
    yield markdown(row.failure)
    yield _cell(said, _MESSAGE)
    yield "" if row.attempt is None else str(row.attempt)
    yield markdown((row.run_id or "")[:_RUN])
    yield markdown(row.becomes)


def _cell(text: str, most: int) -> str:
    short = " ".join(text.split())
    return markdown(short if len(short) <= most else short[:most] + "…")


def _line(cells: Iterator[str] | Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tell(
    instance: dg.DagsterInstance, run: dg.DagsterRun, did: str, failures: Failures, found: Found
) -> None:
    if failures.whole.total:
        said = f"{failures.whole.total:,} of {failures.sent:,} rows that this run {did} failed."
        instance.report_engine_event(said, run, EngineEventData(found))
