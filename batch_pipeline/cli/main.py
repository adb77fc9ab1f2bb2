"""The commands and their options; what a command does is loaded when it runs."""

from __future__ import annotations

from batch_pipeline import loading  # first: what follows takes a while
from batch_pipeline.interrupts import as_usual

# isort: split

import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer
from dotenv import load_dotenv

import batch_pipeline
from batch_pipeline import cli
from batch_pipeline.cli.output import Exit, PlainFormatter, print_json
from batch_pipeline.errors import BatchPipelineError, UsageError
from batch_pipeline.model import FailureKind

app = typer.Typer(
    help="Parquet datasets through LLM batch APIs: nothing paid is lost, every cent is known.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

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


def _version(*, asked: bool) -> None:
    if asked:
        sys.stdout.write(f"batch-pipeline {batch_pipeline.__version__}\n")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which this is."),
    ] = False,
) -> None:
    pass


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
    cli.verbs.run(cli.verbs.Asked(job, partition or [], first, last, as_json), wait=wait)


@app.command()
def backfill(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Send many partitions as one submission that shares batches, and come back at once.

    All that the dataset has, a range, or those named; what is answered or on its way costs nothing.
    Says what is still to come: Dagster's watch collects it, or `batch-pipeline run`.
    """
    cli.verbs.backfill(cli.verbs.Asked(job, partition or [], first, last, as_json))


@app.command()
def status(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Where each partition stands, from ledger and store; asks no provider and costs nothing."""
    cli.verbs.status(cli.verbs.Asked(job, partition or [], first, last, as_json))


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
    cli.verbs.retry(
        cli.verbs.Asked(job, partition or [], first, last, as_json),
        kinds=kind or [],
        custom_ids=custom_id or [],
        run_id=failed_in_run,
        lost=lost,
        wait=wait,
    )


@app.command()
def report(
    job: Job,
    partition: Partition = None,
    first: From = None,
    last: To = None,
    as_json: AsJson = False,
) -> None:
    """Tokens and cost per partition and model, at batch price and live; also kept in the store."""
    cli.verbs.report(cli.verbs.Asked(job, partition or [], first, last, as_json))


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
    cli.verbs.reparse(cli.verbs.Asked(job, partition or [], first, last, as_json), fetch=fetch)


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
    cli.verbs.cancel(cli.verbs.Asked(job, partition or [], first, last, as_json))


@app.command()
def release(job: Job, as_json: AsJson = False) -> None:
    """Let go what a failed canary or a hold of the job stops; `run` or the watch goes on."""
    cli.verbs.release(job, as_json=as_json)


@app.command()
def check(
    jobs: Annotated[
        list[str] | None, typer.Argument(help="Names or YAML files; else all the project has.")
    ] = None,
    data: Annotated[bool, typer.Option(help="Look at the datasets' columns too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong in job files, with file and line; asks no provider, needs no key.

    Exit code 2 when anything is wrong. A model that is retired or known to nobody is a warning.
    """
    cli.offline.check(jobs or [], data=data, as_json=as_json)


@app.command()
def providers(
    name: Annotated[str | None, typer.Argument(help="One provider or service; else all.")] = None,
    as_json: AsJson = False,
) -> None:
    """What each provider takes, allows and keeps, with sources and the day they were read."""
    cli.offline.providers(name, as_json=as_json)


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
        print_json({"simulated": True, **{one.name: root + one.path for one in PROVIDERS}})
        sys.stdout.flush()
    loading.end()
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


def _complain(error: BaseException) -> None:
    terminal = cli.terminal
    terminal.say(terminal.ERR, "error:", style="bold red", end=" ")
    terminal.say(terminal.ERR, str(error))


if __name__ == "__main__":
    main()
