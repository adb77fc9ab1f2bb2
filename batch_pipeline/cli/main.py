"""The command line: arguments in, one call, numbers out; each command speaks JSON with --json."""

from __future__ import annotations

from batch_pipeline.interrupts import as_usual, heeded  # first: what follows takes a while

# isort: split

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from dotenv import load_dotenv
from rich.console import Console

from batch_pipeline import jobfile
from batch_pipeline.cli import offline, terminal
from batch_pipeline.cli.selection import select
from batch_pipeline.cli.terminal import (
    PlainFormatter,
    progress,
    resent,
    say,
    show_report,
    show_status,
    show_stopped,
    why_not_done,
)
from batch_pipeline.errors import BatchPipelineError, UsageError
from batch_pipeline.model import FailureKind
from batch_pipeline.pipeline import Pipeline
from batch_pipeline.pipeline.checking import doubts
from batch_pipeline.pipeline.standing import Steps
from batch_pipeline.pipeline.status import of_stopped
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.stages.shards.cut import Only


class Exit(IntEnum):
    """What the exit code means; scripts rely on it."""

    DONE = 0  # every request accounted for, none failed
    ERROR = 1  # the run failed; the message says what to do
    USAGE = 2  # wrong usage or a bad job file
    FAILED_ROWS = 3  # every request accounted for, some failed for good
    INTERRUPTED = 130  # Ctrl-C; run again to go on


