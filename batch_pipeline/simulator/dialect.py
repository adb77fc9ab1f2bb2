"""What the engine asks of a provider's dialect."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batch_pipeline.simulator.faults import Row
from batch_pipeline.simulator.records import Batch, Flaw, StoredFile, Usage

RowFaultOf = Callable[[str], Row | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What validation found: flaws, or what the batch holds."""

    flaws: tuple[Flaw, ...] = ()
    model: str | None = None
    custom_ids: tuple[str, ...] = ()
    total: int | None = None  # requests, where not every one has a custom_id of its own


@dataclass(frozen=True, slots=True)
class Answered:
    """The result lines of one row, and how it counts."""

    output: bytes = b""
    error: bytes = b""
    completed: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    usage: Usage = field(default_factory=Usage)
    complaint: str = ""  # what the batch's own list of errors says of the row


class Dialect(Protocol):
    """One provider: what its lines mean. Its HTTP face is its own affair."""

    name: str

    def answer(self, batch: Batch, line: bytes, fault_of: RowFaultOf) -> Answered:
        """Run one row."""

    def broken(self, batch: Batch, line: bytes) -> Answered:
        """A row that we could not run for a reason of our own: an error of the server's."""

    def unfinished(self, batch: Batch, line: bytes, ending: str) -> Answered:
        """A row that never ran, because the batch ended as *ending* before its turn."""

    def result_file(self, batch: Batch, kind: str, now: float) -> StoredFile:
        """The result file of *kind* `output` or `error`; the same id whenever it is asked."""


class Validator(Protocol):
    """What a provider that validates after the create adds to its dialect."""

    def validate(self, batch: Batch, lines: Path | None) -> Verdict:
        """Look at all lines before any runs; None when there is no such input file."""

    def prompt_tokens(self, batch: Batch, lines: Path) -> int:
        """The prompt tokens that the batch enqueues."""

    def too_many_tokens(self, model: str, limit: int) -> Flaw:
        """What to say when too many tokens are enqueued."""
