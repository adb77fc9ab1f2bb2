"""A fixture for tests of jobs: the simulator, with the test's environment pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from batch_pipeline.simulator.server import Simulator


@pytest.fixture
def batch_pipeline_simulator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Simulator]:
    """A simulator of the test's own, whose batches take a moment; its store is in `tmp_path`.

    What the test opens speaks to it: no key of yours is read and nothing leaves the machine.
    """
    from batch_pipeline.simulator.limits import Pace  # noqa: PLC0415 - only who asks pays
    from batch_pipeline.simulator.server import Simulator  # noqa: PLC0415 - only who asks pays

    with Simulator(pace=Pace(seconds_to_complete=0.2)) as simulator:
        said = {"STORE": str(tmp_path / "store"), "POLL_SECONDS": "0.1", "SETTLE_SECONDS": "0.1"}
        for name in ("LEDGER_URL", "SERVICES"):  # what a real store and real services are named by
            monkeypatch.delenv(f"BATCH_PIPELINE_{name}", raising=False)
        quick = {f"BATCH_PIPELINE_{name}": value for name, value in said.items()}
        for name, value in {**simulator.env, **quick}.items():
            monkeypatch.setenv(name, value)
        yield simulator
