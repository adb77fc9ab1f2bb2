"""Bytes from a stream to a file that is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from batch_pipeline.errors import StoreError
from batch_pipeline.wholefile import written_aside


@contextmanager
def landing(into: Path) -> Iterator[BinaryIO]:
    """A file beside *into* that becomes *into*, durably, if the block ends well, else vanishes.

    Raises StoreError when the disk will not take it.
    """
    with written_aside(into) as part, part.open("wb") as out:
        yield out


@contextmanager
def readable_error(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StoreError that names *path*."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror or error}. Nothing is lost at the provider: put the disk "
            "right and run the step again."
        ) from error
