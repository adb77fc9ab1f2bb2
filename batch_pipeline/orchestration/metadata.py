"""Numbers, tables and links that people see on the asset pages; small values only.

Keys are one word each, so that the pages do not wrap them, and numbers are numbers: they plot.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg

from batch_pipeline.escaping import line, markdown, plain
from batch_pipeline.model import UNSENT, PartitionSummary, Shard, ShardState
from batch_pipeline.orchestration.column_schema import column_schema
from batch_pipeline.orchestration.event_log import kept_open
from batch_pipeline.orchestration.naming import asset_key, partition_of
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.collecting import Collected
from batch_pipeline.pipeline.sending import Submission
from batch_pipeline.pipeline.standing import in_flight
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.bill.attempts import BillLine
from batch_pipeline.stages.bill.report import CostReport, money, reasons
from batch_pipeline.stages.requests.build import RequestsBuilt

Value: TypeAlias = dg.MetadataValue[Any]
Found: TypeAlias = dict[str, Value]
_RECORDED_ALREADY = "__source_asset_observation__"
"""Dagster's own mark (`SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION`) of a result whose events the
body has recorded. Written out: should it go, a broken day shows as built, and a test fails."""
_INLINE = 1000
"""Dagster's pages show Markdown shorter than this in place, longer in a dialog."""
_PREVIEW_ROWS = 6
_CELL = 90
_TABLE_ROWS = 20


def attach(context: dg.AssetExecutionContext, found: Mapping[str, Found]) -> None:
    """Put each partition's metadata on its own materialization."""
    for partition, values in found.items():
        if context.has_partition_key or context.has_partition_key_range:
            context.add_asset_metadata(values, partition_key=partition)
        else:
            context.add_asset_metadata(values)


def record(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    job: BatchJob,
    step: str,
    found: Mapping[str, Found],
) -> None:
    """Materializations of these partitions alone, in a run that is about more of them."""
    if not found:
        return
    with kept_open(context):
        for name, values in found.items():
            context.log_event(
                dg.AssetMaterialization(
                    asset_key(job, step), partition=partition_of(job, name), metadata=values
                )
            )


def materialized(
    context: dg.AssetExecutionContext,
    job: BatchJob,
    step: str,
    found: Mapping[str, Found],
    *,
    whole: bool,
    go_on: bool = False,
) -> Iterator[dg.MaterializeResult[None]]:
    """The *whole* range of a run is materialized, or those of its partitions that were *found*.

    Any result would materialize the whole range. To *go_on* the next step starts all the same.
    """
    if whole:
        attach(context, found)
        with kept_open(context):  # Dagster records them before it comes back to us
            yield dg.MaterializeResult()
        return
    record(context, job, step, found)
    if go_on:
        yield dg.MaterializeResult(metadata={_RECORDED_ALREADY: True})


def landed(
    context: dg.AssetExecutionContext,
    job: BatchJob,
    found: Mapping[str, Found],
    costs: Mapping[str, Found],
    *,
    whole: bool,
) -> Iterator[dg.MaterializeResult[None]]:
    """`materialized` for results; the costs of those that did land of a range come with them."""
    yield from materialized(context, job, "results", found, whole=whole)
    record(context, job, "cost_report", costs)


def of_built(built: RequestsBuilt) -> Found:
    """Rows, bytes and files of a partition's requests."""
    return {
        "dagster/row_count": dg.MetadataValue.int(built.requests),
        "requests": dg.MetadataValue.int(built.requests),
        "rejected": dg.MetadataValue.int(built.rejected),
        "megabytes": dg.MetadataValue.float(round(built.bytes / 1e6, 6)),
        "content": dg.MetadataValue.text(built.digest[:16]),
        "lines": _place(built.lines),
        "dagster/uri": _place(built.table),
    }


