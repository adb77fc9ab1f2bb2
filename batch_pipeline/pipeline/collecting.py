"""From ended batches to results: raw bytes first, then outcomes, then one row per request."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import duckdb

from batch_pipeline.errors import (
    AccountStop,
    NotFound,
    ProviderError,
    Refused,
    StoreError,
    UsageError,
)
from batch_pipeline.model import (
    BatchProblem,
    FailureKind,
    Fault,
    Missed,
    PartitionCounts,
    RemoteStatus,
    Shard,
    ShardState,
)
from batch_pipeline.pipeline import fetching, holds, missed
from batch_pipeline.pipeline.fetching import Fetched
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.pipeline.workplace import Workplace
from batch_pipeline.policy.absence import is_due
from batch_pipeline.policy.fetching import is_given_up, next_look
from batch_pipeline.stages.results.land import Landed, land
from batch_pipeline.stages.results.outcomes import OutcomesDecoded, decode_shard, with_missing_rows
from batch_pipeline.stages.results.unanswered import about_every_line

log = logging.getLogger("batch_pipeline")

_COLLECT_SECONDS = 900.0
_SAID = 3
_LONGEST_WRITE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Collected:
    """What one run fetched and landed; a partition whose rows are still out is in `waiting`."""

    shards: tuple[Shard, ...]
    landed: dict[str, Landed]
    waiting: dict[str, Landed]
    refused: tuple[BatchProblem, ...] = ()  # why a provider would not run a whole batch
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


def collect(work: Workplace, partitions: Sequence[str]) -> Collected:
    """Fetch every ended shard of the partitions, then land those with all rows answered.

    A shard that cannot be fetched or read holds up no other; its error is raised when those are
    safe: the provider's own, or Stuck.
    """
    work.store.sweep(before=work.now() - _LONGEST_WRITE)
    ended = work.ledger.shards(work.job.name, partitions=partitions, states=[ShardState.ENDED])
    done: list[Shard] = []
    refused: dict[BatchProblem, None] = {}
    stopped: list[str] = []
    troubles: list[ProviderError] = []
    stuck: list[StoreError] = []
    for shard in ended:
        try:
            with said(), work.lease(f"collect:{shard.shard_id}", seconds=_COLLECT_SECONDS):
                decoded, told = _collect_shard(work, work.ledger.shard(shard.shard_id))
        except ProviderError as error:
            troubles.append(error)
            continue
        except StoreError as error:
            stuck.append(_of_shard(shard, error))
            continue
        if decoded is not None:
            done.append(work.ledger.shard(shard.shard_id))
            refused |= dict.fromkeys(_refusals(shard, decoded))
            stopped += [] if told is None else [told]
    collected = replace(_landed(work, partitions, done, refused), stopped=tuple(stopped))
    if troubles:
        raise troubles[0]
    return _unless_stuck(collected, stuck)


def reparse(work: Workplace, partitions: Sequence[str], *, fetch: bool = False) -> Collected:
    """Make outcomes and results anew from the raw bytes in the store: no key, no network.

    With *fetch* the provider is asked for raw files that are gone or not whole. Raises StoreError
    when one is gone; the other shards are made anew all the same.
    """
    stuck: list[StoreError] = []
    name, states = work.job.name, [ShardState.COLLECTED]
    shards = work.ledger.shards(name, partitions=partitions, states=states)
    for shard in shards:
        try:
            with said(), work.lease(f"collect:{shard.shard_id}", seconds=_COLLECT_SECONDS):
                files = fetching.fetch(work, shard) if fetch else fetching.on_disk(work, shard)
                _make_outcomes(work, shard, files)
        except StoreError as error:
            stuck.append(_of_shard(shard, error))
    return _unless_stuck(_landed(work, partitions, shards), stuck)


def _of_shard(shard: Shard, error: StoreError) -> StoreError:
    return StoreError(f"shard {shard.shard_id} (batch {shard.batch_id}): {error}")


def _unless_stuck(collected: Collected, stuck: Sequence[StoreError]) -> Collected:
    """Collected, or Stuck when something of it could not be."""
    if stuck or collected.stuck:
        raise Stuck(collected, [*stuck, *collected.stuck])
    return collected


def mend(work: Workplace, partitions: Sequence[str]) -> None:
    """Fetch the result files again that collected shards have only a part of; costs nothing.

    While one stays short, the rows that it lacks are kept from being sent again by themselves:
    its batch says that they were answered.
    """
    failed = {one.partition for one in work.ledger.partitions(work.job.name) if one.failed}
    names = [name for name in partitions if name in failed]
    shards = work.ledger.shards(work.job.name, partitions=names, states=[ShardState.COLLECTED])
    for shard in _with_missing_rows(work, shards):
        if fetching.on_disk(work, shard).short is not None:
            with work.lease(f"collect:{shard.shard_id}", seconds=_COLLECT_SECONDS):
                _mend_shard(work, shard)


def _with_missing_rows(work: Workplace, shards: Sequence[Shard]) -> list[Shard]:
    paths = outcomes(work, shards)
    with work.duckdb() as con:
        lacking = with_missing_rows(con, paths)
    return [shard for shard, path in zip(shards, paths, strict=True) if path in lacking]


def _mend_shard(work: Workplace, shard: Shard) -> None:
    try:
        found = fetching.fetch(work, shard)
    except ProviderError as error:
        found = fetching.on_disk(work, shard)
        log.warning("a result file is short and cannot be fetched: %s", error)
    told = work.ledger.cuts.since(shard) is not None
    if found.short is None or not told:  # else its outcomes say so already
        _make_outcomes(work, shard, found)


def _make_outcomes(work: Workplace, shard: Shard, found: Fetched) -> OutcomesDecoded:
    """Decode the files and tell the shard's partitions, whose results are stale by that."""
    decoded = _decode(work, shard, found)
    work.ledger.cuts.read(
        shard,
        succeeded=decoded.succeeded,
        failed=decoded.failed,
        left=None if found.short is None else _what_is_left(found.short),
        now=work.now(),
    )
    return decoded


