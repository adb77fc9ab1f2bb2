"""Worlds of one day: most of what can happen to a partition happens to one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_pipeline_tests.world import DAYS, World, made

DAY = DAYS[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One day of five rows and a provider without faults; a test may give it some."""
    with made(tmp_path, days=[DAY]) as one:
        yield one
