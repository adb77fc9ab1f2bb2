"""Sending as it was asked for: by a person now, or by a run that left its ask in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from batch_pipeline.model import Ask
from batch_pipeline.pipeline import (
    asking,
    building,
    canary,
    cancelling,
    sending,
    standing,
)
from batch_pipeline.pipeline.asking import Wish
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.sending import Submission
from batch_pipeline.policy.lifecycle import is_left
from batch_pipeline.stages.shards.pending import Only


def as_asked(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    wish: Wish,
    *,
    run_id: str | None,
) -> Submission:
    """Send it: what is by hand lifts holds, and gives up and lets go what the wish says."""
    if wish.by_hand:
        surely = wish.again or wish.release or wish.only is not None
        cancelling.let_go(records, runtime, partitions, lost=wish.lost, unmatched=surely)
        if wish.release:
            canary.release(records, runtime)
    return sending.submit(
        records,
        clients,
        runtime,
        partitions,
        run_id=run_id,
        only=wish.only,
        by_hand=wish.by_hand,
    )


def by_itself(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    *,
    run_id: str | None,
    only: Only | None = None,
    build: bool = False,
) -> Submission:
    """Send what is due though nobody asks now: first what runs were asked for and left, as asked.

    With *build* what they left unbuilt is built. A partition without a request table is left out.
    """
    if build:
        left = [one.partition for one in left_open(records, runtime, partitions) if one.to_build]
        building.build_each(records, clients, runtime, list(dict.fromkeys(left)))
    wishes: dict[Wish, list[str]] = {}
    for one in left_open(records, runtime, partitions):
        if not one.to_build:
            wishes.setdefault(asking.wish_of(one), []).append(one.partition)
    done = Submission()
    for wish, names in wishes.items():
        done = done.and_then(as_asked(records, clients, runtime, names, wish, run_id=run_id))
    there = [
        name for name in partitions if records.store.requests_table(records.job.name, name).exists()
    ]
    sent = sending.submit(records, clients, runtime, there, run_id=run_id, only=only)
    return done.and_then(sent)


def left_open(records: Records, runtime: Runtime, partitions: Sequence[str]) -> list[Ask]:
    """What runs were asked of these partitions, and left; not what a later hold stops."""
    return [
        one
        for _, summary in standing.of(records, runtime, partitions).values()
        for one in summary.asked
        if is_left(one, summary.holds, now=runtime.now())
    ]
