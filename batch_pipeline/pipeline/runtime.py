"""How the steps of the shell run: clock, leases, and DuckDB within its limits."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from batch_pipeline.errors import Throttled
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.settings import Settings
from batch_pipeline.store.ledger import Ledger

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOOK_AGAIN = 1.0  # seconds between two tries to take a lease


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


def own_name() -> str:
    """Who claims: host, process and a random part, so that a dead claimant can be recognised."""
    return f"{_host()}:{os.getpid()}:{uuid4().hex[:8]}"


def _host() -> str:
    """Where our process numbers mean something: containers of one host name have their own."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # no Linux, so no such containers
        space = "0"
    return f"{socket.gethostname()}/{space}"


def is_dead(owner: str) -> bool:
    """True only when *owner* was a process of this very host that is surely gone."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != _host() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@dataclass(frozen=True)
class Runtime:
    """How steps run: the clock, waiting, memory, leases. Tests own time through it."""

    settings: Settings
    ledger: Ledger
    scratch: Callable[[], Path]
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    owner: str = field(default_factory=own_name)
    _database: list[DuckDBPyConnection] = field(default_factory=list, repr=False)

    def close(self) -> None:
        """Give back DuckDB's memory."""
        while self._database:
            self._database.pop().close()

    @contextmanager
    def duckdb(self) -> Iterator[DuckDBPyConnection]:
        """A connection bounded by the settings; it never reaches for the network.

        All are of one database, which is in memory: to make one takes longer than many a step.
        """
        if not self._database:
            self._database.append(self._opened())
        with said(), closing(self._database[0].cursor()) as con:
            con.execute("SET enable_progress_bar = false")  # it would print into --json
            yield con

    def _opened(self) -> DuckDBPyConnection:
        from duckdb import connect  # noqa: PLC0415 - `status` needs none

        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.settings.memory,
            "threads": self.settings.threads,
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(self.scratch()),
        }
        return connect(config=config)

    @contextmanager
    def lease(self, *names: str, seconds: float, patience: float = 60.0) -> Iterator[None]:
        """Hold the ledger's named leases, all at once; Throttled when they stay with another."""
        waited = 0.0
        while not self._taken(names, seconds):
            if waited >= patience:
                raise Throttled(
                    f"{_told(names)}: another run has been at this for {patience:.0f} s. "
                    "It will finish it, or its lease will run out; then this can be run again."
                )
            self.sleep(_LOOK_AGAIN)
            waited += _LOOK_AGAIN
        try:
            yield
        finally:
            self.ledger.unlock(*names, owner=self.owner)

    def still_holds(self, name: str, *, seconds: float) -> None:
        """Prolong a lease before what it protects is written; Throttled when it was lost."""
        ours = self.ledger.holders(name) == {name: self.owner}
        if not ours or not self._taken([name], seconds):
            raise Throttled(
                f"{name}: this run took longer than its lease of {seconds:.0f} s, and another one "
                "took over. Nothing was written; run it again."
            )

    def _taken(self, names: Sequence[str], seconds: float) -> bool:
        if self._locked(names, seconds):
            return True
        dead = {
            name: holder
            for name, holder in self.ledger.holders(*names).items()
            if holder != self.owner and is_dead(holder)
        }
        for name, holder in dead.items():
            self.ledger.unlock(name, owner=holder)  # killed: nobody else would give it back
        return bool(dead) and self._locked(names, seconds)

    def _locked(self, names: Sequence[str], seconds: float) -> bool:
        return self.ledger.lock(*names, owner=self.owner, now=self.now(), lease=seconds)


def _told(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
