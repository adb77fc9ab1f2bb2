"""A simulator whose time stands still, and OpenAI's own client for it."""

from collections.abc import Iterator

import pytest
from anthropic import Anthropic
from mistralai.client import Mistral
from openai import OpenAI

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator import anthropic_requests as anthropics
from batch_pipeline_tests.simulator import mistral_requests as mistral_lines


@pytest.fixture(scope="session")
def shared() -> Iterator[Simulator]:
    """One for all tests that leave no trace: no faults, no limits, no look at the log."""
    with Simulator(speed=0) as sim:
        yield sim


@pytest.fixture(scope="session")
def shared_client(shared: Simulator) -> Iterator[OpenAI]:
    with client_of(shared) as client:
        yield client


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """One for this test alone."""
    with Simulator(speed=0) as sim:
        yield sim


@pytest.fixture
def client(sim: Simulator) -> Iterator[OpenAI]:
    with client_of(sim) as client:
        yield client


@pytest.fixture(scope="session")
def shared_claude(shared: Simulator) -> Iterator[Anthropic]:
    with anthropics.client_of(shared) as client:
        yield client


@pytest.fixture
def claude(sim: Simulator) -> Iterator[Anthropic]:
    with anthropics.client_of(sim) as client:
        yield client


@pytest.fixture(scope="session")
def shared_mistral(shared: Simulator) -> Iterator[Mistral]:
    with mistral_lines.client_of(shared) as client:
        yield client


@pytest.fixture
def mistral(sim: Simulator) -> Iterator[Mistral]:
    with mistral_lines.client_of(sim) as client:
        yield client


def client_of(sim: Simulator, key: str = "sk-test") -> OpenAI:
    """OpenAI's client, without retries."""
    return OpenAI(base_url=sim.urls["openai"], api_key=key, max_retries=0)
