"""Numbers, tables and links that people see on the asset pages; small values only."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypedDict

import dagster as dg
import pyarrow as pa

from batch_pipeline.model import PartitionSummary, Shard, ShardState
from batch_pipeline.orchestration.partitions import partitions_def
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.collecting import Collected
from batch_pipeline.pipeline.sending import Submission
from batch_pipeline.pipeline.standing import described
from batch_pipeline.pipeline.watching import in_flight
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.bill import BillLine
from batch_pipeline.stages.report import CostReport, money
from batch_pipeline.stages.requests import RequestsBuilt

Found = dict[str, dg.MetadataValue]  # type: ignore[type-arg]  # Dagster's own alias leaves it open
_PREVIEW_ROWS = 8
_PREVIEW_CHARS = 120
_TABLE_ROWS = 50


class Common(TypedDict):
    """Arguments that every asset of a job shares."""

    name: str
    key_prefix: str
    group_name: str
    partitions_def: dg.PartitionsDefinition[str] | None
    backfill_policy: dg.BackfillPolicy
    deps: list[dg.AssetKey]
    kinds: set[str]


def common(job: BatchJob, step: str, *, after: str) -> Common:
    """Key, group, partitions, and one run for a whole backfill."""
    return Common(
        name=step,
        key_prefix=job.name,
        group_name=job.name,
        partitions_def=partitions_def(job.partitions),
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey([job.name, after])],
        kinds={job.target.provider} if step == "batches" else {"parquet"},
    )


def attach(context: dg.AssetExecutionContext, found: Mapping[str, Found]) -> None:
    """Put each partition's metadata on its own materialization."""
    for partition, values in found.items():
        if context.has_partition_key or context.has_partition_key_range:
            context.add_asset_metadata(values, partition_key=partition)
        else:
            context.add_asset_metadata(values)


def of_built(built: RequestsBuilt) -> Found:
    """Rows, bytes and files of a partition's requests."""
    return {
        "dagster/row_count": dg.MetadataValue.int(built.requests),
        "requests": dg.MetadataValue.int(built.requests),
        "rejected": dg.MetadataValue.int(built.rejected),
        "megabytes": dg.MetadataValue.float(round(built.bytes / 1e6, 6)),
        "content": dg.MetadataValue.text(built.digest[:16]),
        "dagster/uri": dg.MetadataValue.path(str(built.table)),
        "lines": dg.MetadataValue.path(str(built.lines)),
    }


def of_submission(shell: Pipeline, sent: Submission, names: list[str]) -> dict[str, Found]:
    """Per partition: how many requests went out now, are on their way, and are answered."""
    steps = shell.steps()
    shards = shell.shards(names)
    found: dict[str, Found] = {}
    for name in names:
        _, summary = steps[name]
        now_sent = sum(s.partitions.get(name, 0) for s in (*sent.sent, *sent.adopted))
        found[name] = {
            "requests": dg.MetadataValue.int(summary.counts.requests),
            "sent": dg.MetadataValue.int(now_sent),
            "in flight": dg.MetadataValue.int(in_flight(summary)),
            "waiting to be sent": dg.MetadataValue.int(summary.requests.get(ShardState.PLANNED, 0)),
            "batches": dg.MetadataValue.table(
                [_shard_row(shard) for shard in shards if name in shard.partitions][-_TABLE_ROWS:]
                or [dg.TableRecord({"state": "nothing to send"})]
            ),
        }
    return found


def of_collected(shell: Pipeline, collected: Collected) -> dict[str, Found]:
    """Per landed partition: rows, failures by kind, columns and a preview."""
    found: dict[str, Found] = {}
    for name, landed in collected.landed.items():
        path = shell.work.store.results_file(shell.job.name, name)
        ratio = landed.failed / landed.requests if landed.requests else 0.0
        found[name] = {
            "dagster/row_count": dg.MetadataValue.int(landed.requests),
            "succeeded": dg.MetadataValue.int(landed.succeeded),
            "failed": dg.MetadataValue.int(landed.failed),
            "failed ratio": dg.MetadataValue.float(round(ratio, 6)),
            "will be retried": dg.MetadataValue.int(landed.retryable),
            "failures": dg.MetadataValue.md(kinds_table(landed.by_kind)),
            "preview": dg.MetadataValue.md(preview(path)),
            "dagster/column_schema": column_schema(path),
            "dagster/uri": dg.MetadataValue.path(str(path)),
        }
    return found


