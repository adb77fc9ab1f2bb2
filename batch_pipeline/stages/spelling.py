"""What to say to somebody who named what is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def there_are(name: str, known: Iterable[str]) -> str:
    """The nearest of the *known* names, if one is near, and all of them, as sentences."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} There are: {', '.join(names)}."
