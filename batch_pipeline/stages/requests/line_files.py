"""A partition's lines: files cut where shards are, so that a whole one is linked, not copied.

The first is lines.jsonl, further ones lines.1.jsonl and so on; target 1 has lines-1.jsonl,
lines-1.1.jsonl and so on. Offsets count through all files of a target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, count, takewhile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from batch_pipeline.errors import UsageError
from batch_pipeline.model import BuiltTarget, Limits
from batch_pipeline.stages.arrow import Numbers
from batch_pipeline.stages.requests.targets import built_targets
from batch_pipeline.whole_files import written_aside

LINES = "lines.jsonl"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a lines file."""

    path: Path
    offset: int
    bytes: int


class LineWriter:
    """Writes lines into as few files as *limits* of a shard allow, each taking all that fits."""

    def __init__(self, opened: Callable[[], BinaryIO], limits: Limits) -> None:
        self._opened = opened
        self._limits = limits
        self._out = opened()
        self._rows = self._bytes = 0

    def write(self, data: memoryview, bounds: Numbers) -> None:
        """Write the neighbouring lines between *bounds* (one more than lines) of *data*."""
        first, last = 0, len(bounds) - 1
        while first < last:
            room = int(bounds[first]) + self._limits.bytes - self._bytes
            fits = int(np.searchsorted(bounds, room, side="right")) - 1
            end = min(fits, first + self._limits.requests - self._rows, last)
            if end > first:
                self._out.write(data[bounds[first] : bounds[end]])
                self._rows += end - first
                self._bytes += int(bounds[end] - bounds[first])
                first = end
            if first < last:
                self._out = self._opened()
                self._rows = self._bytes = 0


@contextmanager
def lines_written(folder: Path, limits: Sequence[Limits]) -> Iterator[list[LineWriter]]:
    """The files of a partition's lines, a writer for each target with its *limits*.

    They take their places when the block ends well.
    """
    paths: list[Path] = []
    with ExitStack() as places, ExitStack() as handles:

        def opened(target: int, numbers: Iterator[int]) -> BinaryIO:
            paths.append(_path(folder, target, next(numbers)))
            part = places.enter_context(written_aside(paths[-1], synced=False))
            return handles.enter_context(part.open("wb"))

        yield [
            LineWriter(partial(opened, target, count()), each) for target, each in enumerate(limits)
        ]
    for left in set(line_files(folder)).difference(paths):
        left.unlink()


def line_files(folder: Path) -> list[Path]:
    """The files of a partition's lines, target by target, in order."""
    each = (target_files(folder, target) for target in count())
    return list(chain.from_iterable(takewhile(bool, each)))


def target_files(folder: Path, target: int) -> list[Path]:
    """The files of a target's lines, in order; every target of a build has one at least."""
    paths = (_path(folder, target, number) for number in count())
    return list(takewhile(Path.exists, paths))


class Files:
    """The lines of some request tables, by table and target."""

    def __init__(self, tables: Sequence[Path]) -> None:
        self._tables = tables
        self._built_targets = cache(built_targets)

    def of(self, table: int, goes: BuiltTarget) -> Pieces:
        """Where the lines of that table for that target are."""
        path = self._tables[table]
        return Pieces(path.parent, self._built_targets(path).index(goes))


class Pieces:
    """Where the bytes of a target's lines are, by their offset through all its files."""

    def __init__(self, folder: Path, target: int = 0) -> None:
        self._first = _path(folder, target, 0)
        self._files = target_files(folder, target)
        self._ends = np.cumsum([path.stat().st_size for path in self._files])

    def between(self, offset: int, size: int) -> Iterator[Piece]:
        """The pieces of *size* bytes from *offset*; UsageError if the files end before."""
        if size > 0 and (not self._files or offset + size > self._ends[-1]):
            last = self._files[-1] if self._files else self._first
            raise UsageError(
                f"{last}: the lines end before the request table says. "
                "Build the partition's requests again."
            )
        at = int(np.searchsorted(self._ends, offset, side="right"))
        while size > 0:
            begins = int(self._ends[at - 1]) if at else 0
            taken = min(size, int(self._ends[at]) - offset)
            yield Piece(self._files[at], offset - begins, taken)
            offset, size, at = offset + taken, size - taken, at + 1


def is_whole_file(pieces: Sequence[Piece]) -> bool:
    """True when the pieces are one file from end to end."""
    if len(pieces) != 1 or pieces[0].offset:
        return False
    return pieces[0].path.stat().st_size == pieces[0].bytes


def _path(folder: Path, target: int, number: int) -> Path:
    name, end = LINES.split(".")
    of_target = f"{name}-{target}" if target else name
    return folder / (f"{of_target}.{number}.{end}" if number else f"{of_target}.{end}")
