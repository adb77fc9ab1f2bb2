"""What may be sent now: the gates are asked, and what they say is written once.

A gate is a pure decision of `policy/` with a function here that brings it what it wants to know.
Today there is the canary. A gate that counts what is out (limits, money) is asked here too, and
its numbers move with the shard, in `store/moves`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from batch_pipeline.model import Hold, HoldKind
from batch_pipeline.pipeline import canary
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.policy.admission import Ruling, at_most
from batch_pipeline.stages.shards.pending import Pending

_GATES = (canary.ruling,)
_THEIRS = frozenset({HoldKind.CANARY})
"""Holds that the gates put, and lift when they open."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The rows that go now; *ahead* of the others, which wait for what comes of them."""

    pending: Pending
    ahead: bool = False


def admit(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    pending: Pending,
    partitions: Sequence[str],
) -> Admitted:
    """Ask every gate, and note in the ledger how many rows of each partition wait and who holds."""
    rulings = [gate(records, clients, runtime, pending) for gate in _GATES]
    bound = at_most(rulings)
    now, rest = (pending, pending.between(0, 0)) if bound is None else pending.first_of_each(bound)
    waiting = np.bincount(rest.table, minlength=len(partitions)).tolist()
    _note(records, runtime, dict(zip(partitions, waiting, strict=True)), rulings)
    return Admitted(now, any(ruling.ahead for ruling in rulings))


def _note(
    records: Records, runtime: Runtime, deferred: Mapping[str, int], rulings: Collection[Ruling]
) -> None:
    """Write what changed of these partitions: mostly nothing does."""
    job, ledger, now = records.job.name, records.ledger, runtime.now()
    wanted = [
        Hold(job, name, ruling.kind, ruling.reason, now)
        for ruling in rulings
        if ruling.reason is not None
        for name, rows in deferred.items()
        if rows
    ]
    known = {one.partition: one.deferred for one in ledger.partitions(job)}
    standing = {
        (hold.partition, hold.kind): hold.reason
        for hold in ledger.holds.standing(job)
        if hold.kind in _THEIRS and hold.partition in deferred
    }
    same = standing == {(hold.partition, hold.kind): hold.reason for hold in wanted}
    if not same or any(known.get(name, 0) != rows for name, rows in deferred.items()):
        ledger.holds.admitted(job, deferred, wanted, kinds=_THEIRS, now=now)
