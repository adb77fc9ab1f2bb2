"""Where things stand, and all that is said, as it fits a terminal: quick to load.

The one way of this program to a terminal: what comes from data is text there and no markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from batch_pipeline.escaping import line as one_line
from batch_pipeline.escaping import plain
from batch_pipeline.model import AT_PROVIDER, IN_FLIGHT, FailureKind, Shard
from batch_pipeline.pipeline.standing import Steps, Tell
from batch_pipeline.policy.clocks import clock_is_off
from batch_pipeline.policy.lifecycle import MOVING, Step
from batch_pipeline.policy.retention import runs_out, told
from batch_pipeline.stages.results.oddities import Oddities, found

if TYPE_CHECKING:  # names in signatures, whose files load much
    from batch_pipeline.pipeline.cancelling import Stopped
    from batch_pipeline.pipeline.sending import Submission

OUT, ERR = Console(), Console(stderr=True)
NONE: Mapping[str, float] = MappingProxyType({})
_REASONS = 5
_UNTOLD = "`batch-pipeline status` shows where its shards are."
NAME = 10  # a day; longer names go on in the next line, where the terminal is narrow


def say(out: Console, text: str, *, style: str = "", end: str = "\n") -> None:
    """Print *text* as it is, however long: neither markup nor an escape code in it acts."""
    out.print(Text(plain(text), style=style), soft_wrap=True, end=end)


def cell(text: str) -> Text:
    """A name in a table, as it is."""
    return Text(one_line(text))


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    return ", ".join(one_line(name) for name in names)


def steps_table(steps: Steps) -> Table:
    """One row per partition: where it stands."""
    table = Table(box=None, pad_edge=False)
    table.add_column("partition", overflow="fold", min_width=NAME)
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
        yield f"held {_span(names)}: {reason}"
    yield from _asked(steps)
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


def _asked(steps: Steps) -> Iterator[str]:
    """What runs were asked to send and did not, and what they could not read."""
    asked = [(name, one) for name, (_, summary) in steps.items() for one in summary.asked]
    left = list(dict.fromkeys(name for name, one in asked if one.problem is None))
    if left:
        yield (
            f"asked for, not sent yet: {_span(left)}. The watch asks for a run that does; so does "
            "`batch-pipeline run`."
        )
    for name, one in asked:
        if one.problem is not None:
            yield f"not sent {one_line(name)}: {one_line(one.problem)}"


def _span(names: Sequence[str]) -> str:
    span = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)})"
    return one_line(span)


def to_come(job: str, steps: Steps, shards: Iterable[Shard]) -> Iterator[str]:
    """What a backfill sent, and who does the rest."""
    states = Counter(step for step, _ in steps.values())
    there = [shard for shard in shards if shard.state in AT_PROVIDER]
    requests = sum(shard.requests for shard in there)
    batches = "1 batch" if len(there) == 1 else f"{len(there):,} batches"
    yield f"{len(steps):,} partitions: {requests:,} requests are at the provider in {batches}."
    if states[Step.DONE]:
        yield f"{states[Step.DONE]:,} of them are finished; nothing of these was sent again."
    yield from notes(steps)
    if states[Step.SUBMIT]:
        yield f"{states[Step.SUBMIT]:,} partitions are to be sent as soon as there is room."
    if states[Step.BLOCKED]:
        yield f"{states[Step.BLOCKED]:,} partitions are blocked: `status` says by what."
    if any(step in MOVING for step in states):
        yield (
            f"Still to come: answers within the provider's window, often a day. Dagster's {job}_"
            f"watch collects, retries and lands them; without Dagster, `batch-pipeline run {job}`."
        )


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
    from rich.progress import (  # noqa: PLC0415 - most commands wait for nothing
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

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
