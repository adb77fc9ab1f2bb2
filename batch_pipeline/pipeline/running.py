"""The whole loop without a Dagster daemon: what the watch sensor does, in one patient process."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from batch_pipeline.errors import ProviderError, Throttled, Unavailable
from batch_pipeline.model import ON_THE_WAY, ShardState
from batch_pipeline.pipeline import collecting, fetching, resuming, standing, watching
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.standing import Steps, Tell, in_flight
from batch_pipeline.policy.absence import STAYED_FOR
from batch_pipeline.policy.lifecycle import MOVING, Step

log = logging.getLogger("batch_pipeline")

_LONGEST_PAUSE = 900.0  # seconds: others may have sent something meanwhile


def drive(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    *,
    run_id: str | None,
    tell: Tell,
) -> Steps:
    """Watch, collect and retry until nothing moves any more; returns where each partition stands.

    For what is missed at the provider it stays a minute or two: the next run, or the watch, looks
    again. Raises the provider's refusal when a person has to act; when all else is done, what
    could not be read or written, or a refusal of whole batches. A passing fault is waited out.
    """
    refusal: ProviderError | None = None
    stuck: dict[str, collecting.Stuck] = {}
    while True:
        with waited_out():
            _watch(records, clients, runtime)
        steps = standing.of(records, runtime, partitions)
        tell(steps)
        going = {name: at for name, at in steps.items() if name not in stuck}
        if not any(step in MOVING for step, _ in going.values()):
            break
        moved = False
        with waited_out():
            collected, trouble = _collect(records, clients, runtime, going)
            if trouble is not None:
                stuck |= dict.fromkeys(_still_to_collect(records, runtime, going), trouble)
            if collected is not None and collected.refusal is not None:
                refusal = collected.refusal
            moved = _send(records, clients, runtime, going, run_id) or collected is not None
        if not moved:
            if _waits_for_what_is_missed(records, runtime, going):
                break
            _stop_at_another_account(records, clients, going)
            runtime.sleep(_pause(runtime, going))
    for problem in (*stuck.values(), refusal):
        if problem is not None:
            raise problem
    return steps


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


def _pause(runtime: Runtime, steps: Steps) -> float:
    """Until the next look; longer when all that is waited for is a time that we know."""
    moving = [summary for step, summary in steps.values() if step in MOVING]
    looks = [one.next_look for one in moving if one.next_look is not None]
    if len(looks) < len(moving) or any(in_flight(one) for one in moving):
        return runtime.settings.poll_seconds
    until = (min(looks) - runtime.now()).total_seconds()
    return max(runtime.settings.poll_seconds, min(until, _LONGEST_PAUSE))


def _watch(records: Records, clients: Clients, runtime: Runtime) -> None:
    problem = watching.watch(records, clients, runtime).problem
    if problem is not None:
        raise problem


def _collect(
    records: Records, clients: Clients, runtime: Runtime, steps: Steps
) -> tuple[collecting.Collected | None, collecting.Stuck | None]:
    """What was collected, and what could not be."""
    names = _at(steps, Step.COLLECT)
    try:
        return (collecting.collect(records, clients, runtime, names) if names else None), None
    except collecting.Stuck as error:
        return error.collected, error


def _still_to_collect(records: Records, runtime: Runtime, steps: Steps) -> list[str]:
    """Of what was to be collected, the partitions that still are, or all of it."""
    names = _at(steps, Step.COLLECT)
    return _at(standing.of(records, runtime, names), Step.COLLECT) or names


def _send(
    records: Records, clients: Clients, runtime: Runtime, steps: Steps, run_id: str | None
) -> bool:
    """Send what is due; False when that changed nothing at the provider."""
    names = [*_at(steps, Step.SUBMIT), *_at(steps, Step.RETRY)]
    if not names:
        return False
    done = resuming.by_itself(records, clients, runtime, names, run_id=run_id, build=True)
    if done.problem is not None and not waiting_helps(done.problem):
        raise done.problem
    return bool(done.sent or done.adopted)


def _at(steps: Steps, wanted: Step) -> list[str]:
    return [name for name, (step, _) in steps.items() if step is wanted]


def _waits_for_what_is_missed(records: Records, runtime: Runtime, steps: Steps) -> bool:
    """True when all that is on its way was not found, and the next look is not soon."""
    names = [name for name, (step, _) in steps.items() if step in MOVING]
    states = [*ON_THE_WAY, ShardState.ENDED]
    waiting = records.ledger.shards(records.job.name, partitions=names, states=states)
    soon = runtime.now() + STAYED_FOR
    late = [one for one in waiting if one.missed and one.look_at and one.look_at > soon]
    return bool(waiting) and len(late) == len(waiting)


def _stop_at_another_account(records: Records, clients: Clients, steps: Steps) -> None:
    """Waiting is in vain when all that is on its way belongs to a key we do not have."""
    names = [name for name, (step, _) in steps.items() if step in MOVING]
    waiting = records.ledger.shards(records.job.name, partitions=names, states=ON_THE_WAY)
    foreign = [
        shard
        for shard in waiting
        if shard.account is not None and shard.account != clients.client(shard.provider).account
    ]
    if foreign and len(foreign) == len(waiting):
        raise fetching.another_account(foreign)
