"""The providers there are: one record each, ours by a table, others by an entry point.

A record imports no SDK: it names what is loaded when it is used.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Literal

from batch_pipeline.errors import UsageError

GROUP = "batch_pipeline.providers"
"""The entry points by which other packages bring a provider: its name, and where its record is."""
OURS = ("openai", "anthropic", "mistral")
"""Those of this package, each in `providers/<name>/record.py`."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRecord:
    """One provider. Parts are named "module:attribute"; providers/protocol.py says what they are.

    `capabilities` is a Capabilities, `codec()` a Codec, `client(env, patience=…)` a Client. Where
    services may speak its API there is `service_client(name, service, env, patience=…)` too, and
    the codec is made with the service.
    """

    name: str
    title: str
    endpoints: Mapping[str, str]  # endpoint -> what it is for; the first is what a target means
    embeddings: frozenset[str] = frozenset()  # endpoints whose answers are vectors
    key_variable: str
    settings: tuple[str, ...] = ()  # further variables that its client reads
    capabilities: str
    codec: str
    client: str
    service_client: str | None = None
    prices: str | None = None  # genai-prices' name for it, where that is another

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError(f"the record of {self.name!r} names no endpoint")

    @property
    def variables(self) -> str:
        """The variables its client reads, for a message."""
        return f"{self.key_variable} ({', '.join(self.settings)})"

    def load(self, part: Literal["capabilities", "codec", "client", "service_client"]) -> object:
        """One of its parts; UsageError when it is not there or does not load."""
        where = getattr(self, part)
        try:
            return resolve_name(where)
        except Exception as error:
            raise UsageError(
                f"provider {self.name!r}: its {part}, {where}, does not load ({_why(error)}). "
                "Mend, update or uninstall the package it comes from."
            ) from error


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every provider by its name, and the names that cannot be used, with the reason."""

    records: Mapping[str, ProviderRecord]
    refused: Mapping[str, str]


@cache
def known() -> Catalog:
    """What is installed, read once in a process; what is wrong with an entry point is logged.

    A name of ours stays ours. One that two packages give is refused, for either may be meant.
    """
    records = {name: _checked(resolve_name(f"{GROUP}.{name}.record:RECORD")) for name in OURS}
    refused: dict[str, str] = {}
    given: defaultdict[str, list[EntryPoint]] = defaultdict(list)
    for point in entry_points(group=GROUP):
        given[point.name].append(point)
    for name, points in sorted(given.items()):
        try:
            records[name] = _only(name, points)
        except _RefusedError as why:
            _log.warning("%s", why)
            if name not in records:
                refused[name] = str(why)
    return Catalog(records, refused)


class _RefusedError(Exception):
    """Why the entry points of a name give no provider."""


def _only(name: str, points: list[EntryPoint]) -> ProviderRecord:
    whose = " and ".join(sorted(map(_package, points)))
    if name in OURS:
        raise _RefusedError(
            f"provider {name!r} is batch-pipeline's own and stays so; {whose} gives one of that "
            "name too, which is not used. Uninstall it, or let it take another name."
        )
    if len(points) > 1:
        raise _RefusedError(
            f"provider {name!r} is given by {whose}, so neither is used. Uninstall one of them."
        )
    try:
        record = _checked(points[0].load())
    except (Exception, SystemExit) as error:
        raise _RefusedError(
            f"provider {name!r} cannot be used: the entry point of {whose}, {points[0].value}, "
            f"does not load ({_why(error)}). Mend, update or uninstall that package."
        ) from error
    if record.name != name:
        raise _RefusedError(
            f"provider {name!r} cannot be used: the entry point of {whose} gives the record of "
            f"{record.name!r}. Both have to say one name."
        )
    return record


def _checked(found: object) -> ProviderRecord:
    if not isinstance(found, ProviderRecord):
        raise TypeError(f"it is a {type(found).__name__} and no ProviderRecord")
    return found


def _package(point: EntryPoint) -> str:
    whose = point.dist
    return "a package without a name" if whose is None else f"{whose.name} {whose.version}"


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
