"""What result files hold beside one counted line a request: kept in the footer of its outcomes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_KEY = b"batch_pipeline.oddities"


@dataclass(frozen=True, slots=True)
class Oddities:
    """Counts of whole shards; outcomes older than them say none until they are read again."""

    duplicate_lines: int = 0  # further lines of an id that already had one
    unknown_lines: int = 0  # of no request of the shard, quarantined
    unreadable_lines: int = 0  # whether or not they gave an id
    rows_without_usage: int = 0  # answered, and nothing says what was counted

    def __bool__(self) -> bool:
        """True where there is something to tell."""
        return self != Oddities()

    def footer(self) -> dict[bytes, bytes]:
        """What keeps these counts in the footer of outcomes; nothing where there are none."""
        return {_KEY: json.dumps(asdict(self)).encode()} if self else {}

    def told(self) -> str:
        """In words, those that were counted; nothing for none."""
        counts = {name.replace("_", " "): count for name, count in asdict(self).items()}
        return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def found(odd: Oddities) -> str:
    """What result files held beside one counted line a request, in a sentence."""
    return f"Result files held: {odd.told()}."


def oddities(footers: Iterable[pq.FileMetaData]) -> Oddities:
    """The sum of what these outcome files keep."""
    kept = (json.loads((footer.metadata or {}).get(_KEY, b"{}")) for footer in footers)
    names = [one.name for one in fields(Oddities)]
    return added(Oddities(**{name: int(one.get(name, 0)) for name in names}) for one in kept)


def added(some: Iterable[Oddities]) -> Oddities:
    """The sums of these counts."""
    every = [asdict(one) for one in some]
    names = [one.name for one in fields(Oddities)]
    return Oddities(**{name: sum(one[name] for one in every) for name in names})


def oddities_of(outcomes: Sequence[Path]) -> Oddities:
    """The same of those of the files that are there and whole."""
    footers: list[pq.FileMetaData] = []
    for path in outcomes:
        with suppress(OSError, pa.ArrowInvalid):  # lost or damaged: whoever needs it says so
            footers.append(pq.read_metadata(path))
    return oddities(footers)
