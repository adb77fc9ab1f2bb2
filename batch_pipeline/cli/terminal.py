"""Reports and standings as they fit a terminal; report.md in the store has every column.

The one way of this program to a terminal: what comes from data is text there and no markup.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from batch_pipeline.escaping import line as one_line
from batch_pipeline.escaping import plain
from batch_pipeline.model import IN_FLIGHT, FailureKind, Shard
from batch_pipeline.pipeline.cancelling import Stopped
from batch_pipeline.pipeline.sending import Submission
from batch_pipeline.pipeline.standing import Steps, Tell
from batch_pipeline.policy.clocks import clock_is_off
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.policy.retention import runs_out, told
from batch_pipeline.stages.bill import superseded
from batch_pipeline.stages.bill.attempts import BillLine
from batch_pipeline.stages.bill.report import CostReport, found, money, reasons, routing
from batch_pipeline.stages.results.oddities import Oddities

NONE: Mapping[str, float] = MappingProxyType({})
_WIDEST = 40
"""Bill lines shown one by one; a longer bill is shown per model."""
_REASONS = 5
_UNTOLD = "`batch-pipeline status` shows where its shards are."
_NAME = 10  # a day; longer names go on in the next line, where the terminal is narrow


class PlainFormatter(logging.Formatter):
    """Log lines, which may quote a provider."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with nothing in it that a terminal obeys."""
        return plain(super().format(record))


def say(out: Console, text: str, *, style: str = "", end: str = "\n") -> None:
    """Print *text* as it is, however long: neither markup nor an escape code in it acts."""
    out.print(Text(plain(text), style=style), soft_wrap=True, end=end)


def cell(text: str) -> Text:
    """A name in a table, as it is."""
    return Text(one_line(text))


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(one_line(name) for name in names)


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
    table.add_column("", overflow="fold", min_width=_NAME)
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
        table.add_column(title, overflow="fold", min_width=_NAME)
    for title in ("requests", "failed", "tokens in", "tokens out", "cost"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in report.lines:
        tokens = (_count(line.input_tokens), _count(line.output_tokens))
        numbers = (f"{line.requests:,}", f"{line.failed:,}", *tokens, _short(line.cost))
        table.add_row(cell(line.partition), cell(line.model or "(not sent)"), *numbers)
    return table


def steps_table(steps: Steps) -> Table:
    """One row per partition: where it stands."""
    table = Table(box=None, pad_edge=False)
    table.add_column("partition", overflow="fold", min_width=_NAME)
    table.add_column("step")
    for title in ("requests", "succeeded", "failed", "unsendable", "in flight"):
        table.add_column(title, justify="right")
    for name, (step, summary) in steps.items():
        counts = summary.counts
        flying = sum(n for state, n in summary.requests.items() if state in IN_FLIGHT)
        numbers = (counts.requests, counts.succeeded, counts.failed, counts.rejected, flying)
        table.add_row(cell(name), step.value, *(f"{number:,}" for number in numbers))
    return table


def notes(
    steps: Steps, *, now: datetime | None = None, skews: Mapping[str, float] = NONE
) -> Iterator[str]:
    """What a table has no room for: why rows are held or wait, and until when answers are kept."""
    held: dict[str, list[str]] = {}
    for name, (_, summary) in steps.items():
        for hold in summary.holds:
            held.setdefault(one_line(hold.reason), []).append(name)
    for reason, names in held.items():
        span = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)})"
        span = one_line(span)
        yield f"held {span}: {reason}"
    waiting = sum(summary.counts.deferred for _, summary in steps.values())
    if waiting:
        yield f"{waiting:,} rows wait for the canary."
    ends = [s.results_until for _, s in steps.values() if s.results_until is not None]
    if ends:
        yield f"Answers wait at the provider and are kept until {min(ends):%Y-%m-%d %H:%M} UTC."
    if now is not None and any(runs_out(s, now=now) for _, s in steps.values()):
        yield f"WARNING: {told(min(ends), now=now)}"
    for provider, ahead in skews.items():
        yield f"WARNING: {clock_is_off(provider, ahead)}"


