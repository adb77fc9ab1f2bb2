"""What a provider is to the rest of us: a codec (pure) and a client (effects); no base classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from batch_pipeline.model import Envelope, Hole, Limits, Observation, Shard, Tree
from batch_pipeline.providers.calling import Clock
from batch_pipeline.providers.capabilities import Capabilities
from batch_pipeline.spec import BatchJob, Target

__all__ = ["Client", "Codec", "Envelope", "Hole", "Known", "Odd", "Tree", "ignored"]


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows, for providers whose batches carry no metadata."""

    batch_ids: Collection[str] = ()
    """Batches that are some shard's already."""
    is_ours: Callable[[str], bool] = lambda _: False
    """Whether the shard in question has a request of this custom_id."""


Odd: TypeAlias = Callable[[bytes], None]


def ignored(_: bytes) -> None:
    """Take no notice of what cannot be read."""


class Codec(Protocol):
    """A provider's wire format: pure, no SDK, no network."""

    name: str
    capabilities: Capabilities
    """What the provider takes and allows; limits and documentation come from it."""

    def limits(self, endpoint: str) -> Limits:
        """The provider's own limits for one shard, with headroom for what it counts its way."""
        ...

    def body(self, job: BatchJob, target: Target) -> dict[str, Tree]:
        """The native body of *job*'s requests to *target*.

        Raises SpecError for what the endpoint or the model does not take, by its name.
        """
        ...

    def options(self, job: BatchJob, target: Target) -> dict[str, str]:
        """What belongs to the batch and not to its lines; the client reads it from the shard."""
        ...

    def envelope(self, endpoint: str) -> Envelope:
        """What stands around custom_id and body in a request line."""
        ...

    def decode_sql(self, endpoint: str) -> str:
        """A DuckDB query from result lines to outcome columns; see stages/results/outcomes.py."""
        ...


class Client(Protocol):
    """Effects at one provider account. No call is retried blindly; errors are ProviderErrors."""

    account: str
    """A short hash of the key and base URL: who owns a batch; never the key."""
    clock: Clock
    """The provider's own time, as far as it has told it."""
    names_batches: bool
    """Whether every batch surely carries its shard's intent, so that `find` sees it by name."""

    def upload(self, lines: Path, *, name: str) -> str | None:
        """Stream the file to the provider and return its file id; may be called again.

        None when the provider takes the lines with the create. Raises BadLines when it names lines
        that it will not take.
        """
        ...

    def create(self, shard: Shard, lines: Path, *, file_id: str | None) -> Observation:
        """Start the batch, once, with the shard's intent in its metadata if it has any.

        Raises Ambiguous when it may have happened, other ProviderErrors when it has not.
        """
        ...

    def find(self, shard: Shard, *, since: datetime, known: Known) -> Observation | None:
        """The shard's batch among those created after *since*; None when there surely is none.

        Raises Undecided when a batch may be it and nobody can tell yet.
        """
        ...

    def first_id(self, seen: Observation) -> str | None:
        """The custom_id of a batch's first result: whose it is, where no name tells.

        None while it has none, and when nobody can read it (any more).
        """
        ...

    def observe(self, *, since: datetime, odd: Odd = ignored) -> Iterator[Observation]:
        """Every batch of the account created after *since*, newest first, by listing.

        *odd* is handed the bytes of what is in the list and cannot be read.
        """
        ...

    def retrieve(self, batch_id: str) -> Observation:
        """One batch; NotFound when this account has none of that id."""
        ...

    def download(self, file_id: str, into: Path) -> int:
        """Stream a result file to *into*, whole (aside, fsync, rename), and return its bytes.

        Raises Unavailable when it was cut, NotFound when the provider no longer has it.
        """
        ...

    def cancel(self, batch_id: str) -> Observation:
        """Ask the provider to stop the batch; finished rows stay ours."""
        ...

    def delete_file(self, file_id: str) -> None:
        """Delete a file at the provider; no error if it is gone already."""
        ...

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch that is over, with its answers; no error if it is gone already.

        Raises Refused when the provider cannot do that, or not yet.
        """
        ...

    def close(self) -> None:
        """Give back the connections."""
        ...

    def dashboard_url(self, batch_id: str) -> str | None:
        """Where a person sees the batch, if the provider has such a page."""
        ...
