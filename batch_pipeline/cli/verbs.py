"""What the commands of a job do: one call of the shell each, and its numbers told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import uuid4

import typer

from batch_pipeline import cli, jobfile
from batch_pipeline.cli.output import Exit, print_json
from batch_pipeline.cli.selection import select
from batch_pipeline.errors import BatchPipelineError, UsageError
from batch_pipeline.interrupts import heeded
from batch_pipeline.model import FailureKind
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.checking import doubts
from batch_pipeline.pipeline.standing import Steps
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.policy.lifecycle import Step

_STOPPED = "Stopped. What was sent goes on at the provider; the same command goes on from here."


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which job and partitions a command speaks, and whether it speaks JSON."""

    job: str
    partitions: Sequence[str]
    first: str | None
    last: str | None
    as_json: bool


def run(asked: Asked, *, wait: bool) -> None:
    """The whole loop."""
    with _opened(asked.job) as shell:
        for doubt in doubts(shell.job, on=datetime.now(UTC).date()):
            cli.terminal.ERR.print(
                f"warning: {doubt}", markup=False, highlight=False, soft_wrap=True
            )
        names = _selected(shell, asked)
        run_id = _run_id()
        with cli.terminal.progress(cli.terminal.ERR, quiet=asked.as_json) as tell:
            steps = shell.run(names, run_id=run_id, wait=wait, tell=tell)
        _finish(shell, names, steps, as_json=asked.as_json, waited=wait)


def backfill(asked: Asked) -> None:
    """One submission of many partitions; what is told is also told where some cannot be read."""
    with _opened(asked.job) as shell:
        names = _selected(shell, asked)
        problem: BatchPipelineError | None = None
        try:
            shell.run(names, run_id=_run_id(), wait=False)
        except BatchPipelineError as error:
            problem = error
        steps = shell.steps_of(names)
        if asked.as_json:
            print_json({"job": shell.job.name, **shell.standing(steps)})
        else:
            shards = shell.shards(list(steps))
            for line in cli.terminal.to_come(shell.job.name, steps, shards):
                cli.terminal.say(cli.terminal.OUT, line)
        if problem is not None:
            raise problem


def status(asked: Asked) -> None:
    """Where partitions stand."""
    with _opened(asked.job, reading=True) as shell:
        names = _selected(shell, asked, built=True, also_asked=True)
        steps = shell.steps_of(names)
        if asked.as_json:
            print_json({"job": shell.job.name, **shell.standing(steps)})
            return
        now, skews = shell.now(), shell.skews()
        shards = shell.shards(names)
        odd = shell.oddities(shards)
        cli.terminal.show_status(cli.terminal.OUT, steps, shards, now=now, skews=skews, odd=odd)


def retry(
    asked: Asked,
    *,
    kinds: Sequence[FailureKind],
    custom_ids: Sequence[str],
    run_id: str | None,
    lost: bool,
    wait: bool,
) -> None:
    """Failed rows again: those that the job's policy names, or these."""
    from batch_pipeline.stages.shards.cut import Only  # noqa: PLC0415 - it loads much

    only = Only(  # None does not restrict, and an empty selection would select nothing
        custom_ids=tuple(custom_ids) if custom_ids else None,
        kinds=tuple(one.value for one in kinds) if kinds else None,
        run_id=run_id,
    )
    named = bool(custom_ids or kinds or run_id)
    with _opened(asked.job) as shell:
        names = _selected(shell, asked, built=True)
        own = _run_id()
        sent = shell.resend(names, run_id=own, only=only if named else None, lost=lost, again=True)
        if not asked.as_json:
            for line in cli.terminal.resent(sent, shell.steps_of(names), kinds):
                cli.terminal.say(cli.terminal.OUT, line)
        with cli.terminal.progress(cli.terminal.ERR, quiet=asked.as_json) as tell:
            steps = shell.follow(names, run_id=own, tell=tell) if wait else shell.steps_of(names)
        _finish(shell, names, steps, as_json=asked.as_json, waited=wait)


