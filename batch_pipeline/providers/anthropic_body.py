"""The one JSON body of a create, out of a file of request lines, a piece at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

_BEFORE, _AFTER = b'{"requests":[', b"]}"


class Framed:
    """The lines of an open file as the list of a JSON object; may be read again from its start.

    A newline stands only between requests (inside JSON text it is escaped), so each becomes a
    comma, but for the last.
    """

    def __init__(self, lines: BinaryIO, *, piece: int) -> None:
        self._lines, self._piece = lines, piece
        length = os.fstat(lines.fileno()).st_size
        if length:
            lines.seek(length - 1)
            length -= lines.read(1) == b"\n"
        self._length = length
        self.size = len(_BEFORE) + length + len(_AFTER)
        """Its exact bytes."""

    def __iter__(self) -> Iterator[bytes]:
        self._lines.seek(0)
        yield _BEFORE
        left = self._length
        while left and (piece := self._lines.read(min(left, self._piece))):
            left -= len(piece)
            yield piece.replace(b"\n", b",")
        yield _AFTER
