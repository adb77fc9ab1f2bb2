"""Bytes from a stream to a file that is whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from batch_pipeline.errors import StoreError


@contextmanager
def landing(into: Path) -> Iterator[BinaryIO]:
    """A file beside *into* that becomes *into*, durably, if the block ends well, else vanishes.

    Raises StoreError when the disk will not take it.
    """
    part = into.with_name(f".{into.name}.{secrets.token_hex(4)}.part")
    with readable_error(into):
        into.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            part.replace(into)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(into.parent)


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


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
