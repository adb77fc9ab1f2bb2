"""The nouns every room shares: plain frozen values, standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

UNPARTITIONED = "all"
"""The partition of a job whose dataset has none."""


class FailureKind(StrEnum):
    """Why an outcome is no success."""

    ERRORED = "errored"  # the provider failed on it (5xx, 429, status 0, timeout)
    REJECTED = "rejected"  # the request itself is at fault (4xx, too long): never sent again
    EXPIRED = "expired"  # not run before the completion window closed
    CANCELLED = "cancelled"  # not run because the batch was cancelled or refused as a whole
    MISSING = "missing"  # in neither result file
    REFUSED = "refused"  # the model would not answer (refusal, content filter)
    TRUNCATED = "truncated"  # the answer hit the output limit
    INVALID = "invalid"  # the answer does not satisfy the output schema
    EMPTY = "empty"  # answered and billed, and nothing in it that we read; the line kept
    UNREADABLE = "unreadable"  # a result line that cannot be parsed, its bytes kept
    WITHHELD = "withheld"  # not run, for the account's sake or an unknown cause


class Fault(StrEnum):
    """Whose fault a problem is, as its provider's codes and words tell."""

    REQUEST = "request"  # the same request would fail again
    ACCOUNT = "account"  # credit, right, key, access to a model: a person mends it
    PROVIDER = "provider"  # its own failure, or its queue: it passes
    UNKNOWN = "unknown"  # a code we have not heard of


class Remedy(StrEnum):
    """How a batch that was refused as a whole goes again as it is."""

    ROOM = "room"  # its queue was full: later, or in two
    UPLOAD = "upload"  # the provider lost its file: uploaded anew
    CREDIT = "credit"  # a person pays; it stays planned meanwhile


class ShardState(StrEnum):
    """Where a shard is in its life; the ledger's own view, beside the provider's status."""

    PLANNED = "planned"  # cut and on disk, not sent
    SUBMITTING = "submitting"  # intent recorded; the provider may or may not have it
    SUBMITTED = "submitted"  # the provider has it, as `batch_id`
    ENDED = "ended"  # the provider is done; result files wait to be collected
    COLLECTED = "collected"  # raw bytes and outcomes are in the store
    CANCELLED = "cancelled"  # taken back before it was sent; its rows are free again
    FAILED = "failed"  # cannot go on without a person; `message` says what to do
    IN_DOUBT = "in_doubt"  # sent perhaps, not found yet; looked for again, never sent blindly


class Missed(StrEnum):
    """What of a shard's batch is not there, or does not come; see policy/absence.py."""

    BATCH = "batch"  # the provider says that it has no such batch
    ANSWERS = "answers"  # it has the batch, and not the file of its answers
    END = "end"  # the batch has outlived its window by far and does not end


READY = (ShardState.PLANNED, ShardState.IN_DOUBT)
"""States in which any submit may take a shard when its time has come."""
UNCLEAR = (ShardState.SUBMITTING, ShardState.IN_DOUBT)
"""States in which the provider may have a batch of the shard, or not."""
UNSENT = (ShardState.PLANNED, *UNCLEAR)
"""States in which no batch of the shard is known."""
AT_PROVIDER = (ShardState.SUBMITTED, ShardState.ENDED)
"""States in which the provider has its batch, and the store has not the answers."""
ON_THE_WAY = (*UNSENT, ShardState.SUBMITTED)
"""States that end by themselves: nothing of the shard has come back yet."""
IN_FLIGHT = frozenset({*UNSENT, *AT_PROVIDER, ShardState.FAILED})
"""States in which a shard holds its custom_ids: they may not be put into another shard."""


class RemoteStatus(StrEnum):
    """What the provider says of a batch, in one vocabulary for all providers."""

    VALIDATING = "validating"
    RUNNING = "running"
    ENDING = "ending"  # finalizing or cancelling
    COMPLETED = "completed"
    FAILED = "failed"  # refused as a whole; no row ran
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # a status we have not heard of: keep polling


