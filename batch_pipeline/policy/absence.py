"""When something that a provider should have is believed to be gone, and when we look again.

One "not found" says little: listings lag, files show up late, a gateway has a bad hour. Absence is
believed when it lasts, and even then looking again is free: only a person's word pays again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from batch_pipeline.model import Missed, Observation, RemoteStatus, Shard
from batch_pipeline.policy.clocks import known_time
from batch_pipeline.settings import CLOCK_JUMP

BELIEVED_AFTER = timedelta(hours=6)
"""How long something must have been missed, by the provider's clock, before a person is told."""
BELIEVED_LOOKS = 4
"""And how many looks in that time must have been in vain."""
FIRST_PAUSE = timedelta(seconds=30)
"""Between the first look in vain and the next; it doubles from there."""
LONGEST_PAUSE = timedelta(hours=2)
"""Until it is believed."""
STAYED_FOR = timedelta(seconds=60)
"""A process that waits for all else does not stay for a look that is farther away."""
SLOW_PAUSE = timedelta(hours=6)
"""Afterwards."""
LOOKED_FOR = timedelta(days=31)
"""No provider keeps the answers of a batch for longer after it was made; then looking ends."""
WARY = timedelta(days=2)
"""How long after a doubt the listing is read for a batch that nobody knows: it runs for a day."""


_NAMES = {
    Missed.BATCH: "The provider has not found the batch",
    Missed.ANSWERS: "The provider has not found the file of its answers",
    Missed.END: "The batch has not ended, long after its window closed",
}


@dataclass(frozen=True, slots=True)
class Absence:
    """What is missed, since when, and what follows; *believed* is for a person to act on."""

    what: Missed
    since: datetime  # by the provider's clock
    looks: int
    look_at: datetime | None  # by ours; None: it cannot be there any more
    believed: bool

    def told(self, said: str) -> str:
        """What a person reads in `status`; *said* are the provider's words."""
        times = "once" if self.looks == 1 else f"{self.looks} times"
        head = f"{_NAMES[self.what]}, since {self.since:%Y-%m-%d %H:%M} UTC; looked {times}."
        at = self.look_at
        next_look = "It is kept no longer." if at is None else f"Next look {at:%Y-%m-%d %H:%M} UTC"
        if not self.believed:
            return f"{head} {next_look}; nothing is sent again. {said}"
        free = "" if at is None else ", or with `run`, for free: if it is there, it goes on. "
        return (
            f"{head} {next_look}{free or ' '}{said} `batch-pipeline retry --lost` gives it up and "
            "sends its rows again, at their full price."
        )


def missed(shard: Shard, what: Missed, *, there: datetime, now: datetime) -> Absence:
    """One more look in vain at the shard's batch; *there* is the provider's time, *now* ours."""
    again = shard.missed is what and shard.missed_since is not None
    since = min(shard.missed_since or there, there) if again else there
    looks = shard.looks + 1 if again else 1
    until = shard.remote.results_until if shard.remote is not None else None
    believed = is_believed(since, looks, now=there, until=until)
    if what is Missed.END:  # its window was over for a day already; once more it is asked to stop
        believed = looks > 1
    open_still = _may_be_there(shard, what, until, now=there)
    look_at = now + pause(looks, believed=believed) if open_still else None
    return Absence(what, since, looks, look_at, believed or not open_still)


def pause(looks: int, *, believed: bool) -> timedelta:
    """How long we wait after *looks* looks in vain: 30 s, doubling to 2 h; then 6 h."""
    if believed:
        return SLOW_PAUSE
    return min(FIRST_PAUSE * float(2 ** min(looks - 1, 10)), LONGEST_PAUSE)


def is_believed(since: datetime, looks: int, *, now: datetime, until: datetime | None) -> bool:
    """True when it has been missed for hours, or the provider's own time for keeping it is over.

    *now* is the provider's; *until* is when it forgets the answers, if that is known.
    """
    if until is not None and now > until:
        return True
    return looks >= BELIEVED_LOOKS and now - since >= BELIEVED_AFTER


def may_be_billed(seen: Observation) -> bool:
    """Whether rows of a batch ran, as far as was seen; a cancel may have reset its counts."""
    if seen.status in {RemoteStatus.COMPLETED, RemoteStatus.EXPIRED}:
        return seen.completed > 0
    return seen.status is not RemoteStatus.FAILED


def is_due(look_at: datetime | None, *, now: datetime) -> bool:
    """True when it is time for another look; a time far ahead was written by a wrong clock."""
    return look_at is not None and (look_at <= now or look_at > now + CLOCK_JUMP)


def _may_be_there(shard: Shard, what: Missed, until: datetime | None, *, now: datetime) -> bool:
    """Whether the provider could still hold it, so that looking again has a sense."""
    if what is Missed.ANSWERS and until is not None:
        return now <= until
    made = (known_time(shard.remote.created_at) if shard.remote else None) or shard.submitted_at
    return made is None or now <= made + LOOKED_FOR
