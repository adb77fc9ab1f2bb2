"""A code location per test, over a world of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import World, made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three days of five rows each, and a provider without faults."""
    with made(tmp_path) as one:
        yield one


@pytest.fixture
def place(world: World) -> Iterator[Location]:
    """The code location of the daily job `moods`."""
    with location(world) as one:
        yield one