def of_report(report: CostReport) -> Found:
    """Money and tokens that plot over time, and the report itself."""
    whole = report.total
    return {
        "cost usd": _money(whole.cost),
        "live cost usd": _money(whole.live_cost),
        "saved usd": _money(whole.saved),
        "input tokens": _count(whole.input_tokens),
        "cached input tokens": _count(whole.cached_input_tokens),
        "output tokens": _count(whole.output_tokens),
        "reasoning tokens": _count(whole.reasoning_tokens),
        "requests": dg.MetadataValue.int(whole.requests),
        "failed": dg.MetadataValue.int(whole.failed),
        "rows of unknown cost": dg.MetadataValue.int(whole.unknown_cost),
        "failures": dg.MetadataValue.md(kinds_table(whole.by_kind)),
        "report": dg.MetadataValue.md(report.to_markdown()),
        "by model": dg.MetadataValue.table([_bill_row(line) for line in report.lines]),
    }


def of_progress(step: Step, summary: PartitionSummary) -> Found:
    """What the watch sensor records on `batches`."""
    counts = summary.counts
    found: Found = {
        "step": dg.MetadataValue.text(step.value),
        "in flight": dg.MetadataValue.int(in_flight(summary)),
        "succeeded": dg.MetadataValue.int(counts.succeeded),
        "failed": dg.MetadataValue.int(counts.failed),
    }
    for state, number in sorted(summary.shards.items()):
        found[f"batches {state.value}"] = dg.MetadataValue.int(number)
    if summary.expires_at is not None:
        found["window closes"] = dg.MetadataValue.timestamp(summary.expires_at)
    return found


def kinds_table(by_kind: Mapping[str, int]) -> str:
    """Failures by kind as Markdown."""
    if not by_kind:
        return "none"
    lines = ["| failure | rows |", "|---|---|"]
    return "\n".join([*lines, *(f"| {kind} | {n} |" for kind, n in sorted(by_kind.items()))])


def preview(path: Path) -> str:
    """The first rows of a results file as Markdown."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - a second of import that most runs never pay

    with pq.ParquetFile(path) as file:
        names = [name for name in _PREVIEWED if name in file.schema_arrow.names]
        head = next(file.iter_batches(_PREVIEW_ROWS, columns=names), None)
    rows = [] if head is None else head.to_pylist()
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


_PREVIEWED = ("custom_id", "status", "failure", "output", "text", "attempt", "cost_usd")


def column_schema(path: Path) -> dg.TableSchemaMetadataValue:
    """The results' columns with their types, for the Columns panel."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    schema: pa.Schema = pq.read_schema(path)
    columns = [dg.TableColumn(field.name, str(field.type)) for field in schema]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns))


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    short = text if len(text) <= _PREVIEW_CHARS else text[:_PREVIEW_CHARS] + "…"
    return short.replace("|", "\\|").replace("<", "&lt;")


def _money(amount: Decimal | None) -> dg.MetadataValue:  # type: ignore[type-arg]
    """A float, because plots want one; the exact amount is in the report."""
    return _UNKNOWN if amount is None else dg.MetadataValue.float(float(amount))


def _count(count: int | None) -> dg.MetadataValue:  # type: ignore[type-arg]
    return _UNKNOWN if count is None else dg.MetadataValue.int(count)


def _shown(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


_UNKNOWN = dg.MetadataValue.text("unknown")


def _bill_row(line: BillLine) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "model": line.model or "(not sent)",
            "requests": line.requests,
            "succeeded": line.succeeded,
            "failed": line.failed,
            "input tokens": _shown(line.input_tokens),
            "output tokens": _shown(line.output_tokens),
            "cost": money(line.cost),
            "live": money(line.live_cost),
            "price": line.price_source or "",
        }
    )


def _shard_row(shard: Shard) -> dg.TableRecord:
    row = described(shard)
    return dg.TableRecord({name: "" if value is None else value for name, value in row.items()})
