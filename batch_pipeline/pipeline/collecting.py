"""From ended batches to results: raw bytes first, then outcomes, then one row per request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from batch_pipeline.errors import (
    AccountStop,
    NotFound,
    ProviderError,
    Refused,
    StoreError,
)
from batch_pipeline.model import (
    FailureKind,
    Fault,
    Missed,
    Problem,
    RemoteStatus,
    Shard,
    ShardState,
)
from batch_pipeline.pipeline import decoding, fetching, holds, landing, missed
from batch_pipeline.pipeline.clients import Clients
from batch_pipeline.pipeline.decoding import COLLECT_SECONDS
from batch_pipeline.pipeline.records import Records
from batch_pipeline.pipeline.runtime import Runtime
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.policy.absence import is_due
from batch_pipeline.policy.fetching import is_given_up, next_look
from batch_pipeline.stages.results.land import Landed
from batch_pipeline.stages.results.outcomes import OutcomesDecoded, with_missing_rows
from batch_pipeline.stages.results.unanswered import about_every_line

log = logging.getLogger("batch_pipeline")

_SAID = 3
_LONGEST_WRITE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Collected:
    """What one run fetched and landed; a partition whose rows are still out is in `waiting`."""

    shards: tuple[Shard, ...]
    landed: dict[str, Landed]
    waiting: dict[str, Landed]
    refused: tuple[Problem, ...] = ()  # why a provider would not run a whole batch
    stopped: tuple[str, ...] = ()  # what the account's withheld rows say
    stuck: tuple[StoreError, ...] = ()  # partitions that could not be landed

    @property
    def refusal(self) -> ProviderError | None:
        """What to tell a person whom the account stops, or when whole batches were refused."""
        if self.stopped:
            return AccountStop(self.stopped[0])
        if not self.refused:
            return None
        said = "; ".join(f"{one.code}: {one.message}" for one in self.refused[:3])
        theirs = all(one.fault is Fault.REQUEST for one in self.refused)
        then = (
            "rejected. Mend the job file and submit again."
            if theirs
            else "withheld: whose fault that is nobody knows, so nothing of them goes again by "
            "itself. `batch-pipeline run` sends the same requests again."
        )
        return Refused(
            f"The provider refused whole batches: {said} No row of them ran and nothing was "
            f"billed; they are in results as {then}"
        )


class Stuck(StoreError):  # noqa: N818 - named for what happened, as all our errors are
    """Some shards or partitions could not be read or written; all others were, see *collected*."""

    def __init__(self, collected: Collected, troubles: Sequence[StoreError]) -> None:
        self.collected = collected
        more = f" (and {len(troubles) - _SAID} more)" if len(troubles) > _SAID else ""
        super().__init__(" ".join(str(one) for one in troubles[:_SAID]) + more)


def collect(
    records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]
) -> Collected:
    """Fetch every ended shard of the partitions, then land those with all rows answered.

    A shard that cannot be fetched or read holds up no other; its error is raised when those are
    safe: the provider's own, or Stuck.
    """
    records.store.sweep(before=runtime.now() - _LONGEST_WRITE)
    ended = records.ledger.shards(
        records.job.name, partitions=partitions, states=[ShardState.ENDED]
    )
    done: list[Shard] = []
    refused: dict[Problem, None] = {}
    stopped: list[str] = []
    troubles: list[ProviderError] = []
    stuck: list[StoreError] = []
    for shard in ended:
        try:
            with said(), runtime.lease(f"collect:{shard.shard_id}", seconds=COLLECT_SECONDS):
                decoded, told = _collect_shard(
                    records, clients, runtime, records.ledger.shard(shard.shard_id)
                )
        except ProviderError as error:
            troubles.append(error)
            continue
        except StoreError as error:
            stuck.append(_of_shard(shard, error))
            continue
        if decoded is not None:
            done.append(records.ledger.shard(shard.shard_id))
            refused |= dict.fromkeys(_refusals(shard, decoded))
            stopped += [] if told is None else [told]
    collected = replace(
        _landed(records, clients, runtime, partitions, done),
        refused=tuple(refused),
        stopped=tuple(stopped),
    )
    if troubles:
        raise troubles[0]
    return _unless_stuck(collected, stuck)


def reparse(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    *,
    fetch: bool = False,
) -> Collected:
    """Make outcomes and results anew from the raw bytes in the store: no key, no network.

    With *fetch* the provider is asked for raw files that are gone or not whole. Raises StoreError
    when one is gone; the other shards are made anew all the same.
    """
    stuck: list[StoreError] = []
    name, states = records.job.name, [ShardState.COLLECTED]
    shards = records.ledger.shards(name, partitions=partitions, states=states)
    for shard in shards:
        try:
            with said(), runtime.lease(f"collect:{shard.shard_id}", seconds=COLLECT_SECONDS):
                files = (
                    fetching.fetch(records, clients, runtime, shard)
                    if fetch
                    else fetching.on_disk(records, shard)
                )
                decoding.make_outcomes(records, clients, runtime, shard, files)
        except StoreError as error:
            stuck.append(_of_shard(shard, error))
    return _unless_stuck(_landed(records, clients, runtime, partitions, shards), stuck)


def _landed(
    records: Records,
    clients: Clients,
    runtime: Runtime,
    partitions: Sequence[str],
    shards: Sequence[Shard],
) -> Collected:
    looked, stuck = landing.land_each(records, clients, runtime, partitions)
    return Collected(
        shards=tuple(shards),
        landed={name: done for name, done in looked.items() if not done.unanswered},
        waiting={name: done for name, done in looked.items() if done.unanswered},
        stuck=tuple(stuck),
    )


def _of_shard(shard: Shard, error: StoreError) -> StoreError:
    return StoreError(f"shard {shard.shard_id} (batch {shard.batch_id}): {error}")


def _unless_stuck(collected: Collected, stuck: Sequence[StoreError]) -> Collected:
    """Collected, or Stuck when something of it could not be."""
    if stuck or collected.stuck:
        raise Stuck(collected, [*stuck, *collected.stuck])
    return collected


def mend(records: Records, clients: Clients, runtime: Runtime, partitions: Sequence[str]) -> None:
    """Fetch the result files again that collected shards have only a part of; costs nothing.

    While one stays short, the rows that it lacks are kept from being sent again by themselves:
    its batch says that they were answered.
    """
    failed = {one.partition for one in records.ledger.partitions(records.job.name) if one.failed}
    names = [name for name in partitions if name in failed]
    shards = records.ledger.shards(
        records.job.name, partitions=names, states=[ShardState.COLLECTED]
    )
    for shard in _with_missing_rows(records, clients, runtime, shards):
        if fetching.on_disk(records, shard).short is not None:
            with runtime.lease(f"collect:{shard.shard_id}", seconds=COLLECT_SECONDS):
                _mend_shard(records, clients, runtime, shard)


def _with_missing_rows(
    records: Records, clients: Clients, runtime: Runtime, shards: Sequence[Shard]
) -> list[Shard]:
    paths = decoding.outcomes(records, clients, runtime, shards)
    with runtime.duckdb() as con:
        lacking = with_missing_rows(con, paths)
    return [shard for shard, path in zip(shards, paths, strict=True) if path in lacking]


def _mend_shard(records: Records, clients: Clients, runtime: Runtime, shard: Shard) -> None:
    try:
        found = fetching.fetch(records, clients, runtime, shard)
    except ProviderError as error:
        found = fetching.on_disk(records, shard)
        log.warning("a result file is short and cannot be fetched: %s", error)
    told = records.ledger.cuts.since(shard) is not None
    if found.short is None or not told:  # else its outcomes say so already
        decoding.make_outcomes(records, clients, runtime, shard, found)


def _collect_shard(
    records: Records, clients: Clients, runtime: Runtime, shard: Shard
) -> tuple[OutcomesDecoded | None, str | None]:
    """What a shard's answers came to, and what a person should hear of the account."""
    if shard.state is not ShardState.ENDED:  # another run has done it meanwhile
        return None, None
    waits = shard.not_before is not None and not is_due(shard.not_before, now=runtime.now())
    if waits:  # it was short, or not there, a moment ago
        return None, None
    try:
        found = fetching.fetch(records, clients, runtime, shard)
    except NotFound as error:
        missed.missed(records, clients, runtime, shard, Missed.ANSWERS, str(error))
        return None, None
    if found.short is not None:
        since = records.ledger.cuts.since(shard) or runtime.now()
        if not is_given_up(since=since, now=runtime.now()):
            _look_again(records, runtime, shard, found.short, since)
            return None, None
        decoded = decoding.make_outcomes(records, clients, runtime, shard, found)
        _, told = holds.judge(records, runtime, shard, decoded)
    else:
        decoded = decoding.decode(records, clients, runtime, shard, found)
        failed_as, told = holds.judge(records, runtime, shard, decoded)
        records.ledger.collected(
            shard.shard_id,
            now=runtime.now(),
            succeeded=decoded.succeeded,
            failed=decoded.failed,
            failed_as=failed_as,
        )
    log.info(
        "shard collected",
        extra={"job": shard.job, "shard": shard.shard_id, "requests": decoded.requests},
    )
    if decoded.passed_over.output_tokens or decoded.passed_over.input_tokens:
        log.info(
            "lines of requests that had another line say that they were billed",
            extra={"shard": shard.shard_id, **asdict(decoded.passed_over)},
        )
    return decoded, told


def _look_again(
    records: Records, runtime: Runtime, shard: Shard, short: str, since: datetime
) -> None:
    later = next_look(since=since, now=runtime.now())
    log.warning("a result file is not whole, and is fetched again later: %s", short)
    records.ledger.cuts.seen(
        shard,
        next_look=later,
        message=f"{short}. The file is fetched again, at no cost, until it is whole; what came is "
        f"kept beside it in raw/. Nothing is sent again meanwhile. Next look: {later:%d %b %H:%M} "
        "UTC.",
        now=runtime.now(),
    )


def _refusals(shard: Shard, decoded: OutcomesDecoded) -> Sequence[Problem]:
    """Why every row of the batch was refused at once; a bad line is that row's own affair."""
    remote = shard.remote
    if remote is None or remote.status is not RemoteStatus.FAILED:
        return ()
    said = about_every_line(remote)
    kinds = (FailureKind.REJECTED.value, FailureKind.WITHHELD.value)
    all_of_them = any(decoded.by_failure.get(kind) == decoded.requests for kind in kinds)
    return [said] if said is not None and all_of_them else []
