"""A person stops the sending, or asks for it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from batch_pipeline.errors import ProviderError
from batch_pipeline.model import (
    AT_PROVIDER,
    TERMINAL,
    UNCLEAR,
    HoldKind,
    Observation,
    RemoteStatus,
    Shard,
    ShardState,
)
from batch_pipeline.pipeline import holds, planning
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime

CANCELLED = "cancelled by a person"
_Why = TypeVar("_Why", str, None)


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a cancel: *refused* says which batches go on, and in whose words."""

    withdrawn: tuple[Shard, ...] = ()  # never sent, and their rows are free
    asked: tuple[Shard, ...] = ()  # the provider stops them
    over: tuple[Shard, ...] = ()  # had ended by then
    refused: tuple[tuple[Shard, str], ...] = ()
    foreign: tuple[Shard, ...] = ()  # another account's: its key can stop them
    unclear: tuple[Shard, ...] = ()  # perhaps sent: not sent again, and looked for by `run`

    @property
    def shards(self) -> list[Shard]:
        """Those that are stopped, or are over."""
        return [*self.withdrawn, *self.asked, *self.over]

    def as_values(self) -> dict[str, object]:
        """The same as plain values, for `--json`."""
        return {
            "cancelled": [shard.shard_id for shard in self.shards],
            "over": [shard.shard_id for shard in self.over],
            "refused": {shard.shard_id: why for shard, why in self.refused},
            "of_another_account": [shard.shard_id for shard in self.foreign],
            "in_doubt": [shard.shard_id for shard in self.unclear],
        }


def cancel(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str] | None
) -> Stopped:
    """Withdraw what was not sent, and ask the provider to stop what was.

    Rows of other partitions that were planned with them are planned again without them. Batches
    of another account than ours are left alone: their key can stop them. A batch whose stop is
    refused keeps no other from being asked.
    """
    name, ledger = records.job.name, records.ledger
    asks = ledger.asked.standing(name, partitions)
    held = partitions or [
        *(counts.partition for counts in ledger.partitions(name)),
        *(one.partition for one in asks),
    ]
    holds.put(records, held, HoldKind.PERSON, CANCELLED, now=runtime.now())
    ledger.asked.forget(asks)
    planned = ledger.shards(name, partitions=partitions, states=[ShardState.PLANNED])
    ledger.withdraw([shard.shard_id for shard in planned], now=runtime.now())
    others = {other for shard in planned for other in shard.partitions} - set(held)
    if others:
        planning.plan(records, clients, runtime, sorted(others))
    running = ledger.shards(name, partitions=partitions, states=[ShardState.SUBMITTED])
    ours = [shard for shard in running if shard.account == clients.client(shard.provider).account]
    said = {shard.shard_id: _stop(records, clients, runtime, shard) for shard in ours}
    now = {shard.shard_id: ledger.shard(shard.shard_id) for shard in (*planned, *ours)}
    return Stopped(
        withdrawn=tuple(now[shard.shard_id] for shard in planned),
        asked=tuple(now[name] for name, why in said.items() if why is True),
        over=tuple(now[name] for name, why in said.items() if why is False),
        refused=tuple((now[name], why) for name, why in said.items() if isinstance(why, str)),
        foreign=tuple(shard for shard in running if shard not in ours),
        unclear=tuple(ledger.shards(name, partitions=partitions, states=UNCLEAR)),
    )


def _stop(records: Records, clients: Clients, runtime: Runtime, shard: Shard) -> bool | str:
    """True: it stops. False: it was over. Else why it goes on, which `status` says too."""
    client = clients.client(shard.provider)
    try:
        seen = client.cancel(str(shard.batch_id))
    except ProviderError as error:
        return _note(records, runtime, shard, f"The provider refused to stop it: {error}")
    records.ledger.observe(client.account, [seen], now=runtime.now(), ended=[])
    if shard.missed is None and shard.message is not None:  # of an earlier stop that was refused
        _note(records, runtime, shard, None)
    if seen.status is RemoteStatus.CANCELLED or _stops(seen):
        return True
    if seen.status in TERMINAL:
        return False
    told = f"The provider took the call, and batch {seen.batch_id} is still {seen.raw_status!r}."
    return _note(
        records, runtime, shard, f"{told} Ask again later, or stop it on the provider's own page."
    )


def _stops(seen: Observation) -> bool:
    return seen.status is RemoteStatus.ENDING


def _note(records: Records, runtime: Runtime, shard: Shard, why: _Why) -> _Why:
    now, batch_id = runtime.now(), shard.batch_id
    records.ledger.absences.note(shard.shard_id, message=why, now=now, batch_id=batch_id)
    return why


def let_go(
    records: Records,
    runtime: Runtime,
    partitions: Sequence[str],
    *,
    lost: bool,
    unmatched: bool = False,
) -> None:
    """A person asks again: lift holds, free the rows of shards that the provider never took.

    With *unmatched* also the hold of answers that nobody could match. Batches that are missed are
    looked at with the next poll, at no cost. With *lost* they are given up; their rows are paid
    again.
    """
    name, ledger = records.job.name, records.ledger
    ledger.holds.lift(name, {HoldKind.PERSON}, partitions=partitions)
    holds.lift(records, partitions, unmatched_too=unmatched)
    ledger.absences.look_now(name, partitions, now=runtime.now())
    if lost:
        for shard in ledger.shards(name, partitions=partitions, states=AT_PROVIDER):
            if shard.missed is not None:
                ledger.failed(shard.shard_id, message=str(shard.message), now=runtime.now())
    failed = ledger.shards(name, partitions=partitions, states=[ShardState.FAILED])
    free = [shard.shard_id for shard in failed if lost or shard.batch_id is None]
    # Not planned as they are: cut anew, they follow the limits of today.
    ledger.withdraw(free, now=runtime.now(), failed=True)
