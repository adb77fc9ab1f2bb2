"""Every test that asks for a case, a runner or a pipeline's world is run for each provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_pipeline.simulator.limits import Pace
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.contract.cases import CASES, Case, named
from batch_pipeline_tests.contract.client_runner import ClientRunner, client_runner
from batch_pipeline_tests.contract.pipeline_world import Place, placed


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """One for all tests of a file: its clock stands still, and each test moves it an hour on."""
    with Simulator(speed=0, pace=Pace(seconds_to_complete=5)) as one:
        yield one


@pytest.fixture(params=CASES, ids=named)
def case(request: pytest.FixtureRequest) -> Case:
    """Each provider in turn."""
    one: Case = request.param
    return one


@pytest.fixture
def runner(case: Case, sim: Simulator, tmp_path: Path) -> Iterator[ClientRunner]:
    """The client alone."""
    with client_runner(case, sim, tmp_path) as one:
        yield one


@pytest.fixture
def place(case: Case, sim: Simulator, tmp_path: Path) -> Place:
    """The whole pipeline over five rows."""
    return placed(case, sim, tmp_path)
