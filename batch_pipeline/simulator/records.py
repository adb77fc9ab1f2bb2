"""What the simulator remembers: files, batches and calls, as they are kept on disk."""

from typing import TypeVar

import msgspec

from batch_pipeline.simulator.faults import BatchFault

_Quirk = TypeVar("_Quirk", bound=BatchFault)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one answer, or of many."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """The sum of both."""
        return Usage(
            input=self.input + other.input,
            cached=self.cached + other.cached,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file at the provider; its bytes are the blob of the same id."""

    id: str
    dialect: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None
    deleted: bool = False
    num_lines: int | None = None
    visibility: str | None = None
    expiry_asked: bool = False  # by the caller: then the object shows it
    signature: str | None = None

    def gone(self, now: float) -> bool:
        """True when the provider no longer knows the file."""
        return self.deleted or (self.expires_at is not None and now >= self.expires_at)


class Flaw(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a failed batch's list of errors."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch at the provider, with what the engine needs to bring it to its end."""

    id: str
    dialect: str
    endpoint: str
    input_file_id: str
    created_at: float
    expires_at: float
    validated_at: float  # due, not done
    run_seconds: float
    finalize_seconds: float
    metadata: dict[str, str] | None = None
    results_live: int | None = None  # seconds
    seq: int = 0
    status: str = "validating"
    ending: str = "completed"
    model: str | None = None
    flaws: tuple[Flaw, ...] = ()
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    ended_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None  # due while cancelling, done after
    total: int = 0
    done: int = 0
    completed: int = 0
    failed: int = 0
    expired: int = 0  # rows that a fault made expire or cancel, where these count on their own
    cancelled: int = 0
    usage: Usage = Usage()
    output_bytes: int = 0
    error_bytes: int = 0
    enqueued_tokens: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    quirks: tuple[BatchFault, ...] = ()  # the faults the script had for it when it was created
    results_from: float = 0.0  # until then the object does not show its result files
    deleted: bool = False
    owner: str = ""  # a digest of the key it was created with
    input_files: tuple[str, ...] = ()  # as the caller named them, where that may be several
    complaints: dict[str, int] = {}  # why rows failed, and how many did

    @property
    def live(self) -> bool:
        """True until the batch reaches its last status."""
        return self.status in {"validating", "in_progress", "finalizing", "cancelling"}

    def quirk(self, kind: type[_Quirk]) -> _Quirk | None:
        """The batch's fault of that kind."""
        return next((quirk for quirk in self.quirks if isinstance(quirk, kind)), None)


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP call as the provider saw it; never the key, never a prompt."""

    seq: int
    at: float
    dialect: str
    method: str
    path: str
    operation: str
    status: int  # 0: the connection was dropped without an answer
    effect: str | None  # the id of what the call created or changed, also when the answer lied
    request_bytes: int
    response_bytes: int
    fault: str | None
    notes: dict[str, str] = {}  # headers of the call that change what it means
