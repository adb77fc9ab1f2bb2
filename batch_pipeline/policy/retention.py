"""Until when answers that wait can be fetched, and when it is time to say so."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch_pipeline.model import PartitionSummary

SHORT = timedelta(days=1)
"""Assumed of a batch that does not say when it ended."""


def warn_from(ended: datetime | None, until: datetime) -> datetime:
    """When a person is told: with a quarter left, which is 6 h of 24 h, a week of 29 days."""
    kept = SHORT if ended is None or ended >= until else until - ended
    return until - kept / 4


def told(until: datetime, *, now: datetime) -> str:
    """What a person should know when answers run out."""
    if now >= until:
        return f"Answers that wait were kept until {until:%Y-%m-%d %H:%M} UTC: fetch what is left."
    hours = (until - now).total_seconds() / 3600
    return f"Fetch the answers that wait now, with `run`: in {hours:.1f} h they are deleted."


def runs_out(summary: PartitionSummary, *, now: datetime) -> bool:
    """True when answers of the partition must be fetched soon, or it is too late."""
    until = summary.results_until
    return until is not None and now >= warn_from(summary.ended_at, until)
