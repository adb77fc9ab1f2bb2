"""A simulated provider whose clock stands still, and a client that notes its waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batch_pipeline.providers.openai.client import OpenAIClient
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.providers.factories import make_client


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(speed=0) as simulator:
        yield simulator


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(sim: Simulator, waits: list[float]) -> OpenAIClient:
    return make_client(sim.urls["openai"], waits=waits)
