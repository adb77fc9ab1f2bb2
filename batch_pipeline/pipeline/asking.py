"""What a run is asked to send, written before anything is built: another run sends what it leaves.

An ask is gone with the transaction that plans it, or when nothing of it is to be sent. Data that
cannot be read closes it: its reason stays until somebody asks again and the data can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from batch_pipeline.errors import DatasetError, PartitionError, UsageError
from batch_pipeline.model import Ask
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.stages.shards.pending import Only

_BUSY = timedelta(minutes=10)
"""How long a run of another host is taken to be at it; on this one we see whether it lives."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How it is to be sent: whatever policy says, or *only* these rows; see Pipeline.resend."""

    only: Only | None = None
    lost: bool = False
    release: bool = False
    again: bool = False
    by_hand: bool = True

    def options(self) -> dict[str, object]:
        """As the ledger keeps it; what is by hand has a column of its own."""
        return {name: value for name, value in asdict(self).items() if name != "by_hand"}


def wish_of(ask: Ask) -> Wish:
    """What was asked for, from the ledger."""
    said: dict[str, Any] = dict(ask.options)
    only = said.pop("only")
    if only is not None:  # JSON knows no tuples
        values: dict[str, Any] = {}
        for name, one in only.items():
            values[name] = tuple(one) if isinstance(one, list) else one
        only = Only(**values)
    return Wish(only=only, by_hand=ask.by_hand, **said)


def note(
    records: Records,
    runtime: Runtime,
    partitions: Collection[str],
    wish: Wish,
    *,
    run_id: str,
    to_build: bool,
    owner: str | None = None,
) -> None:
    """Write it, in one transaction; without an owner, others tell whether the run is live."""
    now = runtime.now()
    records.ledger.asked.put(
        Ask(
            job=records.job.name,
            partition=name,
            run_id=run_id,
            asked_at=now,
            to_build=to_build,
            by_hand=wish.by_hand,
            options=wish.options(),
            owner=owner,
            busy_until=None if owner is None else now + _BUSY,
        )
        for name in dict.fromkeys(partitions)
    )


@contextmanager
def noted(
    records: Records,
    runtime: Runtime,
    partitions: Collection[str],
    wish: Wish,
    *,
    run_id: str | None,
    to_build: bool,
) -> Iterator[None]:
    """The block sends it. What is left of it then, or after a crash, is anybody's to send."""
    asker, ledger = run_id or runtime.owner, records.ledger.asked
    note(
        records,
        runtime,
        partitions,
        wish,
        run_id=asker,
        to_build=to_build,
        owner=runtime.owner,
    )
    try:
        yield
    except UsageError as error:
        if not isinstance(error, DatasetError):  # a mistake in what was asked
            mine = ledger.standing(records.job.name, partitions)
            ledger.forget([one for one in mine if one.run_id == asker])
        raise
    finally:
        ledger.let_go(records.job.name, owner=runtime.owner)


def answered_by(
    records: Records, partitions: Sequence[str], only: Only | None, *, by_hand: bool
) -> list[Ask]:
    """The asks that a plan of these partitions is the answer to."""
    return [
        one
        for one in records.ledger.asked.standing(records.job.name, partitions)
        if one.problem is None
        and not one.to_build
        and (by_hand or not one.by_hand)
        and wish_of(one).only == only
    ]


def built(
    records: Records,
    asks: Collection[Ask],
    made: Collection[str],
    unread: Mapping[str, Exception],
) -> None:
    """What came of building for those *asks* that were there before it began.

    Of a partition that the dataset has not, there is nothing to send, and nothing to remember.
    """
    absent = {name for name, error in unread.items() if isinstance(error, PartitionError)}
    told = {name: str(error) for name, error in unread.items() if name not in absent}
    theirs = [one for one in asks if one.partition in made or one.partition in told]
    if theirs:
        records.ledger.asked.built(theirs, told)
    records.ledger.asked.forget([one for one in asks if one.partition in absent])