def of_submission(shell: Pipeline, sent: Submission, names: Sequence[str]) -> dict[str, Found]:
    """Per partition: how many requests went out now, are on their way, and are answered."""
    steps, shards = shell.steps(), _by_partition(shell.shards(names))
    now_sent: Counter[str] = Counter()
    for one in (*sent.sent, *sent.adopted):
        now_sent.update(one.partitions)
    found: dict[str, Found] = {}
    for name in names:
        counts, summary, ours = steps[name][1].counts, steps[name][1], shards[name]
        found[name] = {
            "requests": dg.MetadataValue.int(counts.requests),
            "sent_now": dg.MetadataValue.int(now_sent[name]),
            "in_flight": dg.MetadataValue.int(in_flight(summary)),
            "not_sent_yet": dg.MetadataValue.int(summary.requests.get(ShardState.PLANNED, 0)),
            "batches": dg.MetadataValue.table(
                [_shard_row(shard, name) for shard in ours[-_TABLE_ROWS:]]
                or [dg.TableRecord({"state": "nothing to send"})]
            ),
        }
        if page := _page(shell, ours):
            found[name]["newest_batch"] = dg.MetadataValue.url(page)
        if sent.problem is not None:
            found[name]["waiting_because"] = dg.MetadataValue.text(str(sent.problem))
    return found


def _by_partition(shards: Iterable[Shard]) -> defaultdict[str, list[Shard]]:
    found: defaultdict[str, list[Shard]] = defaultdict(list)
    for shard in shards:
        for name in shard.partitions:
            found[name].append(shard)
    return found


def of_collected(shell: Pipeline, collected: Collected) -> dict[str, Found]:
    """Per landed partition: rows, failures by kind, columns and a preview."""
    found: dict[str, Found] = {}
    keys = shell.job.dataset.key
    for name, landed in collected.landed.items():
        path = shell.results_file(name)
        found[name] = {
            "dagster/row_count": dg.MetadataValue.int(landed.requests),
            "succeeded": dg.MetadataValue.int(landed.succeeded),
            "failed": dg.MetadataValue.int(landed.failed),
            "failed_ratio": dg.MetadataValue.float(failed_ratio(landed.failed, landed.requests)),
            "go_again": dg.MetadataValue.int(landed.retryable),
            **{name: dg.MetadataValue.int(n) for name, n in asdict(landed.odd).items()},
            "failures": dg.MetadataValue.md(kinds_table(landed.by_kind)),
            "preview": dg.MetadataValue.md(preview(path, keys)),
            "dagster/column_schema": column_schema(path, keys),
            "dagster/uri": _place(path),
        }
    return found


def of_reports(shell: Pipeline, names: Sequence[str]) -> dict[str, Found]:
    """Per partition: money and tokens that plot over time, and the report itself."""
    return {
        name: _of_report(report) | {"report": _place(shell.report_file(name))}
        for name, report in shell.reports(names).items()
    }


def _of_report(report: CostReport) -> Found:
    whole = report.total
    return {
        "cost_usd": _money(whole.cost),
        "live_cost_usd": _money(whole.live_cost),
        "saved_usd": _money(whole.saved),
        "input_tokens": _count(whole.input_tokens),
        "cached_input_tokens": _count(whole.cached_input_tokens),
        "output_tokens": _count(whole.output_tokens),
        "reasoning_tokens": _count(whole.reasoning_tokens),
        "rows_sent": dg.MetadataValue.int(whole.attempts),
        "requests": dg.MetadataValue.int(whole.requests),
        "failed": dg.MetadataValue.int(whole.failed),
        "rows_of_unknown_cost": dg.MetadataValue.int(whole.unknown_cost),
        "unknown_cost_because": dg.MetadataValue.md(reasons(whole.unknown_because)),
        "simulated": dg.MetadataValue.bool(report.simulated),
        "by_model": dg.MetadataValue.table([_bill_row(bill) for bill in report.lines]),
        "page": dg.MetadataValue.md(report.to_markdown()),
    }


def of_progress(step: Step, summary: PartitionSummary) -> Found:
    """What the watch sensor records on `batches`."""
    counts = summary.counts
    found: Found = {
        "step": dg.MetadataValue.text(step.value),
        "in_flight": dg.MetadataValue.int(in_flight(summary)),
        "succeeded": dg.MetadataValue.int(counts.succeeded),
        "failed": dg.MetadataValue.int(counts.failed),
    }
    for name, states in _SHOWN_STATES.items():  # all of them: the page keeps a key's last value
        number = sum(summary.shards.get(state, 0) for state in states)
        found[f"batches_{name}"] = dg.MetadataValue.int(number)
    if summary.expires_at is not None:
        found["window_closes"] = dg.MetadataValue.timestamp(summary.expires_at)
    if summary.results_until is not None:
        found["fetch_results_before"] = dg.MetadataValue.timestamp(summary.results_until)
    if summary.counts.deferred:
        found["waiting_for_canary"] = dg.MetadataValue.int(summary.counts.deferred)
    if summary.held is not None:
        found["held"] = dg.MetadataValue.text(plain(summary.held))
    return found


