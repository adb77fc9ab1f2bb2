"""Replace files whole: written aside in the same folder, synced, then renamed. Every room's way."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(into: Path, *, synced: bool = True) -> Iterator[Path]:
    """A path to write to; it becomes *into* when the block ends well and vanishes when not.

    Only what can be made again, and is checked before use, may go without being *synced*.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    part = into.with_name(f".{into.name}.{secrets.token_hex(6)}.part")
    try:
        yield part
        if synced:
            sync(part)
        part.replace(into)
    finally:
        part.unlink(missing_ok=True)
    if synced:
        sync(into.parent)  # the rename itself is to survive a power cut


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
