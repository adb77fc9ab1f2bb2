"""Where requests go: a target as a build needs it, and what a request table says of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from batch_pipeline.errors import UsageError
from batch_pipeline.model import BuiltTarget, Envelope, Limits, Tree

_DESTINATIONS = b"batch_pipeline.destinations"


@dataclass(frozen=True, slots=True)
class CompiledTarget:
    """A target ready to build for: its rule (None: every row), its body, how lines are made."""

    target: BuiltTarget
    when: str | None
    body: Mapping[str, Tree]
    envelope: Envelope
    limits: Limits


def described(targets: Sequence[CompiledTarget]) -> dict[bytes, bytes]:
    """The targets, in order, as metadata of a Parquet schema."""
    said = [asdict(compiled.target) for compiled in targets]
    return {_DESTINATIONS: json.dumps(said, ensure_ascii=False, sort_keys=True).encode()}


def built_targets(table: Path) -> list[BuiltTarget]:
    """Where the requests of *table* go, in the order of its targets.

    Raises UsageError for a table of an older version, which does not say.
    """
    said = (pq.read_schema(table).metadata or {}).get(_DESTINATIONS)
    if said is None:
        raise UsageError(
            f"{table}: this request table was built by an older version and does not say where "
            "its requests go. Build it again: `batch-pipeline run` does, and in Dagster, "
            "materialize `requests`."
        )
    return [BuiltTarget(**each) for each in json.loads(said)]
