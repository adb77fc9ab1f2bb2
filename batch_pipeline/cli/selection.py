"""Which partitions a command is about: `--partition`, `--from` and `--to` as names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from batch_pipeline.errors import UsageError
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.stages.requests.periods import Calendar


def select(
    shell: Pipeline,
    partitions: Sequence[str],
    *,
    first: str | None = None,
    last: str | None = None,
    built: bool = False,
    asked: bool = False,
) -> list[str]:
    """The partitions a person means: those named, a range, or all; UsageError if none fits.

    They are looked for in the dataset, or with *built* among those with a request table; with
    *asked* also among those that a run was asked for and has not built.
    """
    if shell.job.partitions.kind == "none" and (partitions or first or last):
        raise UsageError(f"{shell.job.name} is not partitioned: leave the partition out.")
    if partitions and (first or last):
        raise UsageError("--partition names partitions, --from and --to a range: use one.")
    if partitions:
        return _named(partitions, _known(shell, asked=asked) if built else partitions, shell)
    there = _known(shell, asked=asked) if built else shell.partitions()
    chosen = within(there, first, last, order=_order(shell))
    if not chosen:
        what = "was built yet" if built else "is in the dataset"
        span = f" from {first or 'the first'} to {last or 'the last'}" if first or last else ""
        raise UsageError(f"{shell.job.name}: no partition{span} {what}.")
    return chosen


def _known(shell: Pipeline, *, asked: bool) -> list[str]:
    steps = shell.steps().items()
    return [name for name, (_, one) in steps if one.counts.digest or (asked and one.asked)]


def _named(names: Sequence[str], known: Sequence[str], shell: Pipeline) -> list[str]:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "`status` lists those that were."
            raise UsageError(f"{shell.job.name}: partition {name!r} was never built. {hint}")
    return list(dict.fromkeys(names))


def within(
    names: Sequence[str],
    first: str | None,
    last: str | None,
    *,
    order: Callable[[str], str] = str,
) -> list[str]:
    """The stretch from *first* to *last*, both included, in the order of *names*.

    An end that is not among the names is compared as the text that *order* makes of it.
    """
    start = names.index(first) if first in names else None
    end = names.index(last) if last in names else None
    low = None if first is None else order(first)
    high = None if last is None else order(last)
    return [
        name
        for at, name in enumerate(names)
        if (low is None or (at >= start if start is not None else order(name) >= low))
        and (high is None or (at <= end if end is not None else order(name) <= high))
    ]


def _order(shell: Pipeline) -> Callable[[str], str]:
    """Names as texts that sort as the partitions do: times as times, whatever their format."""
    partitions = shell.job.partitions
    if partitions.kind in {"none", "static"}:
        return str
    calendar = Calendar(partitions)
    return lambda name: calendar.start_of(name).isoformat()
