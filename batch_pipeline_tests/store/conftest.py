"""Ledgers to test with: SQLite always, and Postgres where the environment names one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from batch_pipeline.model import ShardState
from batch_pipeline.store.database import _address
from batch_pipeline.store.ledger import Ledger
from batch_pipeline.store.tables import metadata
from batch_pipeline_tests.store.factories import ACCOUNT, LEASE, NOON, make_observation, make_shard

POSTGRES = "BATCH_PIPELINE_TEST_POSTGRES_URL"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    postgres = os.environ.get(POSTGRES)
    if postgres is None:
        pytest.skip(f"{POSTGRES} names no database to test with")
    engine = create_engine(_address(postgres))
    metadata.drop_all(engine)
    engine.dispose()
    return postgres


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        yield opened


@pytest.fixture
def planned(ledger: Ledger) -> Ledger:
    """A ledger with one planned shard, s1, of partition p1."""
    ledger.plan([make_shard()], now=NOON)
    return ledger


@pytest.fixture
def claimed(planned: Ledger) -> Ledger:
    """The shard s1 claimed by `ann` with intent `i1`."""
    assert planned.claim("s1", owner="ann", intent="i1", now=NOON, lease=LEASE) is not None
    return planned


@pytest.fixture
def submitted(claimed: Ledger) -> Ledger:
    """The shard s1 at the provider as batch_1."""
    assert claimed.submitted(
        "s1", observation=make_observation(), account=ACCOUNT, run_id="run", now=NOON
    )
    assert claimed.shard("s1").state is ShardState.SUBMITTED
    return claimed
