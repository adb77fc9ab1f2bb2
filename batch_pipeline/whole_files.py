"""Replace files whole: written aside in the same folder, synced, then renamed. Every room's way.

Files and folders that are made here are their user's alone, whatever the umask: they hold rows,
prompts and answers.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from batch_pipeline.errors import StoreError

_FOLDER, _FILE = 0o700, 0o600


@contextmanager
def written_aside(into: Path, *, synced: bool = True) -> Iterator[Path]:
    """A path to write to; it becomes *into* when the block ends well and vanishes when not.

    Only what can be made again, and is checked before use, may go without being *synced*.
    StoreError when the disk will not take it.
    """
    part = into.with_name(f".{into.name}.{secrets.token_hex(6)}.part")
    try:
        folder_made(into.parent)
        private_file(part)
        try:
            yield part
            if synced:
                sync(part)
            part.replace(into)
        finally:
            part.unlink(missing_ok=True)
        if synced:
            sync(into.parent)  # the rename itself is to survive a power cut
    except OSError as error:
        raise refused(into, error) from error


def refused(into: Path, error: OSError) -> StoreError:
    """What to say when the disk refused: *into*, or another file that the error names."""
    why = os.strerror(error.errno) if error.errno else str(error)
    named = error.filename
    if named is None or os.fspath(named).endswith(".part") or named == str(into):
        return StoreError(
            f"{into} cannot be written: {why}. Nothing is lost: make room there, "
            "or make it writable, and run the step again."
        )
    return StoreError(f"{named}: {why}. Nothing is lost: put it right and run the step again.")


def folder_made(folder: Path) -> None:
    """Make the folder, and those above it that are not there."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):  # another process was faster
            one.mkdir(mode=_FOLDER)


def private_file(path: Path) -> None:
    """An empty file; what is written to it later keeps its mode."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, _FILE))


def may_write(path: Path) -> bool:
    """Whether we may write to the file, or into the folder."""
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK, effective_ids=effective)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
