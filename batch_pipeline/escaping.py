"""Text from data, providers and models as it may be shown: one function per medium, nothing acts.

`plain` is for terminals, logs and messages, `line` for one line of them, `markdown` for a place in
a sentence or a cell, `fenced` for a block. JSON needs none: it escapes by itself.
"""

from __future__ import annotations

import re

_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f"  # invisible or turning the text around, but the joiners of emoji
    "\ud800-\udfff"  # half a character: no encoder takes it
)
_HIDDEN = re.compile(f"[{_UNSEEN}]")
_BREAKS = re.compile(f"[\t\n{_UNSEEN}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_MARKUP = re.compile(r"[\\`*\[\]<>&~|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_OPENS_BLOCK = re.compile(r"^([#+=-]|\d+(?=[.)]))")
_LINKED_BY_ITSELF = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_JOINER = "\u2060"  # no width, no break; no reader of Markdown sees an address across it
_SHORTEST_FENCE = 3


def plain(text: str) -> str:
    """*text* with every character that a terminal obeys, or that nobody sees, spelled out.

    Lines and tabs stay.
    """
    return _HIDDEN.sub(_spelled, text)


def line(text: str) -> str:
    """The same on one line: a newline in a name must not look like a line of ours."""
    return _BREAKS.sub(_spelled, text)


def markdown(text: str) -> str:
    """*text* as it reads, in a cell or a sentence: no link, picture, HTML, emphasis or block."""
    escaped = _MARKUP.sub(r"\\\g<0>", line(text).strip())  # four spaces would open a block
    escaped = _OPENS_BLOCK.sub(_closed, escaped)
    return _LINKED_BY_ITSELF.sub(_JOINER, escaped)


def fenced(text: str, language: str = "") -> str:
    """*text* as a block of code of its own, in Markdown: nothing in it ends the block."""
    shown = plain(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(_SHORTEST_FENCE, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def _spelled(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code > 0xFFFF:  # noqa: PLR2004 - where \u ends
        return f"\\U{code:08x}"
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - where \x ends


def _closed(found: re.Match[str]) -> str:
    opener = found[0]
    return f"{opener[:-1]}&#{ord(opener[-1])};" if opener.isdigit() else f"\\{opener}"
