"""Reports as they fit a terminal; report.md in the store has every column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from batch_pipeline.cli.terminal import NAME, cell, say
from batch_pipeline.escaping import line as one_line
from batch_pipeline.stages.bill import superseded
from batch_pipeline.stages.bill.attempts import BillLine
from batch_pipeline.stages.bill.report import CostReport, money, reasons, routing
from batch_pipeline.stages.results.oddities import found

_WIDEST = 40
"""Bill lines shown one by one; a longer bill is shown per model."""


def show_report(out: Console, report: CostReport) -> None:
    """What it cost, what it would have cost live, and what failed."""
    if report.simulated:
        say(out, "SIMULATED", style="bold yellow", end="")
        say(out, ": no provider answered, and nobody pays this.")
    for fact in facts(report.total):
        say(out, fact)
    if report.beside:
        say(out, superseded.told(report.beside, one_line))
    if report.routed is not None:
        say(out, routing(report.routed, one_line))
    if report.odd:
        say(out, found(report.odd))
    if len(report.lines) <= _WIDEST:
        out.print(bill_table(report))
    say(out, f"Prices: {report.prices_from}, as of {report.prices_on}.")


def facts(whole: BillLine) -> Iterator[str]:
    """The totals, a line each."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in whole.by_kind.items())
    yield f"requests   {whole.requests:,}: {whole.succeeded:,} succeeded, {whole.failed:,} failed"
    if kinds:
        yield f"failures   {kinds}"
    yield f"tokens     {_count(whole.input_tokens)} in, {_count(whole.output_tokens)} out"
    yield f"cost       {money(whole.cost)} for {whole.attempts:,} rows sent, all attempts"
    yield f"live       {money(whole.live_cost)} for the same tokens, {money(whole.saved)} saved"
    if whole.unknown_cost:
        yield f"unknown    {whole.unknown_cost:,} rows cost something nobody told us"
        yield f"           {reasons(whole.unknown_because, one_line)}"


def show_comparison(out: Console, reports: Mapping[str, CostReport]) -> None:
    """The same job under several names side by side: tokens, cost and failures."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold", min_width=NAME)
    for title in ("requests", "failed", "tokens in", "tokens out", "cost", "live"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, report in reports.items():
        whole = report.total
        tokens = (_count(whole.input_tokens), _count(whole.output_tokens))
        counts = (f"{whole.requests:,}", f"{whole.failed:,}", *tokens)
        table.add_row(cell(name), *counts, money(whole.cost), money(whole.live_cost))
    out.print(table)
    for name, report in reports.items():
        models = sorted({line.model for line in report.lines if line.model})
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in report.total.by_kind.items()) or "none"
        say(out, f"{one_line(name)}: {one_line(' and '.join(models))}; failures: {kinds}")


def bill_table(report: CostReport) -> Table:
    """One row per partition and model."""
    table = Table(box=None, pad_edge=False)
    for title in ("partition", "model"):
        table.add_column(title, overflow="fold", min_width=NAME)
    for title in ("requests", "failed", "tokens in", "tokens out", "cost"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in report.lines:
        tokens = (_count(line.input_tokens), _count(line.output_tokens))
        numbers = (f"{line.requests:,}", f"{line.failed:,}", *tokens, _short(line.cost))
        table.add_row(cell(line.partition), cell(line.model or "(not sent)"), *numbers)
    return table


def _short(amount: Decimal | None) -> str:
    """Six digits after the point: enough to compare lines; report.json has all nine."""
    return money(amount) if amount is None or amount >= 1 else f"${amount:.6f}"


def _count(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
