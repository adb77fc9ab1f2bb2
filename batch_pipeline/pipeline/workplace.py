"""What every step of the shell works with: one job, its store, ledger, codec, client and clock."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import duckdb

from batch_pipeline.errors import Throttled
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.overrides import read_overrides
from batch_pipeline.providers import registry
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Codec
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob
from batch_pipeline.store.files import Store
from batch_pipeline.store.ledger import Ledger


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


def own_name() -> str:
    """Who claims: host, process and a random part, so that a dead claimant can be recognised."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


def is_dead(owner: str) -> bool:
    """True only when *owner* was a process of this very host that is surely gone."""
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
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
    """Everything a step needs; clock and waiting are arguments so that tests own time."""

    job: BatchJob
    settings: Settings
    store: Store
    ledger: Ledger
    codec: Codec
    env: Mapping[str, str]
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    hurried: bool = False  # a sensor's tick: one call, ten seconds
    owner: str = field(default_factory=own_name)

    @cached_property
    def client(self) -> Client:
        """The provider's client; made when first needed, for it wants a key and loads an SDK."""
        patience = Patience(sleep=self.sleep)
        if self.hurried:
            patience = replace(patience, tries=1, answer=10.0)
        return registry.client(self.job.target.provider, self.env, patience=patience)

    @property
    def prices(self) -> Prices:
        """Today's prices, the job's overrides first; asked for anew, for a run may be long."""
        path = self.job.prices
        return Prices(self.now(), read_overrides(None if path is None else Path(path)))

    @contextmanager
    def duckdb(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection bounded by the settings; it never reaches for the network."""
        scratch = self.store.scratch()
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.settings.memory,
            "threads": self.settings.threads,
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": str(scratch),
        }
        with duckdb.connect(config=config) as con:
            yield con

    @contextmanager
    def lease(self, name: str, *, seconds: float, patience: float = 60.0) -> Iterator[None]:
        """Hold the ledger's named lease; Throttled when somebody else keeps it for *patience*."""
        waited = 0.0
        while not self.ledger.lock(name, owner=self.owner, now=self.now(), lease=seconds):
            if waited >= patience:
                raise Throttled(
                    f"{name}: another run has been at this for {patience:.0f} s. "
                    "It will finish it, or its lease will run out; then this can be run again."
                )
            self.sleep(0.2)
            waited += 0.2
        try:
            yield
        finally:
            self.ledger.unlock(name, owner=self.owner)