TERMINAL = frozenset(
    {RemoteStatus.COMPLETED, RemoteStatus.FAILED, RemoteStatus.EXPIRED, RemoteStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one shard may hold: lines, and bytes with newlines (a line counts its own too)."""

    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a request body that depends on the row: a template rendered to a JSON string."""

    template: str


class Form(StrEnum):
    """What a Cell makes of its column's value; each is a JSON string but for the turns."""

    LINK = "link"  # an http(s) URL as it stands
    BASE64 = "base64"  # the base64 text of bytes, or of a text that already is base64
    DATA_URL = "data_url"  # data:<media type>;base64,<…>
    MEDIA_TYPE = "media_type"  # image/png, image/jpeg, image/gif, image/webp, application/pdf
    TEXT = "text"  # the value as text
    TURNS = "turns"  # role/content objects, spliced into the list where the cell stands
    SYSTEM = "system"  # the system turns' text; the member is left out where there are none


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in a request body filled from one column; a value that cannot be is rejected.

    `media` is what the value must be, "image" or "pdf", for links and data. `roles` are those a
    conversation may have here (TURNS); with `hoisted` its system turns are elsewhere (SYSTEM).
    """

    column: str
    form: Form
    media: str | None = None
    roles: tuple[str, ...] = ("system", "user", "assistant")
    hoisted: bool = False


Tree: TypeAlias = (
    "str | int | float | bool | Hole | Cell | Sequence[Tree] | Mapping[str, Tree] | None"
)
"""JSON whose leaves may be holes: a request body before it meets a row."""


@dataclass(frozen=True, slots=True)
class BuiltTarget:
    """A target as its lines were built, without its rule: what a request table and a shard keep.

    One target has three moments: `spec.Target` as the job file says it, `CompiledTarget` ready to
    build for, and this.

    `provider` is a service's name where the target has one. `options` belong to the batch and not
    to its lines (beta flags, a window): equal lines with other options are other shards.
    """

    name: str
    provider: str
    model: str
    endpoint: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The text of a request line around the JSON string of custom_id and the body's JSON."""

    before_id: str
    before_body: str
    after_body: str  # with the newline


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as reported; None is unknown, never zero. Input includes cached and cache writes."""

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of a batch's own error list; *line* is 1-based in the shard, None = all of it.

    Its provider sorts it: whose *fault* it is, whether it is about *every_line* although it names
    one, and the *remedy*, where the batch may simply go again. What an older ledger kept is of
    unknown fault.
    """

    code: str | None
    message: str
    line: int | None = None
    param: str | None = None
    fault: Fault = Fault.UNKNOWN
    every_line: bool = False
    remedy: Remedy | None = None

    @property
    def is_about_all(self) -> bool:
        """True when it is one of every request of the batch."""
        return self.line is None or self.every_line


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a batch at its provider. Times are aware UTC; counts are never trusted alone.

    A file id is None while it is not known, or where there is no such file.
    """

    batch_id: str
    status: RemoteStatus
    raw_status: str
    total: int
    completed: int
    failed: int
    created_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    results_until: datetime | None = None  # when the provider forgets the answers
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    one_file: bool = False  # there is no error file: failed rows are among the others
    made: bool = True  # False: the lines were refused before there was a batch
    problems: tuple[Problem, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of request lines that we cut and send; a ledger row.

    `shard_id` is a digest of job, attempt, target and lines: the same lines are the same shard.
    `digest` is the sha256 of its custom_ids and content hashes, in line order; `requests` and
    `bytes` are the file's exact size.
    """

    shard_id: str
    job: str
    attempt: int
    provider: str
    model: str
    endpoint: str
    requests: int
    bytes: int
    digest: str
    options: dict[str, str] = field(default_factory=dict)  # of the batch: see BuiltTarget
    partitions: dict[str, int] = field(default_factory=dict)  # partition -> requests in it
    state: ShardState = ShardState.PLANNED
    account: str | None = None  # whose key sent it: a short hash, never the key
    intent: str | None = None  # written before the create, found in the batch's metadata
    batch_id: str | None = None
    run_id: str | None = None
    canary: str | None = None  # the content it goes ahead for
    simulated: bool = False  # the simulator answered, and its answers cost nothing
    claimed_by: str | None = None  # host:pid:random of the run that is at it
    claimed_at: datetime | None = None
    tries: int = 0  # creates that were refused or turned out not to have happened
    not_before: datetime | None = None
    message: str | None = None
    missed: Missed | None = None
    missed_since: datetime | None = None  # by the provider's clock
    looks: int = 0  # how often it was missed since then
    look_at: datetime | None = None  # when we look again; None with `missed`: never
    doubted_at: datetime | None = None  # when it was last left open whether there is a batch
    created_at: datetime | None = None
    submitted_at: datetime | None = None
    remote: Observation | None = None


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """What `results` last said about a partition, and what has happened since; a ledger row.

    `collected` counts collections that touched the partition, `landed` is its value when results
    were last looked at: they are stale while the two differ. A rebuilt request table with another
    digest makes `landed` -1 again. While `unanswered` is above 0 no results were written.
    """

    job: str
    partition: str
    requests: int = 0
    rejected: int = 0  # rows never sent (over the line limit)
    digest: str = ""  # of the request table
    succeeded: int = 0
    failed: int = 0
    retryable: int = 0  # failed rows that policy would send again
    unanswered: int = 0  # rows without any outcome when results were last looked at
    deferred: int = 0  # rows that a gate lets go later: that wait for a canary to come back
    collected: int = 0
    landed: int = -1
    updated_at: datetime | None = None


class HoldKind(StrEnum):
    """Who keeps a job, or a partition of it, from being sent by itself."""

    PERSON = "person"  # cancelled it
    CANARY = "canary"  # the first rows of a content failed, and the others wait
    ACCOUNT = "account"  # rows were withheld for credit, rights, a key or a model
    BREAKER = "breaker"  # most rows of two batches failed alike
    UNMATCHED = "unmatched"  # answers came back under names that nobody sent


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing goes by itself until somebody says so, or until a time; partition "" is all.

    Several may stand at once: to lift one leaves the others.
    """

    job: str
    partition: str
    kind: HoldKind
    reason: str
    since: datetime
    until: datetime | None = None


BY_ANSWERS = frozenset({HoldKind.ACCOUNT, HoldKind.BREAKER, HoldKind.UNMATCHED})
"""Holds that follow from what came back, whoever asked for it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a run was asked to send of a partition: kept until that is planned, or found nothing."""

    job: str
    partition: str
    run_id: str
    asked_at: datetime
    to_build: bool = True  # False: its request table is as it was asked for
    by_hand: bool = True  # holds that stood when it was asked for do not stop it
    options: dict[str, object] = field(default_factory=dict)
    owner: str | None = None  # host:pid:random, as of a claim
    busy_until: datetime | None = None  # till when the owner is taken to live
    problem: str | None = None  # why its data cannot be read: it is not asked for by itself


@dataclass(frozen=True, slots=True)
class PartitionSummary:
    """A partition as the watch sees it: its counts, and its shards and their requests by state.

    A shard of several partitions counts in each, with its requests of that partition only.
    `next_due` is the earliest time at which a waiting (planned, submitting, in doubt) shard may
    move, None if there is none; `next_look` is the earliest at which result files may be fetched.
    `expires_at` is the earliest end of a batch's window, and
    `results_until` the earliest time after which answers that wait cannot be fetched any more.
    """

    counts: PartitionCounts
    shards: dict[ShardState, int] = field(default_factory=dict)
    requests: dict[ShardState, int] = field(default_factory=dict)
    next_due: datetime | None = None
    next_look: datetime | None = None
    expires_at: datetime | None = None
    results_until: datetime | None = None
    ended_at: datetime | None = None  # of the batch whose answers wait longest
    looks: int = 0  # in vain, at what is missed
    canaries: dict[ShardState, int] = field(default_factory=dict)  # of the whole job, not collected
    holds: tuple[Hold, ...] = ()  # of the partition, and of the whole job
    asked: tuple[Ask, ...] = ()  # what runs were asked for and nobody planned yet

    @property
    def held(self) -> str | None:
        """Why a person or a gate holds what was not sent yet; None when none does."""
        return next((hold.reason for hold in self.holds if hold.kind not in BY_ANSWERS), None)


class CanaryVerdict(StrEnum):
    """What came of the first rows of a new request content."""

    PASSED = "passed"
    HELD = "held"  # too many failed: the others wait for a person
    RELEASED = "released"  # a person let them go, or policy did


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """A judged canary of a job; `version` is the content's, `reason` what a person should read.

    Means are over its answered rows; they feed estimates.
    """

    job: str
    version: str
    verdict: CanaryVerdict
    reason: str
    requests: int
    failed: int
    mean_input_tokens: float | None = None
    mean_output_tokens: float | None = None
    decided_at: datetime | None = None
