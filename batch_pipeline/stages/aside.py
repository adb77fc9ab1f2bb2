"""Replace files whole: written aside in the same folder, synced, then renamed."""

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
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
        part.replace(into)
    finally:
        part.unlink(missing_ok=True)
