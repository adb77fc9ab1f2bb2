"""What to say to somebody who named what is not there."""

from __future__ import annotations

import difflib
import json
import keyword
from collections.abc import Iterable

ROW = "row"
"""What templates call the whole row, unless a column is called so."""


def there_are(name: str, known: Iterable[str]) -> str:
    """The nearest of the *known* names, if one is near, and all of them, as sentences."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} There are: {', '.join(names)}."


def named_in_template(name: str) -> str:
    """The column as a template names it: Jinja's words and what is no word stand in quotes."""
    plain = name.isascii() and name.isidentifier() and name not in _JINJA
    return name if plain and not keyword.iskeyword(name) else f"{ROW}[{json.dumps(name)}]"


def in_braces(names: Iterable[str]) -> str:
    """How templates write the first of *names* that cannot stand alone; nothing for none."""
    odd = [said for name in names if (said := named_in_template(name)) != name]
    return f" Write {{{{ {odd[0]} }}}} where a column's name is no word." if odd else ""


_JINJA = frozenset({"loop", "self", "super", "true", "false", "none"})
