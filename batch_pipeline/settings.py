"""Where things live and how patient we are, read once from the environment at the border."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from batch_pipeline.errors import UsageError

CLOCK_JUMP = timedelta(hours=12)
"""A time of our own that lies farther ahead than that was written by a clock that was wrong."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Places and pace. Times are seconds; memory is DuckDB's limit for one query."""

    store: str = "data/store"
    ledger_url: str | None = None  # None: SQLite beside the store's files
    poll_seconds: float = 60.0
    claim_seconds: float = 900.0  # a submit that has not been heard of for so long may be resumed
    settle_seconds: float = 30.0  # between two looks for a batch that may or may not exist
    listing_lag_seconds: float = 900.0  # the longest that a listing was seen to hide a batch
    services: str | None = None  # YAML file of services that speak a provider's API
    dagster_url: str | None = None  # before links to Dagster's pages; None: they are at "/"
    memory: str = "256MB"
    threads: int = 2

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read each field from BATCH_PIPELINE_<FIELD>; what is unset keeps its default."""
        known = cls()
        return cls(
            store=env.get("BATCH_PIPELINE_STORE") or known.store,
            ledger_url=env.get("BATCH_PIPELINE_LEDGER_URL") or None,
            poll_seconds=_positive(env, "BATCH_PIPELINE_POLL_SECONDS", known.poll_seconds),
            claim_seconds=_positive(env, "BATCH_PIPELINE_CLAIM_SECONDS", known.claim_seconds),
            settle_seconds=_positive(env, "BATCH_PIPELINE_SETTLE_SECONDS", known.settle_seconds),
            listing_lag_seconds=_positive(
                env, "BATCH_PIPELINE_LISTING_LAG_SECONDS", known.listing_lag_seconds
            ),
            services=env.get("BATCH_PIPELINE_SERVICES") or None,
            dagster_url=_address(env, "BATCH_PIPELINE_DAGSTER_URL"),
            memory=env.get("BATCH_PIPELINE_MEMORY") or known.memory,
            threads=int(_positive(env, "BATCH_PIPELINE_THREADS", known.threads)),
        )

    def ledger(self) -> str:
        """The SQLAlchemy URL of the ledger."""
        if self.ledger_url:
            return self.ledger_url
        return f"sqlite:///{Path(self.store).absolute() / 'ledger.db'}"


def _address(env: Mapping[str, str], name: str) -> str | None:
    """An address that links may begin with: nothing in it ends a link, a cell or a page."""
    text = env.get(name, "").rstrip("/")
    if text and not re.fullmatch(r"(https?://[\w.:\[\]-]+)?(/[\w.~%-]+)*", text, re.ASCII):
        raise UsageError(
            f"{name}={text!r} is no address of a web server. Set it to the one people see, like "
            "https://dagster.example/prefix, or to a path like /prefix; leave it unset for /."
        )
    return text or None


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:  # nor is "nan"
        raise UsageError(f"{name}={text!r} is not a number above 0. Leave it unset for {default}.")
    return value