def _what_is_left(short: str) -> str:
    return (
        f"{short}. What came is landed, the other rows are missing. `run` fetches the file again, "
        "at no cost; `retry --kind missing` sends those rows again, at their full price."
    )


def outcome_files(work: Workplace, partition: str) -> list[Path]:
    """Outcomes of every collected shard that carried rows of the partition, oldest first."""
    states = [ShardState.COLLECTED]
    shards = work.ledger.shards(work.job.name, partitions=[partition], states=states)
    return outcomes(work, shards)


def _collect_shard(work: Workplace, shard: Shard) -> tuple[OutcomesDecoded | None, str | None]:
    """What a shard's answers came to, and what a person should hear of the account."""
    if shard.state is not ShardState.ENDED:  # another run has done it meanwhile
        return None, None
    waits = shard.not_before is not None and not is_due(shard.not_before, now=work.now())
    if waits:  # it was short, or not there, a moment ago
        return None, None
    try:
        found = fetching.fetch(work, shard)
    except NotFound as error:
        missed.missed(work, shard, Missed.ANSWERS, str(error))
        return None, None
    if found.short is not None:
        since = work.ledger.cuts.since(shard) or work.now()
        if not is_given_up(since=since, now=work.now()):
            _look_again(work, shard, found.short, since)
            return None, None
        decoded = _make_outcomes(work, shard, found)
        _, told = holds.judge(work, shard, decoded)
    else:
        decoded = _decode(work, shard, found)
        failed_as, told = holds.judge(work, shard, decoded)
        work.ledger.collected(
            shard.shard_id,
            now=work.now(),
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


def _look_again(work: Workplace, shard: Shard, short: str, since: datetime) -> None:
    later = next_look(since=since, now=work.now())
    log.warning("a result file is not whole, and is fetched again later: %s", short)
    work.ledger.cuts.seen(
        shard,
        next_look=later,
        message=f"{short}. The file is fetched again, at no cost, until it is whole; what came is "
        f"kept beside it in raw/. Nothing is sent again meanwhile. Next look: {later:%d %b %H:%M} "
        "UTC.",
        now=work.now(),
    )


def is_gone(work: Workplace, counts: PartitionCounts) -> bool:
    """True when results were written and are not in the store any more."""
    if counts.landed < 0 or counts.unanswered or not counts.digest:
        return False
    return not work.store.results_file(counts.job, counts.partition).exists()


def land_again(work: Workplace) -> None:
    """Make the results again that are gone from the store, whichever partitions they are of."""
    known = work.ledger.partitions(work.job.name)
    gone = [one.partition for one in known if is_gone(work, one)]
    if gone:
        log.warning("results are gone and made again", extra={"partitions": len(gone)})
        _landed(work, gone, [])


def _landed(
    work: Workplace,
    partitions: Sequence[str],
    shards: Sequence[Shard],
    refused: Iterable[BatchProblem] = (),
) -> Collected:
    looked: dict[str, Landed] = {}
    stuck: list[StoreError] = []
    for partition in partitions:
        try:
            with said(), work.duckdb() as con:
                looked[partition] = _land(work, con, partition)
        except StoreError as error:
            stuck.append(StoreError(f"partition {partition}: {error}"))
    return Collected(
        shards=tuple(shards),
        landed={name: done for name, done in looked.items() if not done.unanswered},
        waiting={name: done for name, done in looked.items() if done.unanswered},
        refused=tuple(refused),
        stuck=tuple(stuck),
    )


def _land(work: Workplace, con: duckdb.DuckDBPyConnection, partition: str) -> Landed:
    """Land one partition, alone: an older look must not replace a newer one's file."""
    digest = sha256(f"{work.job.name}\x1f{partition}".encode()).hexdigest()[:32]
    with work.lease(f"land:{digest}", seconds=_COLLECT_SECONDS):
        return _land_alone(work, con, partition)


def _land_alone(work: Workplace, con: duckdb.DuckDBPyConnection, partition: str) -> Landed:
    job, ledger = work.job, work.ledger
    known = ledger.partition(job.name, partition)
    if not known.digest:
        raise UsageError(
            f"{job.name}: partition {partition!r} was never built. `batch-pipeline run` does it; "
            "in Dagster, materialize `requests` first."
        )
    landed = land(
        con,
        requests=work.store.requests_table(job.name, partition),
        outcomes=outcome_files(work, partition),
        key_columns=job.dataset.key,
        schema=job.request.json_schema,
        priced=work.prices,
        into=work.store.results_file(job.name, partition),
        retried_kinds=job.retry.kinds,
        max_attempts=job.retry.max_attempts,
        embeddings=job.numeric,
    )
    ledger.landed(
        job.name,
        partition,
        seen_collected=known.collected,
        digest=known.digest,
        succeeded=landed.succeeded,
        failed=landed.failed,
        retryable=landed.retryable,
        unanswered=landed.unanswered,
        now=work.now(),
    )
    return landed


def _decode(work: Workplace, shard: Shard, fetched: Fetched) -> OutcomesDecoded:
    """Outcomes from the files; rows that a short file lacks are `missing`, and say why."""
    with work.duckdb() as con:
        return decode_shard(
            con,
            shard=shard,
            requests=work.store.shard_requests(shard.job, shard.shard_id),
            files=fetched.files,
            decode_sql=work.codec(shard.provider).decode_sql(shard.endpoint),
            schema=work.job.request.json_schema,
            observation=shard.remote,
            short=fetched.short,
            into=work.store.outcomes_file(shard.job, shard.shard_id),
        )


def outcomes(work: Workplace, shards: Sequence[Shard]) -> list[Path]:
    """The outcomes of collected shards; those that are gone are made again, from raw answers.

    Raw answers that are gone too are fetched again. StoreError when the provider has none.
    """
    paths = [work.store.outcomes_file(shard.job, shard.shard_id) for shard in shards]
    for shard, path in zip(shards, paths, strict=True):
        if not path.exists():
            with work.lease(f"collect:{shard.shard_id}", seconds=_COLLECT_SECONDS):
                log.warning("outcomes are gone and made again", extra={"shard": shard.shard_id})
                _decode(work, shard, _read_or_fetched(work, shard, path))
    return paths


def _read_or_fetched(work: Workplace, shard: Shard, lost: Path) -> Fetched:
    try:
        return fetching.on_disk(work, shard)
    except StoreError:
        pass
    try:
        return fetching.fetch(work, shard)
    except NotFound as error:
        raise StoreError(
            f"{lost} and the raw answers it was made from are gone from the store, and the "
            f"provider has them no more: {error} {shard.requests:,} answered requests are lost "
            "here. Bring outcomes/ or raw/ back from a backup; nothing was sent again."
        ) from None


def _refusals(shard: Shard, decoded: OutcomesDecoded) -> Sequence[BatchProblem]:
    """Why every row of the batch was refused at once; a bad line is that row's own affair."""
    remote = shard.remote
    if remote is None or remote.status is not RemoteStatus.FAILED:
        return ()
    said = about_every_line(remote)
    kinds = (FailureKind.REJECTED.value, FailureKind.WITHHELD.value)
    all_of_them = any(decoded.by_failure.get(kind) == decoded.requests for kind in kinds)
    return [said] if said is not None and all_of_them else []
