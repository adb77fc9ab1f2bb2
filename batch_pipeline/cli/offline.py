"""Commands that open no store: what is wrong in job files, and what providers take."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.markdown import Markdown

from batch_pipeline import jobfile
from batch_pipeline.cli.output import Exit
from batch_pipeline.pipeline.checking import doubts, mistakes
from batch_pipeline.providers.capabilities import as_values
from batch_pipeline.providers.documented import page
from batch_pipeline.providers.registry import Registry
from batch_pipeline.providers.services import read_services
from batch_pipeline.settings import Settings


def check(jobs: Sequence[str], *, data: bool, as_json: bool) -> None:
    """What is wrong in the job files named, or in all."""
    found = _looked_at(jobs, data=data)
    if as_json:
        said = {"jobs": found.jobs, "mistakes": found.mistakes, "warnings": found.warnings}
        sys.stdout.write(json.dumps(said, indent=2) + "\n")
    else:
        for line in found.mistakes:
            sys.stdout.write(f"{line}\n")
        for line in found.warnings:
            sys.stdout.write(f"warning: {line}\n")
        if not found.mistakes:
            sys.stdout.write(f"Nothing wrong in {len(found.jobs)} jobs.\n")
    if found.mistakes:
        raise typer.Exit(Exit.USAGE)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a look at job files came to."""

    jobs: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _looked_at(references: Sequence[str], *, data: bool) -> _Found:
    registry = Registry(read_services(Settings.from_env(os.environ).services))
    found, today = _Found(), datetime.now(UTC).date()
    every = list(jobfile.job_files())
    named = [path for one in references for path in jobfile.files_of(one)]
    for path in dict.fromkeys(named or every):
        jobs, wrong = jobfile.read(path)
        found.mistakes.extend(wrong)
        for job in jobs:
            found.jobs.append(job.name)
            for error in mistakes(job, registry, data=data):
                found.mistakes.extend(str(error).splitlines())
            found.warnings.extend(doubts(job, on=today))
    for sentence in jobfile.twice([*every, *named]):
        if not named or any(job in sentence for job in map(repr, found.jobs)):
            found.mistakes.append(sentence)
    return found


def providers(name: str | None, *, as_json: bool) -> None:
    """What a provider or service takes, or all of them."""
    registry = Registry(read_services(Settings.from_env(os.environ).services))
    names = [name] if name else registry.names
    known = {one: registry.capabilities(one) for one in names}
    if as_json:
        said = {one: as_values(what) for one, what in known.items()}
        sys.stdout.write(json.dumps(said, indent=2, default=str) + "\n")
        return
    out = Console()
    for what in known.values():
        out.print(Markdown(page(what)))
