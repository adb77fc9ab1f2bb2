"""Whether the rest of a new request content may follow its canary."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from batch_pipeline.model import IN_FLIGHT, CanaryRecord, CanaryVerdict, ShardState


class Gate(StrEnum):
    """What may be sent of a request content now."""

    OPEN = "open"  # everything: the canary came back well, or somebody let the rest go
    FIRST = "first"  # its first rows alone
    SHUT = "shut"  # nothing: the first rows are on their way
    JUDGE = "judge"  # the first rows are back: decide
    HELD = "held"  # nothing, until a person says so


def gate(decided: CanaryRecord | None, shards: Mapping[ShardState, int]) -> Gate:
    """Where a content stands, by what was decided and its canary's shards by state."""
    if decided is not None:
        return Gate.HELD if decided.verdict is CanaryVerdict.HELD else Gate.OPEN
    if any(shards.get(state) for state in IN_FLIGHT):
        return Gate.SHUT
    return Gate.JUDGE if shards.get(ShardState.COLLECTED) else Gate.FIRST


def judged(
    requests: int, by_failure: Mapping[str, int], *, max_failed_ratio: float, release: str
) -> tuple[CanaryVerdict, str]:
    """The verdict on *requests* answered first rows, and the reason in words."""
    failed = sum(by_failure.values())
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in sorted(by_failure.items(), key=lambda kv: -kv[1])
    )
    said = f"{failed:,} of the first {requests:,} requests failed"
    if failed:
        said = f"{said} ({kinds})"
    if failed <= max_failed_ratio * requests:
        return CanaryVerdict.PASSED, f"{said}; at most {max_failed_ratio:.0%} may."
    over = f"{said}, more than {max_failed_ratio:.0%}"
    if release == "always":
        return CanaryVerdict.RELEASED, f"{over}; the job says to go on."
    return CanaryVerdict.HELD, f"{over}."