def show_status(
    out: Console,
    steps: Steps,
    shards: Iterable[Shard],
    *,
    now: datetime,
    skews: Mapping[str, float],
    odd: Oddities,
) -> None:
    """Where partitions stand, and what is the matter with their shards."""
    out.print(steps_table(steps))
    for line in [*notes(steps, now=now, skews=skews), *([found(odd)] if odd else [])]:
        say(out, line)
    for shard in shards:
        if shard.message:
            say(out, f"shard {shard.shard_id} ({shard.state.value}): {shard.message}")


def show_stopped(out: Console, stopped: Stopped) -> None:
    """What became of each shard of a cancel, and a line over all."""
    for line in _stopped_lines(stopped):
        say(out, line)


def _stopped_lines(stopped: Stopped) -> Iterator[str]:
    groups = (
        ("taken back before it was sent", stopped.withdrawn),
        ("asked to stop", stopped.asked),
        ("had ended already", stopped.over),
        ("of another account, whose key can stop it", stopped.foreign),
        ("perhaps sent; it is not sent again, and `run` looks for it", stopped.unclear),
    )
    for what, shards in groups:
        for shard in shards:
            yield f"shard {shard.shard_id}: {shard.requests} requests, {what}"
    for shard, why in stopped.refused:
        yield f"shard {shard.shard_id}: {shard.requests} requests, NOT stopped. {one_line(why)}"
    yield (
        f"{len(stopped.asked)} shards asked to stop, {len(stopped.withdrawn)} taken back, "
        f"{len(stopped.refused)} not stopped; `run` collects what was finished."
    )


def why_not_done(steps: Steps, shards: Iterable[Shard]) -> Iterator[str]:
    """Why partitions stand where they do, in their own words: what holds them, or a shard of them.

    A reason that many share is said once; of many reasons the first few.
    """
    messages = [(shard, shard.message) for shard in shards if shard.state in IN_FLIGHT]
    reasons: dict[str, list[str]] = {}
    for name, (step, summary) in steps.items():
        if step is Step.DONE:
            continue
        why: list[str | None] = [hold.reason for hold in summary.holds]
        why += [text for one, text in messages if name in one.partitions]
        words = " ".join(dict.fromkeys(one_line(text) for text in why if text))
        reasons.setdefault(f"{step.value}: {words or _UNTOLD}", []).append(name)
    for reason, names in list(reasons.items())[:_REASONS]:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        yield f"{one_line(names[0])}{more} is {reason}"
    if len(reasons) > _REASONS:
        yield f"{len(reasons) - _REASONS} more reasons: `batch-pipeline status` names them all."


@contextmanager
def progress(err: Console, *, quiet: bool) -> Iterator[Tell]:
    """A bar on *err* that goes on as partitions do; nothing when *quiet*."""
    if quiet or not err.is_terminal:  # a bar in a log file is no progress
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("waiting", total=None)

        def tell(steps: Steps) -> None:
            total = sum(s.counts.requests for _, s in steps.values())
            done = sum(s.counts.succeeded + s.counts.failed for _, s in steps.values())
            moving = sum(step is not Step.DONE for step, _ in steps.values())
            text = f"answered; {moving} of {len(steps)} partitions moving"
            bar.update(task, total=total, completed=done, description=text)

        yield tell


def resent(sent: Submission, steps: Steps, kinds: Sequence[FailureKind]) -> Iterator[str]:
    """What a retry of failures of *kinds* sent, and what it could not."""
    shards = (*sent.sent, *sent.adopted)
    first = sum(shard.requests for shard in shards if shard.attempt == 1)
    count = sent.requests - first
    new = f" {first} more had not been sent before." if first else ""
    none = "" if sent.requests or sent.waiting else " No failed row is left that this names."
    yield f"{count} requests sent again.{new}{none}"
    if FailureKind.REJECTED not in kinds:
        return
    if count:
        yield "They are the same requests as before: what they were rejected for may come again."
    unsent = sum(summary.counts.rejected for _, summary in steps.values())
    if unsent:
        yield (
            f"{unsent} rows were rejected before sending and have no line to send: error_message "
            "in their results says why. Change the row or the limit, and `run` sends them."
        )


def _short(amount: Decimal | None) -> str:
    """Six digits after the point: enough to compare lines; report.json has all nine."""
    return money(amount) if amount is None or amount >= 1 else f"${amount:.6f}"


def _count(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
