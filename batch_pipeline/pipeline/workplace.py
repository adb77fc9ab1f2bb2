"""What every step of the shell works with: one job, its store, ledger, codec, client and clock."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
from duckdb import DuckDBPyConnection

from batch_pipeline.errors import Throttled
from batch_pipeline.pipeline.store_errors import said
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.overrides import read_overrides
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Codec
from batch_pipeline.providers.registry import Registry
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob
from batch_pipeline.store.files import Store
from batch_pipeline.store.ledger import Ledger

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
class Workplace:
    """Everything a step needs; clock and waiting are arguments so that tests own time.

    A shard's `provider` names whose codec and client it needs: a provider, or a service.
    """

    job: BatchJob
    settings: Settings
    store: Store
    ledger: Ledger
    registry: Registry
    env: Mapping[str, str]
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    hurried: bool = False  # a sensor's tick: one call, ten seconds
    writable: bool = True  # False: the store can only be read, and so it is
    owner: str = field(default_factory=own_name)
    _clients: dict[str, Client] = field(default_factory=dict, repr=False)
    _database: list[DuckDBPyConnection] = field(default_factory=list, repr=False)

    def codec(self, provider: str) -> Codec:
        """The wire format of a provider or service."""
        return self.registry.codec(provider)

    def client(self, provider: str) -> Client:
        """The client of a provider or service; made when needed: it wants a key, loads an SDK."""
        if provider not in self._clients:
            patience = Patience(sleep=self.sleep)
            if self.hurried:
                patience = replace(patience, tries=1, answer=10.0)
            made = self.registry.client(provider, self.env, patience=patience)
            self._clients[provider] = made
        return self._clients[provider]

    def there(self, provider: str) -> datetime:
        """The provider's own time, as its last answer told it; ours before it told any.

        Ask right after a call: what a provider says of its windows is judged by its clock.
        """
        return self.client(provider).clock.now() or self.now()

    def tells_time(self, provider: str) -> bool:
        """Whether the provider told its time at all."""
        return self.client(provider).clock.now() is not None

    def made_client(self, provider: str) -> Client | None:
        """The client if something needed it already: some things are no reason to make one."""
        return self._clients.get(provider)

    def close(self) -> None:
        """Give back the connections of ledger and clients."""
        self.ledger.close()
        while self._clients:
            self._clients.popitem()[1].close()
        while self._database:
            self._database.pop().close()

    @property
    def prices(self) -> Prices:
        """Today's prices, the job's overrides first; asked for anew, for a run may be long."""
        path = self.job.prices
        overrides = read_overrides(None if path is None else Path(path))
        sellers = {name: one.prices for name, one in self.registry.services.items()}
        return Prices(self.now(), overrides, sellers)

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
        scratch = self.store.scratch()
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.settings.memory,
            "threads": self.settings.threads,
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(scratch),
        }
        return duckdb.connect(config=config)

    @contextmanager
    def lease(self, name: str, *, seconds: float, patience: float = 60.0) -> Iterator[None]:
        """Hold the ledger's named lease; Throttled when somebody else keeps it for *patience*."""
        waited = 0.0
        while not self._taken(name, seconds):
            if waited >= patience:
                raise Throttled(
                    f"{name}: another run has been at this for {patience:.0f} s. "
                    "It will finish it, or its lease will run out; then this can be run again."
                )
            self.sleep(_LOOK_AGAIN)
            waited += _LOOK_AGAIN
        try:
            yield
        finally:
            self.ledger.unlock(name, owner=self.owner)

    def still_holds(self, name: str, *, seconds: float) -> None:
        """Prolong a lease before what it protects is written; Throttled when it was lost."""
        ours = self.ledger.holder(name) == self.owner
        if not ours or not self._taken(name, seconds):
            raise Throttled(
                f"{name}: this run took longer than its lease of {seconds:.0f} s, and another one "
                "took over. Nothing was written; run it again."
            )

    def _taken(self, name: str, seconds: float) -> bool:
        if self._locked(name, seconds):
            return True
        holder = self.ledger.holder(name)
        if holder is None or not is_dead(holder):
            return False
        self.ledger.unlock(name, owner=holder)  # killed: nobody else would give it back
        return self._locked(name, seconds)

    def _locked(self, name: str, seconds: float) -> bool:
        return self.ledger.lock(name, owner=self.owner, now=self.now(), lease=seconds)
