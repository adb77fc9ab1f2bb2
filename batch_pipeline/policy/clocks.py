"""When our clock and a provider's are too far apart, and what to say of it."""

from __future__ import annotations

from datetime import datetime, timedelta

CLOCKS_DIFFER = timedelta(minutes=5)
"""A larger difference is told: more than a slow call makes of it."""


def known_time(at: datetime | None) -> datetime | None:
    """The time, unless it stands for one that a provider did not say."""
    return None if at is None or at.year <= 1970 else at  # noqa: PLR2004 - the first of all


def clock_is_off(provider: str, ahead: float) -> str:
    """What a person should know of a clock that is *ahead* seconds ahead of a provider's."""
    hours = abs(ahead) / 3600
    span = f"{hours:.1f} h" if hours >= 1 else f"{abs(ahead) / 60:.0f} min"
    where = "ahead of" if ahead > 0 else "behind"
    return (
        f"This machine's clock is {span} {where} {provider}'s: set it. Windows are judged by the "
        "provider's clock meanwhile, and nothing is sent again for it."
    )