def report(asked: Asked) -> None:
    """What it cost."""
    with _opened(asked.job, reading=True) as shell:
        names = _selected(shell, asked, built=True)
        made = shell.report(names)
        if asked.as_json:
            sys.stdout.write(made.to_json() + "\n")
        else:
            cli.bills.show_report(cli.terminal.OUT, made)
        if not shell.writable:
            text = "The store can only be read: report.md and report.json were not written."
            cli.terminal.say(cli.terminal.ERR, text)


def reparse(asked: Asked, *, fetch: bool) -> None:
    """Outcomes and results anew."""
    with _opened(asked.job) as shell:
        names = _selected(shell, asked, built=True)
        made = shell.reparse(names, fetch=fetch)
        if asked.as_json:
            shards = [shard.shard_id for shard in made.shards]
            landed = sorted(made.landed)
            print_json({"job": shell.job.name, "shards": shards, "partitions": landed})
            return
        read, written = len(made.shards), len(made.landed)
        cli.terminal.say(
            cli.terminal.OUT, f"{read} shards read again, {written} partitions written."
        )


def cancel(asked: Asked) -> None:
    """Stop what can be stopped."""
    with _opened(asked.job) as shell:
        names = _selected(shell, asked, built=True, also_asked=True)
        stopped = shell.stop(names)
        if asked.as_json:
            print_json({"job": shell.job.name, **stopped.as_values()})
        else:
            cli.terminal.show_stopped(cli.terminal.OUT, stopped)
        if stopped.refused or (stopped.foreign and not stopped.shards):
            raise typer.Exit(Exit.ERROR)


def release(job: str, *, as_json: bool) -> None:
    """Let go what a canary or a hold of the job stops."""
    with _opened(job) as shell:
        lifted, released = shell.lift(), shell.release()
        if released is None and not lifted:
            raise UsageError(
                f"{shell.job.name}: no canary of today's request content is held, and nothing else "
                "holds the job. A partition that a person cancelled goes on with `run`."
            )
        reasons = list(dict.fromkeys(hold.reason for hold in lifted))
        if as_json:
            canary = {} if released is None else asdict(released)
            print_json({"job": shell.job.name, **canary, "lifted": reasons})
            return
        for reason in [*([] if released is None else [released.reason]), *reasons]:
            cli.terminal.say(cli.terminal.OUT, f"Released. {reason}")


@contextmanager
def _opened(reference: str, *, reading: bool = False) -> Iterator[Pipeline]:
    with heeded() as heed:
        try:
            with (
                said(),
                Pipeline.open(
                    jobfile.load_job(reference), sleep=heed.sleep, reading=reading
                ) as shell,
            ):
                yield shell
        except BaseException as error:  # an interrupt may come out as an error of whom it met
            if not (heed.asked or isinstance(error, KeyboardInterrupt)):
                raise
            cli.terminal.say(cli.terminal.ERR, _STOPPED)
            raise typer.Exit(Exit.INTERRUPTED) from None


def _selected(
    shell: Pipeline, asked: Asked, *, built: bool = False, also_asked: bool = False
) -> list[str]:
    first, last = asked.first, asked.last
    return select(shell, asked.partitions, first=first, last=last, built=built, asked=also_asked)


def _run_id() -> str:
    return f"cli-{uuid4().hex[:12]}"


def _finish(
    shell: Pipeline, names: list[str], steps: Steps, *, as_json: bool, waited: bool
) -> None:
    standing = shell.standing(steps)
    made = shell.report(names) if waited else None
    if as_json:
        cost = None if made is None else json.loads(made.to_json())
        print_json({"job": shell.job.name, **standing, "report": cost})
    else:
        cli.terminal.OUT.print(cli.terminal.steps_table(steps))
        if made is not None:
            cli.bills.show_report(cli.terminal.OUT, made)
    if waited and any(step is not Step.DONE for step, _ in steps.values()):
        raise BatchPipelineError("\n".join(cli.terminal.why_not_done(steps, shell.shards(names))))
    failed = sum(summary.counts.failed for _, summary in steps.values())
    if failed and waited:
        text = (
            f"{failed} requests failed for good. `batch-pipeline retry --kind KIND` sends those of "
            "a kind again, whatever the retry policy says."
        )
        cli.terminal.say(cli.terminal.ERR, text)
        raise typer.Exit(Exit.FAILED_ROWS)
