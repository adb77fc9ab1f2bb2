"""Whether the bytes that came in place of a result file are one, and all of it.

An answer of 200 may be a proxy's page, the first lines of the file, or nothing at all; the counts
of the batch tell. Lines are counted on bytes, not parsed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from batch_pipeline.stages.results.lines import pieces

_ID = b'"custom_id"'  # stands in every result line of every provider
_MARK = b"\xef\xbb\xbf"  # of byte order; some proxies put it first
_BLANK = b" \t\r\n"
_MAY_BE_BLANK = (b"\n\n", b"\n\r", b"\n ", b"\n\t")
_BEGINNINGS = {b"<": "a web page", b"[": "a JSON list", b"{": "a JSON object"}


@dataclass(frozen=True, slots=True)
class Arrived:
    """What lies in a file: its lines that are not blank, and why it is no whole file."""

    lines: int
    flaw: str | None = None  # None: nothing is wrong with it but, perhaps, its number of lines
    usable: bool = True  # False: there is no result line in it

    def shortfall(self, promised: int | None) -> str | None:
        """Why these are not the *promised* lines, in a few words; None: nothing speaks against."""
        if not self.lines and not promised:  # nothing was promised, or a file of no lines
            return None
        if not self.lines:
            return f"nothing came of {promised:,} lines"
        if self.flaw is not None:
            return self.flaw
        if promised is not None and self.lines < promised:
            return f"{self.lines:,} of {promised:,} lines came"
        return None


def look(path: Path) -> Arrived:
    """Read the file once, in blocks."""
    lines, named, first, last = 0, False, b"", b""
    with path.open("rb") as handle:
        for block, long, end in pieces(handle):
            if long:
                lines, named = lines + 1, named or _ID in block
                whole = end.rstrip(_BLANK).endswith(b"}")  # nobody parses a line of this length
                last = b"\n" if whole or end.endswith(b"\n") else end
                continue
            first = first or block.removeprefix(_MARK).lstrip(_BLANK)[:1]
            named = named or _ID in block
            lines += _not_blank(block)
            last = block[block.rstrip(_BLANK).rfind(b"\n") + 1 :] if block.strip() else last
    if not lines:
        return Arrived(0, usable=False)
    if not named:
        what = _BEGINNINGS.get(first, "something else")
        return Arrived(lines, f"{what} came that holds no result", usable=False)
    if not last.endswith(b"\n") and not _is_json(last):
        return Arrived(lines, "the last line that came is cut")
    return Arrived(lines)


def _not_blank(block: bytes) -> int:
    every = block.count(b"\n") + (not block.endswith(b"\n"))
    if block[:1] not in _BLANK and not any(blank in block for blank in _MAY_BE_BLANK):
        return every
    return sum(1 for line in block.split(b"\n") if line.strip(_BLANK))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.removeprefix(_MARK))
    except (ValueError, RecursionError):
        return False
    return True
