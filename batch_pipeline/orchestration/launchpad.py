"""Links to Dagster's launchpad with config and tags filled in: one click from a page to Launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

import dagster as dg
import yaml

_ANONYMOUS = "__repository__"  # how Dagster calls the only repository of a location

Given: TypeAlias = bool | int | str | Sequence[str]
"""A value of a config field."""


@dataclass(frozen=True, slots=True)
class Webserver:
    """Where the pages are: *base* is empty where they are at the root of their host.

    Without a *location* the page looks for the job's own: it finds it where the name is the only
    one, and offers the locations to choose from where it is not.
    """

    base: str = ""
    location: str | None = None
    repository: str | None = None

    @classmethod
    def of_run(cls, run: dg.DagsterRun, base: str | None) -> Webserver:
        """As the run tells: one that a daemon or a page launched knows its code location."""
        origin = run.remote_job_origin
        if origin is None:
            return cls(base or "")
        repository = origin.repository_origin
        return cls(
            base or "", repository.code_location_origin.location_name, repository.repository_name
        )

    @classmethod
    def of_tick(cls, context: dg.SensorEvaluationContext, base: str | None) -> Webserver:
        """As a sensor's tick tells; in a test it knows no code location."""
        origin = context.code_location_origin
        if origin is None:
            return cls(base or "")
        return cls(base or "", origin.location_name, context.repository_name)

    def job(self, name: str) -> str:
        """The address of a job's page."""
        if self.location is None:
            return f"{self.base}/guess/{_quoted(name)}"
        named = self.repository not in {None, _ANONYMOUS}
        place = f"{self.repository}@{self.location}" if named else self.location
        return f"{self.base}/locations/{_quoted(place)}/jobs/{_quoted(name)}"

    def run(self, run_id: str) -> str:
        """The address of a run's page."""
        return f"{self.base}/runs/{_quoted(run_id)}"

    def launchpad(self, job: str, config: str, tags: Mapping[str, str] | None = None) -> str:
        """The address of the job's launchpad, with *config* (YAML) and run *tags* filled in."""
        query = {"config": config}
        for number, (key, value) in enumerate((tags or {}).items()):
            query |= {f"tags[{number}][key]": key, f"tags[{number}][value]": value}
        said = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in query.items())
        return f"{self.job(job)}/playground/setup?{said}"


class _Text(str):
    """A text that YAML writes in quotes: plain, a page would read 1e3 or 1:30 as a number."""

    __slots__ = ()


class _Line(list[str]):
    """A list that YAML writes on one line."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Texts in quotes, lists on a line."""


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)

_Dumper.add_representer(
    _Line,
    lambda dumper, line: dumper.represent_sequence("tag:yaml.org,2002:seq", line, flow_style=True),
)


def op_config(op: str, given: Mapping[str, Given]) -> str:
    """The YAML of a run's config that gives these fields to an op."""
    values = {name: _written(value) for name, value in given.items()}
    return yaml.dump(
        {"ops": {op: {"config": values}}},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )


def _written(value: Given) -> object:
    if isinstance(value, str):
        return _Text(value)
    return value if isinstance(value, bool | int) else _Line(_Text(one) for one in value)


def _quoted(text: str) -> str:
    """Percent-encoded but for letters, digits and `_.-~`: safe in a path, a query and Markdown."""
    return quote(text, safe="")
