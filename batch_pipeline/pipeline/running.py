"""The whole loop without a Dagster daemon: what the watch sensor does, in one patient process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from batch_pipeline.errors import ProviderError, Throttled, Unavailable
from batch_pipeline.model import PartitionSummary
from batch_pipeline.pipeline import collecting, sending, watching
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.policy.lifecycle import Step

log = logging.getLogger("batch_pipeline")

Steps = dict[str, tuple[Step, PartitionSummary]]
Tell = Callable[[Steps], None]

_MOVING = {Step.SUBMIT, Step.COLLECT, Step.RETRY, Step.WAIT}


def drive(work: Workplace, partitions: Sequence[str], *, run_id: str | None, tell: Tell) -> Steps:
    """Watch, collect and retry until nothing moves any more; returns where each partition stands.

    Raises the provider's refusal when a person has to act; a passing fault is waited out.
    """
    while True:
        with waited_out():
            watching.watch(work)
        steps = of(work, partitions)
        tell(steps)
        acted = _act(work, steps, run_id)
        if not acted and not any(step in _MOVING for step, _ in steps.values()):
            return steps
        if not acted:
            work.sleep(work.settings.poll_seconds)


def of(work: Workplace, partitions: Sequence[str]) -> Steps:
    """The steps of these partitions alone."""
    known = watching.steps(work)
    return {name: known[name] for name in partitions if name in known}


def waiting_helps(error: ProviderError) -> bool:
    """True when the same call may be made again later."""
    return isinstance(error, Throttled | Unavailable)


@contextmanager
def waited_out() -> Iterator[None]:
    """Let a passing fault pass; the next round tries again."""
    try:
        yield
    except (Throttled, Unavailable) as error:
        log.warning("the provider is not answering: %s", error)


def _act(work: Workplace, steps: Steps, run_id: str | None) -> bool:
    collect = list(_at(steps, Step.COLLECT))
    send = [*_at(steps, Step.SUBMIT), *_at(steps, Step.RETRY)]
    if collect:
        with waited_out():
            collecting.collect(work, collect)
    if send:
        done = sending.submit(work, send, run_id=run_id)
        if done.problem is not None and not waiting_helps(done.problem):
            raise done.problem
    return bool(collect or send)


def _at(steps: Steps, wanted: Step) -> Iterator[str]:
    return (name for name, (step, _) in steps.items() if step is wanted)
