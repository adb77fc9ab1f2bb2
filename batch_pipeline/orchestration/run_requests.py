"""Which runs are due: neighbouring partitions with one need are one run, asked for once."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

import dagster as dg

from batch_pipeline.model import PartitionSummary
from batch_pipeline.orchestration import history, naming
from batch_pipeline.orchestration.naming import asset_job, asset_key
from batch_pipeline.orchestration.partitions import partitions_def, range_tags, ranges
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.spec import BatchJob

MOST_RUNS = 50
"""Runs of one tick; the next tick asks for the others."""
Steps = Mapping[str, tuple[Step, PartitionSummary]]

_ASSET_JOBS = {
    Step.COLLECT: naming.COLLECT,
    Step.SUBMIT: naming.SUBMIT,
    Step.RETRY: naming.RETRY_FAILED,
}
_PRIORITY = {Step.COLLECT: "10", Step.RETRY: "5", Step.SUBMIT: "5"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The runs that are due, and what a person should know of those that are not asked for."""

    runs: list[dg.RunRequest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def asked(instance: dg.DagsterInstance, job: BatchJob, steps: Steps, *, now: datetime) -> Asked:
    """One run for each stretch of partitions that need the same and have no live run."""
    found = Asked()
    needs = [(_need(stretch, steps), stretch) for stretch in _stretches(instance, job, steps)]
    tried = history.tries(instance, [need for need, _ in needs])
    for need, stretch in needs:
        runs = asset_job(job, _ASSET_JOBS[stretch.step])
        number, last = tried.get((runs, need), (0, None))
        match history.may_ask(number, last, now=now):
            case True:
                found.runs.append(_run_request(job, stretch, need, number))
            case False:
                found.notes.append(
                    f"{stretch}: try {number} of {runs} failed or changed nothing; "
                    f"the next follows within {history.PAUSES[number] // 60} min."
                )
            case None:
                found.notes.append(
                    f"{stretch}: gave up after {number} runs of {runs} that failed or changed "
                    f"nothing. Their own errors say why; mend it, then launch {runs} for these "
                    "partitions."
                )
    return found


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Partitions from *first* to *last*, of which those in *due* have the step before them."""

    step: Step
    first: str
    last: str
    due: tuple[str, ...]
    unbuilt: bool = False  # a run was asked for some of it, and did not build it

    def __str__(self) -> str:
        return self.first if self.first == self.last else f"{self.first}..{self.last}"


def _stretches(instance: dg.DagsterInstance, job: BatchJob, steps: Steps) -> Iterator[_Stretch]:
    known = _known(job, steps)
    place = {name: at for at, name in enumerate(known)}
    for step in _ASSET_JOBS:
        ready = [name for name, (at, _) in steps.items() if at is step and name in place]
        if not ready:
            continue
        rivals = [naming.COLLECT] if step is Step.COLLECT else [naming.SUBMIT, naming.RETRY_FAILED]
        taken = history.busy(instance, [asset_job(job, name) for name in rivals], known)
        free = [name for name in ready if name not in taken]
        bridges = {name for name in known if _passes_over(step, steps.get(name))} - taken
        spans = list(ranges(free, known, bridges=bridges))
        begins = [place[first] for first, _ in spans]
        due: defaultdict[int, list[str]] = defaultdict(list)
        for name in free:
            due[bisect_right(begins, place[name]) - 1].append(name)
        for at, (first, last) in enumerate(spans):
            unbuilt = step is Step.SUBMIT and any(
                one.to_build for name in due[at] for one in steps[name][1].asked
            )
            yield _Stretch(step, first, last, tuple(due[at]), unbuilt)


def _passes_over(step: Step, standing: tuple[Step, PartitionSummary] | None) -> bool:
    """Whether a run may hold the partition though it is not due: it does nothing for it.

    A collect run lands what is due alone. One that sends looks at all of its partitions: only
    what is finished, and not held back by a person, has nothing to send.
    """
    if step is Step.COLLECT:
        return True
    return standing is not None and standing[0] is Step.DONE and standing[1].held is None


def _run_request(job: BatchJob, stretch: _Stretch, need: str, earlier: int) -> dg.RunRequest:
    """The key counts earlier tries: a crashed run is asked for again, a live one is not."""
    step, name = stretch.step, asset_job(job, _ASSET_JOBS[stretch.step])
    asset, config = (
        ("results", {"only_due": True})
        if step is Step.COLLECT
        else ("batches", {"lift_holds": False})
    )
    partitioned = job.partitions.kind != "none"
    ops: dict[str, object] = {f"{job.name}__{asset}": {"config": config}}
    if stretch.unbuilt:
        ops[f"{job.name}__requests"] = {"config": {"only_asked": True}}
    alone = step is Step.SUBMIT and not stretch.unbuilt
    return dg.RunRequest(
        run_key=f"{name}/{need}/{earlier}",
        job_name=name,
        asset_selection=[asset_key(job, "batches")] if alone else None,
        run_config={"ops": ops},
        tags={
            history.NEED_TAG: need,
            "dagster/priority": _PRIORITY[step],
            **(range_tags(stretch.first, stretch.last) if partitioned else {}),
        },
    )


def _need(stretch: _Stretch, steps: Steps) -> str:
    """The stretch and a digest of what the ledger says of it: the same need is the same text."""
    facts = []
    for name in stretch.due:
        summary = steps[name][1]
        counts, shards = summary.counts, sorted(summary.shards.items())
        known = (counts.digest, counts.collected, counts.landed, counts.failed)
        asked = [(one.run_id, str(one.asked_at), one.to_build) for one in summary.asked]
        facts.append((name, *known, shards, str(summary.next_look), *asked))
    return f"{stretch} {sha256(repr(facts).encode()).hexdigest()[:8]}"


def _known(job: BatchJob, steps: Steps) -> list[str]:
    """The partitions in Dagster's order: a stretch of a run is a stretch of these."""
    definition = partitions_def(job.partitions)
    return list(steps) if definition is None else list(definition.get_partition_keys())
