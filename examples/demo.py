"""`make demo`: a month of reviews through three providers' batch APIs, all on this machine.

The simulator stands in for the providers, over real HTTP, with faults. Dagster runs the job on
OpenAI in this process, with the history of `make dev`, so that its pages show the same runs
afterwards; then the same job runs on Anthropic and Mistral without Dagster, to compare.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

os.environ.setdefault("DAGSTER_HOME", str(Path(".dagster_home").absolute()))
warnings.filterwarnings("ignore", category=Warning, module="dagster")

import dagster as dg  # noqa: E402 - its home has to be known first
from rich.console import Console  # noqa: E402

from batch_pipeline import jobfile  # noqa: E402
from batch_pipeline.cli.bills import show_comparison, show_report  # noqa: E402
from batch_pipeline.cli.terminal import say  # noqa: E402
from batch_pipeline.definitions import defs  # noqa: E402
from batch_pipeline.orchestration.local import LocalDagster  # noqa: E402
from batch_pipeline.pipeline import Pipeline  # noqa: E402
from batch_pipeline.policy.lifecycle import MOVING  # noqa: E402
from batch_pipeline.spec import BatchJob, Target  # noqa: E402
from batch_pipeline.stages.bill.report import CostReport  # noqa: E402
from batch_pipeline.whole_files import folder_made  # noqa: E402

try:
    from batch_pipeline.simulator.limits import Pace
    from batch_pipeline.simulator.server import Simulator
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error}") from None

JOB = "review_triage"
PORT = int(os.environ.get("SIMULATOR_PORT", "8900"))  # the same as `make dev`: one account to us
ELSEWHERE = [
    Target(provider="anthropic", model="claude-haiku-4-5"),
    Target(provider="mistral", model="mistral-small-latest"),
]
FAULTS = Path(__file__).parent / "demo_faults.yaml"
out = Console(highlight=False)


def main() -> None:
    """Submit all partitions as one backfill run, let the watch sensor do the rest, show it."""
    began = time.monotonic()
    state = Path(os.environ.get("BATCH_PIPELINE_STORE", "data/store")) / "simulator"
    folder_made(state)
    pace = Pace(seconds_to_complete=2)
    with Simulator(state_dir=state, faults=FAULTS, pace=pace, port=PORT) as simulator:
        os.environ.update(simulator.env)
        os.environ["BATCH_PIPELINE_POLL_SECONDS"] = "0.5"
        os.environ["BATCH_PIPELINE_SETTLE_SECONDS"] = "2"
        with Pipeline.open(jobfile.load_job(JOB)) as shell:
            partitions = shell.partitions()
            say(out, f"{JOB}: {len(partitions)} days, {partitions[0]} to {partitions[-1]}")
            _run(shell, partitions)
            _show(shell, partitions, began, calls=len(simulator.log()))
            _compare(shell, partitions)
        out.print(f"{time.monotonic() - began:.1f} s in all. Running this again sends nothing.")


def _run(shell: Pipeline, partitions: list[str]) -> None:
    with dg.DagsterInstance.get() as instance:
        dagster = LocalDagster(defs(), instance, sleep=time.sleep, tick_seconds=0.5)
        dagster.submit(JOB, partitions)
        dagster.run_to_end(
            JOB,
            moving=lambda: any(step in MOVING for step, _ in shell.steps().values()),
            told=_new(set()),
        )


def _new(told: set[str]) -> Callable[[str], None]:
    """Print a line of the loop the first time it is said."""

    def tell(text: str) -> None:
        if text not in told:
            told.add(text)
            say(out, f"  {text}")

    return tell


def _show(shell: Pipeline, partitions: list[str], began: float, *, calls: int) -> None:
    for attempt, shards in groupby(shell.shards(partitions), key=lambda shard: shard.attempt):
        out.print(f"attempt {attempt}  {sum(shard.requests for shard in shards):,} requests sent")
    report = shell.report(partitions)
    show_report(out, report)
    store = shell.records.store
    say(out, f"results  {store.results_file(JOB, partitions[0]).parent.parent}")
    say(out, f"report   {store.report_file(JOB, 'md')}")
    out.print(
        f"{calls} HTTP calls, {time.monotonic() - began:.1f} s. "
        "`make dev` shows the same in Dagster."
    )


def _compare(shell: Pipeline, partitions: list[str]) -> None:
    """The same job on the other providers, and all of them side by side."""
    out.print("\nThe same job with another provider and model:")
    with ThreadPoolExecutor() as threads:
        found = threads.map(lambda target: _elsewhere(shell.job, target, partitions), ELSEWHERE)
    reports = {"openai": shell.report(partitions)}
    reports |= {target.provider: one for target, one in zip(ELSEWHERE, found, strict=True)}
    show_comparison(out, reports)


def _elsewhere(job: BatchJob, target: Target, partitions: list[str]) -> CostReport:
    """The whole loop of the job under a name of its own, sent to *target*."""
    other = job.model_copy(update={"name": f"{job.name}_{target.provider}", "targets": [target]})
    with Pipeline.open(other) as shell:
        shell.run(partitions, run_id="demo")
        return shell.report(partitions)


if __name__ == "__main__":
    main()
