"""One job, ready to run: every verb of the command line and of the Dagster assets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from batch_pipeline import pipeline
from batch_pipeline.model import CanaryRecord, Hold, Shard, ShardState
from batch_pipeline.pipeline import standing
from batch_pipeline.pipeline.checking import check
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime, utc_now
from batch_pipeline.pipeline.standing import Steps, Tell
from batch_pipeline.providers.patience import Patience
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.results.oddities import Oddities, oddities_of
from batch_pipeline.store.files import Store
from batch_pipeline.store.ledger import Ledger

if TYPE_CHECKING:  # names in signatures: a verb's file is loaded by who first calls it
    from batch_pipeline.errors import DatasetError
    from batch_pipeline.pipeline.asking import Wish
    from batch_pipeline.pipeline.cancelling import Stopped
    from batch_pipeline.pipeline.collecting import Collected
    from batch_pipeline.pipeline.failed_rows import Failures
    from batch_pipeline.pipeline.sending import Submission
    from batch_pipeline.pipeline.watching import Watched
    from batch_pipeline.stages.bill.report import CostReport
    from batch_pipeline.stages.requests.build import RequestsBuilt
    from batch_pipeline.stages.shards.cut import Only


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The shell of one job. Every verb can be run again; none waits for a provider."""

    records: Records
    clients: Clients
    runtime: Runtime

    @classmethod
    def open(
        cls,
        job: BatchJob,
        *,
        env: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        hurried: bool = False,
        reading: bool = False,
    ) -> Self:
        """Open store and ledger; StoreError when one cannot be written, SpecError for the job.

        *hurried* is for a sensor's tick: a provider that does not answer at once is left alone.
        With *reading* a store that can only be read will do.
        """
        env = os.environ if env is None else env
        settings = settings or Settings.from_env(env)
        job = job.resolved(Path.cwd())
        registry = check(job, settings)
        store = Store(settings.store)
        writable = store.is_writable()
        if writable or not reading:
            store.check_writable()
        ledger = Ledger.open(settings.ledger(), reading=reading)
        patience = Patience(sleep=sleep)
        if hurried:
            patience = replace(patience, tries=1, answer=10.0)
        return cls(
            Records(job, store, ledger, registry.sellers, writable),
            Clients(registry, env, now, patience),
            Runtime(settings, ledger, store.scratch, now, sleep),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections of ledger and providers."""
        self.records.ledger.close()
        self.clients.close()
        self.runtime.close()

    @property
    def job(self) -> BatchJob:
        """The job, files read in and paths absolute."""
        return self.records.job

    @property
    def writable(self) -> bool:
        """False: the store can only be read, and nothing is written to it."""
        return self.records.writable

    def now(self) -> datetime:
        """The time that this shell goes by."""
        return self.runtime.now()

    def results_file(self, partition: str) -> Path:
        """Where the partition's results are, once they have landed."""
        return self.records.store.results_file(self.job.name, partition)

    def report_file(self, partition: str) -> Path:
        """Where the partition's report is, as Markdown."""
        return self.records.store.report_file(self.job.name, "md", partition=partition)

    def page_of(self, shard: Shard) -> str | None:
        """The batch's page at its provider, if there is one and this shell spoke to it anyway."""
        client = self.clients.made_client(shard.provider)
        if client is None or shard.batch_id is None:
            return None
        return client.dashboard_url(quote(shard.batch_id))

    def partitions(self) -> list[str]:
        """The partitions the dataset has, in order; `all` alone when it is not partitioned."""
        return pipeline.building.partitions(self.records)

    def build(self, partitions: Iterable[str]) -> dict[str, RequestsBuilt]:
        """Render the requests of the partitions; equal input gives equal bytes."""
        return pipeline.building.build(self.records, self.clients, self.runtime, list(partitions))

    def build_each(
        self, partitions: Iterable[str]
    ) -> tuple[dict[str, RequestsBuilt], dict[str, DatasetError]]:
        """`build`, for who goes on with what could be built; the rest, each with its reason."""
        return pipeline.building.build_each(
            self.records, self.clients, self.runtime, list(partitions)
        )

    def submit(
        self,
        partitions: Iterable[str],
        *,
        run_id: str | None = None,
        only: Only | None = None,
        by_itself: bool = False,
    ) -> Submission:
        """Send what is not answered, not in flight and may be sent.

        *by_itself*: nobody asked, so holds are heeded and withheld rows stay.
        """
        names = list(partitions)
        pipeline.selecting.check_named(self.records, names, only)
        only = pipeline.selecting.resolved(self.records, only)
        pipeline.collecting.mend(self.records, self.clients, self.runtime, names)
        if by_itself:
            return pipeline.resuming.by_itself(
                self.records, self.clients, self.runtime, names, run_id=run_id, only=only
            )
        pipeline.holds.lift(self.records, names, unmatched_too=only is not None)
        return pipeline.sending.submit(
            self.records, self.clients, self.runtime, names, run_id=run_id, only=only, by_hand=True
        )

    def watch(self) -> Watched:
        """Look at batches in flight and record it."""
        return pipeline.watching.watch(self.records, self.clients, self.runtime)

    def steps(self) -> Steps:
        """The next step of every partition that was ever built, or that a run was asked for."""
        return standing.steps(self.records, self.runtime)

    def collect(self, partitions: Iterable[str]) -> Collected:
        """Fetch what has ended and land the partitions whose rows are all answered."""
        return pipeline.collecting.collect(
            self.records, self.clients, self.runtime, list(partitions)
        )

    def reparse(self, partitions: Iterable[str], *, fetch: bool = False) -> Collected:
        """Make outcomes and results anew from the raw bytes in the store: no key, no network.

        With *fetch* the provider is asked for raw files that are gone or not whole.
        """
        return pipeline.collecting.reparse(
            self.records, self.clients, self.runtime, list(partitions), fetch=fetch
        )

    def report(self, partitions: Iterable[str]) -> CostReport:
        """What the partitions cost, written to the store; only those that have landed."""
        return pipeline.reporting.report(self.records, self.clients, self.runtime, list(partitions))

    def shards(
        self,
        partitions: Sequence[str] | None = None,
        states: Iterable[ShardState] | None = None,
    ) -> list[Shard]:
        """The job's shards, oldest first."""
        return self.records.ledger.shards(
            self.job.name, partitions=partitions, states=None if states is None else list(states)
        )

    def noted(self) -> list[Shard]:
        """Shards at a provider of which a person should know something, oldest first."""
        return self.records.ledger.absences.noted(self.job.name)

    def cancel(self, partitions: Sequence[str] | None = None) -> list[Shard]:
        """Take back what was not sent and ask the provider to stop the rest; keeps paid rows."""
        return self.stop(partitions).shards

    def stop(self, partitions: Sequence[str] | None = None) -> Stopped:
        """`cancel`, with what was refused and why."""
        return pipeline.cancelling.cancel(self.records, self.clients, self.runtime, partitions)

    def resend(
        self,
        partitions: Iterable[str],
        *,
        run_id: str | None = None,
        only: Only | None = None,
        lost: bool = False,
        release: bool = False,
        again: bool = False,
    ) -> Submission:
        """`submit`, for a person: lifts holds, and with *lost* gives up batches that are gone.

        With *release* also those of a failed canary. What may have been answered under names that
        nobody sent goes only with *only*, *again* or *release*.

        Raises the provider's refusal when a person has to act; what waiting mends is no error.
        """
        names = list(partitions)
        for name in names:
            pipeline.planning.table(self.records, name)  # what was never built must leave no trace
        pipeline.selecting.check_named(self.records, names, only)
        only = pipeline.selecting.resolved(self.records, only)
        wish = pipeline.asking.Wish(only=only, lost=lost, release=release, again=again)
        with self._asked(names, wish, run_id=run_id, to_build=False):
            pipeline.collecting.mend(self.records, self.clients, self.runtime, names)
            sent = pipeline.resuming.as_asked(
                self.records, self.clients, self.runtime, names, wish, run_id=run_id
            )
        if sent.problem is not None and not pipeline.running.waiting_helps(sent.problem):
            raise sent.problem
        return sent

    def ask(self, partitions: Iterable[str], wish: Wish, *, run_id: str) -> None:
        """Note what a run is about to build and send, so that another does it if this one dies.

        Whoever launched the run tells whether it is live, as Dagster does: no process is named.
        """
        pipeline.asking.note(
            self.records, self.runtime, list(partitions), wish, run_id=run_id, to_build=True
        )

    def left_unbuilt(self, partitions: Sequence[str]) -> list[str]:
        """Of these, what runs were asked for and did not build."""
        left = pipeline.resuming.left_open(self.records, self.runtime, partitions)
        unbuilt = {one.partition for one in left if one.to_build}
        return [name for name in partitions if name in unbuilt]

    def _asked(
        self, partitions: Sequence[str], wish: Wish, *, run_id: str | None, to_build: bool
    ) -> AbstractContextManager[None]:
        return pipeline.asking.noted(
            self.records, self.runtime, partitions, wish, run_id=run_id, to_build=to_build
        )

    def lift(self) -> list[Hold]:
        """Take away every hold of the job but a person's and a canary's; which they were."""
        return pipeline.holds.lift(self.records, None, unmatched_too=True)

    def release(self) -> CanaryRecord | None:
        """Let the rows that a failed canary holds go with the next submit; None: none is held."""
        return pipeline.canary.release(self.records, self.runtime)

    def run(
        self,
        partitions: Iterable[str],
        *,
        run_id: str | None = None,
        wait: bool = True,
        tell: Tell = lambda _: None,
    ) -> Steps:
        """Build, send, wait, collect and retry until nothing moves.

        Without *wait* only build and send; then what keeps it from being sent is raised. A
        partition whose data cannot be read is raised at the end: the others run.
        """
        wanted = list(partitions)
        with self._asked(wanted, pipeline.asking.Wish(), run_id=run_id, to_build=True):
            built, unread = self.build_each(wanted)
            problem = pipeline.building.together(unread) if unread else None
            if problem is not None and not built:
                raise problem
            names = [name for name in wanted if name in built]
            sent = self.resend(names, run_id=run_id)
        steps = self.follow(names, run_id=run_id, tell=tell) if wait else self.steps_of(names)
        if not wait and sent.problem is not None:
            raise sent.problem
        if problem is not None:
            raise problem
        return steps

    def follow(
        self,
        partitions: Iterable[str],
        *,
        run_id: str | None = None,
        tell: Tell = lambda _: None,
    ) -> Steps:
        """What the watch sensor does, in this process, until nothing moves any more."""
        return pipeline.running.drive(
            self.records, self.clients, self.runtime, list(partitions), run_id=run_id, tell=tell
        )

    def steps_of(self, partitions: Iterable[str]) -> Steps:
        """The steps of these partitions, as far as they were ever built."""
        return standing.of(self.records, self.runtime, list(partitions))

    def standing(self, steps: Steps) -> dict[str, object]:
        """Numbers for scripts: totals, and each partition's step and counts."""
        shards = self.shards(list(steps))
        odd = self.oddities(shards)
        return pipeline.status.of(steps, shards, now=self.now(), skews=self.skews(), odd=odd)

    def oddities(self, shards: Iterable[Shard]) -> Oddities:
        """What the result files of these shards held beside one counted line a request."""
        store = self.records.store
        return oddities_of([store.outcomes_file(one.job, one.shard_id) for one in shards])

    def skews(self) -> dict[str, float]:
        """How many seconds our clock was ahead of a provider's, where they were far apart."""
        return self.records.ledger.absences.skews()

    def reports(self, partitions: Iterable[str]) -> dict[str, CostReport]:
        """Each partition's own report, written to the store; then the job's."""
        return pipeline.reporting.reports(
            self.records, self.clients, self.runtime, list(partitions)
        )

    def failed_rows(self, partitions: Iterable[str]) -> Failures:
        """What stands failed, what a retry would do with it and cost; all of it as Parquet too."""
        return pipeline.failed_rows.of_partitions(
            self.records, self.clients, self.runtime, list(partitions)
        )

    def failed_in_run(self, run_id: str, collected: Sequence[Shard] | None = None) -> Failures:
        """The same of what a run had sent; or of the shards that it has just *collected*."""
        rows, parts = pipeline.failed_rows, (self.records, self.clients, self.runtime)
        if collected is None:
            return rows.of_run(*parts, run_id)
        return rows.of_shards(*parts, [shard.shard_id for shard in collected], run_id)

    def partitions_of_run(self, run_id: str) -> list[str]:
        """The partitions of what a past run had sent or collected; UsageError if it did neither."""
        shards = pipeline.failed_rows.shards_of_run(self.records, run_id)
        return sorted({name for shard in shards for name in shard.partitions})