_SHOWN_STATES = {
    "to_send": UNSENT,
    "at_provider": (ShardState.SUBMITTED,),
    "ended": (ShardState.ENDED,),
    "collected": (ShardState.COLLECTED,),
    "blocked": (ShardState.FAILED,),
}


def failed_ratio(failed: int, requests: int) -> float:
    """The part of the rows that failed; 0 for none at all."""
    return round(failed / requests, 6) if requests else 0.0


def kinds_table(by_kind: Mapping[str, int]) -> str:
    """Failures by kind as Markdown."""
    if not by_kind:
        return "none"
    lines = ["| failure | rows |", "|---|--:|"]
    return "\n".join(
        [*lines, *(f"| {markdown(kind)} | {n:,} |" for kind, n in sorted(by_kind.items()))]
    )


def preview(path: Path, keys: Collection[str]) -> str:
    """The first rows of a results file as Markdown, as many as the page shows in place."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - a second of import that most runs never pay

    with pq.ParquetFile(path) as file:
        there = set(file.schema_arrow.names)
        answer = "output" if "output" in there else "text" if "text" in there else "custom_id"
        names = list(dict.fromkeys([*keys, "status", "failure", answer]))
        head = next(file.iter_batches(_PREVIEW_ROWS, columns=names), None)
    text = "\n".join([_line([*keys, "status", answer]), "|" + "---|" * (len(keys) + 2)])
    for row in [] if head is None else head.to_pylist():
        shown = _line([*(row[key] for key in keys), row["failure"] or row["status"], row[answer]])
        if len(text) + len(shown) + 1 >= _INLINE:
            break
        text = f"{text}\n{shown}"
    return text


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: object) -> str:
    """One line that shows its characters as they are."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}: {one}" for key, one in value.items())
    else:
        text = "" if value is None else str(value)
    text = " ".join(text.split())
    short = text if len(text) <= _CELL else text[:_CELL] + "…"
    return markdown(short)


def _place(path: Path) -> Value:
    return dg.MetadataValue.path(line(str(path)))


def _money(amount: Decimal | None) -> Value:
    """A float, because plots want one; the exact amount is in the report."""
    return _UNKNOWN if amount is None else dg.MetadataValue.float(float(amount))


def _count(count: int | None) -> Value:
    return _UNKNOWN if count is None else dg.MetadataValue.int(count)


def _shown(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


_UNKNOWN = dg.MetadataValue.text("unknown")


def _bill_row(bill: BillLine) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "model": line(bill.model or "(not sent)"),
            "sent": bill.attempts,
            "succeeded": bill.succeeded,
            "failed": bill.failed,
            "tokens in": _shown(bill.input_tokens),
            "out": _shown(bill.output_tokens),
            "cost": money(bill.cost),
            "live": money(bill.live_cost),
            "price": line(bill.price_source or ""),
        }
    )


def _shard_row(shard: Shard, partition: str) -> dg.TableRecord:
    """A batch as the partition sees it; narrow, for the page cuts wide tables off."""
    remote = shard.remote
    return dg.TableRecord(
        {
            "attempt": shard.attempt,
            "state": shard.state.value,
            "requests": shard.partitions.get(partition, 0),
            "of": shard.requests,
            "provider says": "" if remote is None else line(remote.raw_status),
            "batch": line(shard.batch_id or shard.message or ""),
        }
    )


def _page(shell: Pipeline, shards: Sequence[Shard]) -> str | None:
    """The newest batch's page at the provider, if this run spoke to it anyway."""
    sent = [shard for shard in shards if shard.batch_id is not None]
    return shell.page_of(sent[-1]) if sent else None
