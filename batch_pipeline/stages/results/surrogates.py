"""Half of a surrogate pair in JSON: legal as an escape, in no text of UTF-8, so U+FFFD stands in.

Python's own reader takes such an escape, stricter ones refuse the whole document. Everything else
stays as it was, byte for byte.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})"  # a half
    rb"|.)",  # anything else, so that an escaped backslash is one escape
    re.DOTALL,
)


def mended(line: bytes) -> str | None:
    """*line* with U+FFFD for each half pair, and without a byte order mark; None: nothing to do."""
    bare = line.removeprefix(BOM_UTF8)
    if _HALF.search(bare) is None and bare is line:
        return None
    try:
        return _ESCAPE.sub(_whole, bare).decode()
    except UnicodeDecodeError:
        return None


def mended_text(text: str) -> str | None:
    """The same of a document that an answer holds as its text."""
    return mended(text.encode())


def _whole(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else rb"\ufffd"