app = typer.Typer(
    help="Parquet datasets through LLM batch APIs: nothing paid is lost, every cent is known.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_out, _err = Console(), Console(stderr=True)
_STOPPED = "Stopped. What was sent goes on at the provider; the same command goes on from here."

Job = Annotated[str, typer.Argument(help="A job's name, or the path of its YAML file.")]
Partition = Annotated[
    list[str] | None, typer.Option("--partition", "-p", help="A partition; may be repeated.")
]
From = Annotated[str | None, typer.Option("--from", help="First partition of a range.")]
To = Annotated[str | None, typer.Option("--to", help="Last partition of a range, included.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; an error of ours is one message and an exit code, no traceback."""
    load_dotenv(".env")  # as Dagster does; what is set already stays
    spoken = logging.StreamHandler(sys.stderr)
    spoken.setFormatter(PlainFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[spoken])
    try:
        app(args)
    except UsageError as error:
        _complain(error)
        sys.exit(Exit.USAGE)
    except BatchPipelineError as error:
        _complain(error)
        sys.exit(Exit.ERROR)


@app.command()
def run(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    wait: Annotated[bool, typer.Option(help="Stay until every request is accounted for.")] = True,
    as_json: AsJson = False,
) -> None:
    """Build requests, send them, wait, collect, retry and report: the whole loop.

    Running it again resumes, and costs nothing for what is answered. Exit codes: 0 every request
    accounted for (with --no-wait: sent), 3 the same but failed rows are left over, 1 error.
    """
    with _opened(job) as shell:
        for doubt in doubts(shell.job, on=datetime.now(UTC).date()):
            _err.print(f"warning: {doubt}", markup=False, highlight=False, soft_wrap=True)
        names = select(shell, partition or [], first=first, last=last)
        run_id = f"cli-{uuid4().hex[:12]}"
        with progress(_err, quiet=as_json) as tell:
            steps = shell.run(names, run_id=run_id, wait=wait, tell=tell)
        _finish(shell, names, steps, as_json=as_json, waited=wait)


@app.command()
def status(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Where each partition stands, from ledger and store; asks no provider and costs nothing."""
    with _opened(job, reading=True) as shell:
        names = select(shell, partition or [], first=first, last=last, built=True)
        steps = shell.steps_of(names)
        if as_json:
            _print_json({"job": shell.job.name, **shell.standing(steps)})
            return
        now, skews = shell.now(), shell.skews()
        shards = shell.shards(names)
        odd = shell.oddities(shards)
        show_status(_out, steps, shards, now=now, skews=skews, odd=odd)


@app.command()
def retry(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    kind: Annotated[
        list[FailureKind] | None, typer.Option("--kind", help="Only failures of this kind.")
    ] = None,
    custom_id: Annotated[
        list[str] | None, typer.Option("--custom-id", help="Only this custom_id.")
    ] = None,
    failed_in_run: Annotated[
        str | None, typer.Option("--run", help="Only what failed in this past run.")
    ] = None,
    lost: Annotated[
        bool, typer.Option("--lost", help="Also rows of batches that the provider lost: paid anew.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Stay until every request is accounted for.")] = True,
    as_json: AsJson = False,
) -> None:
    """Send failed custom_ids again as the next attempt, and nothing else.

    Without a selection the job's own retry policy decides; a selection goes beyond max_attempts,
    and sends rejected rows too: the same requests as before.
    """
    only = Only(  # None does not restrict, and an empty selection would select nothing
        custom_ids=tuple(custom_id) if custom_id else None,
        kinds=tuple(one.value for one in kind) if kind else None,
        run_id=failed_in_run,
    )
    named = bool(custom_id or kind or failed_in_run)
    with _opened(job) as shell:
        names = select(shell, partition or [], first=first, last=last, built=True)
        run_id = f"cli-{uuid4().hex[:12]}"
        sent = shell.resend(
            names, run_id=run_id, only=only if named else None, lost=lost, again=True
        )
        if not as_json:
            for line in resent(sent, shell.steps_of(names), kind or []):
                say(_out, line)
        with progress(_err, quiet=as_json) as tell:
            steps = shell.follow(names, run_id=run_id, tell=tell) if wait else shell.steps_of(names)
        _finish(shell, names, steps, as_json=as_json, waited=wait)


@app.command()
def report(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Tokens and cost per partition and model, at batch price and live; also kept in the store."""
    with _opened(job, reading=True) as shell:
        names = select(shell, partition or [], first=first, last=last, built=True)
        made = shell.report(names)
        if as_json:
            sys.stdout.write(made.to_json() + "\n")
        else:
            show_report(_out, made)
        if not shell.writable:
            say(_err, "The store can only be read: report.md and report.json were not written.")


@app.command()
def reparse(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Also fetch raw files that are gone or not whole.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read the raw answers in the store again, into outcomes and results; needs no key.

    For a changed output schema's types, a newer version of this tool, or files that were lost.
    """
    with _opened(job) as shell:
        names = select(shell, partition or [], first=first, last=last, built=True)
        made = shell.reparse(names, fetch=fetch)
        if as_json:
            shards = [shard.shard_id for shard in made.shards]
            landed = sorted(made.landed)
            _print_json({"job": shell.job.name, "shards": shards, "partitions": landed})
            return
        say(_out, f"{len(made.shards)} shards read again, {len(made.landed)} partitions written.")


@app.command()
def cancel(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Take back what was not sent, ask the provider to stop the rest; finished rows stay yours.

    Nothing is sent for these partitions until somebody asks for it again. Exit code 1 when the
    provider would not stop a batch; the message says which, and why.
    """
    with _opened(job) as shell:
        names = select(shell, partition or [], first=first, last=last, built=True)
        stopped = shell.stop(names)
        if as_json:
            _print_json({"job": shell.job.name, **of_stopped(stopped)})
        else:
            show_stopped(_out, stopped)
        if stopped.refused or (stopped.foreign and not stopped.shards):
            raise typer.Exit(Exit.ERROR)


@app.command()
def release(job: Job, as_json: AsJson = False) -> None:
    """Let go what a failed canary or a hold of the job stops; `run` or the watch goes on."""
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
            _print_json({"job": shell.job.name, **canary, "lifted": reasons})
            return
        for reason in [*([] if released is None else [released.reason]), *reasons]:
            say(_out, f"Released. {reason}")


app.command()(offline.check)
app.command()(offline.providers)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8900,
    state: Annotated[Path, typer.Option(help="Folder for its state.")] = Path(
        "data/store/simulator"
    ),
    speed: Annotated[float, typer.Option(help="Simulated seconds per second.")] = 1.0,
    seconds: Annotated[float, typer.Option(help="Seconds until a batch is done.")] = 4.0,
    faults: Annotated[Path | None, typer.Option(help="Fault script (YAML).")] = None,
    max_requests: Annotated[int, typer.Option(help="Lines a file may hold.")] = 50_000,
    max_file_bytes: Annotated[int, typer.Option(help="Bytes a file may hold.")] = 200_000_000,
    enqueued_tokens: Annotated[int, typer.Option(help="Tokens a model queues.")] = 2_000_000_000,
    as_json: AsJson = False,
) -> None:
    """Serve the providers' batch APIs on loopback; answers are simulated and cost nothing."""
    try:
        from batch_pipeline.simulator.limits import Limits  # noqa: PLC0415 - only this one needs it
        from batch_pipeline.simulator.server import PROVIDERS, serve  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from None

    if as_json:
        root = f"http://127.0.0.1:{port}"
        _print_json({"simulated": True, **{one.name: root + one.path for one in PROVIDERS}})
        sys.stdout.flush()
    with as_usual(), redirect_stdout(sys.stderr) if as_json else nullcontext():
        serve(
            port=port,
            state_dir=state,
            speed=speed,
            seconds_to_complete=seconds,
            faults=faults,
            limits=Limits(
                max_requests=max_requests,
                max_file_bytes=max_file_bytes,
                enqueued_tokens=enqueued_tokens,
            ),
        )


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
            say(_err, _STOPPED)
            raise typer.Exit(Exit.INTERRUPTED) from None


def _finish(
    shell: Pipeline, names: list[str], steps: Steps, *, as_json: bool, waited: bool
) -> None:
    standing = shell.standing(steps)
    made = shell.report(names) if waited else None
    if as_json:
        cost = None if made is None else json.loads(made.to_json())
        _print_json({"job": shell.job.name, **standing, "report": cost})
    else:
        _out.print(terminal.steps_table(steps))
        if made is not None:
            show_report(_out, made)
    if waited and any(step is not Step.DONE for step, _ in steps.values()):
        raise BatchPipelineError("\n".join(why_not_done(steps, shell.shards(names))))
    failed = sum(summary.counts.failed for _, summary in steps.values())
    if failed and waited:
        text = (
            f"{failed} requests failed for good. `batch-pipeline retry --kind KIND` sends those of "
            "a kind again, whatever the retry policy says."
        )
        say(_err, text)
        raise typer.Exit(Exit.FAILED_ROWS)


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


def _complain(error: BaseException) -> None:
    say(_err, "error:", style="bold red", end=" ")
    say(_err, str(error))


if __name__ == "__main__":
    main()
