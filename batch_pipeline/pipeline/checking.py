"""Everything that a job's end needs, made when the job is opened: nothing wrong gets to money."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from batch_pipeline.errors import SpecError, UsageError
from batch_pipeline.prices.overrides import read_overrides
from batch_pipeline.providers.models import doubt
from batch_pipeline.providers.registry import Registry
from batch_pipeline.providers.services import read_services
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob, Target
from batch_pipeline.stages.requests.keys import check_names
from batch_pipeline.stages.requests.template import check_syntax as check_template
from batch_pipeline.stages.requests.template import compile_body
from batch_pipeline.stages.results.typed_output import structure
from batch_pipeline.stages.results.validate import Judge
from batch_pipeline.written.origin import Path as Where

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_Look = tuple[Where, Callable[[], object]]


def check(job: BatchJob, settings: Settings) -> Registry:
    """The providers and services that a resolved job may use.

    Raises SpecError for all that is wrong with it, a line each: now, and not as a paid failure.
    """
    registry = Registry(read_services(settings.services))
    wrong = mistakes(job, registry)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        error = SpecError("\n".join(str(one) for one in wrong))
        error.placed = True
        raise error
    return registry


def mistakes(job: BatchJob, registry: Registry, *, data: bool = False) -> list[UsageError]:
    """What is wrong with a resolved job, each once; with *data* the dataset is looked at too."""
    found = list(_wrong(job, _at_load(job, registry)))
    if data and not found:
        found = list(_wrong(job, _with_data(job, registry)))
    return list({str(error): error for error in found}.values())


def doubts(job: BatchJob, *, on: date) -> Iterator[str]:
    """A sentence for each target whose model is retired or known to nobody, with its line.

    A service's models are its own affair.
    """
    for number, target in enumerate(job.targets):
        why = in_doubt(target, on=on)
        if why is not None:
            yield f"{job.origin.at(('targets', number, 'model'))}{job.name}: {why}"


def in_doubt(target: Target, *, on: date) -> str | None:
    """Why the model of *target* may not be there; None when it is, or nobody can know."""
    return None if target.service else doubt(target.provider, target.model, on=on)


def _wrong(job: BatchJob, looks: Iterable[_Look]) -> Iterator[UsageError]:
    for near, look in looks:
        try:
            with job.origin.placed(near):
                look()
        except UsageError as error:
            yield error


def _at_load(job: BatchJob, registry: Registry) -> Iterator[_Look]:
    schema, prices = job.request.json_schema, job.prices
    if schema is not None:
        yield ("request", "output_schema"), lambda: (Judge(schema), structure(schema))
    if prices is not None:
        yield ("prices",), lambda: read_overrides(Path(prices))
    yield ("dataset", "key"), lambda: check_names(job.dataset.key, job=job.name)
    for number, turn in enumerate(job.request.turns):
        yield ("request", "messages", number), _template(turn.content)
    for number, target in enumerate(job.targets):
        yield ("targets", number), _target(job, registry, target)
        if target.when is not None:
            yield ("targets", number, "when"), _rule(target.name, target.when)


def _template(source: str) -> Callable[[], object]:
    return lambda: check_template(source)


def _target(job: BatchJob, registry: Registry, target: Target) -> Callable[[], object]:
    def look() -> None:
        registry.check(job, target)
        registry.codec(target.sends_to).body(job, target)

    return look


def _rule(name: str, when: str) -> Callable[[], object]:
    def look() -> None:
        from duckdb import connect  # noqa: PLC0415 - few jobs have rules

        from batch_pipeline.stages.requests.rules import check_syntax  # noqa: PLC0415 - as above

        with connect() as con:
            check_syntax(con, name, when)

    return look


def _with_data(job: BatchJob, registry: Registry) -> Iterator[_Look]:
    """Columns in templates, cells and rules, against the dataset as it is now."""
    from duckdb import connect  # noqa: PLC0415 - only `check` looks at data

    from batch_pipeline.stages.requests.dataset import open_dataset  # noqa: PLC0415 - as above

    with connect() as con:
        seen: list[dict[str, str]] = []

        def opened() -> None:
            seen.append(dict(open_dataset(job.dataset, job.partitions).columns))

        yield ("dataset", "path"), opened
        if not seen:
            return
        for number, target in enumerate(job.targets):
            yield ("targets", number), _compiled(job, registry, target, seen[0])
            if target.when is not None:
                yield ("targets", number, "when"), _bound(con, target.name, target.when, seen[0])


def _compiled(
    job: BatchJob, registry: Registry, target: Target, columns: Mapping[str, str]
) -> Callable[[], object]:
    return lambda: compile_body(registry.codec(target.sends_to).body(job, target), columns)


def _bound(
    con: DuckDBPyConnection, name: str, when: str, columns: Mapping[str, str]
) -> Callable[[], object]:
    from batch_pipeline.stages.requests.rules import check_rules  # noqa: PLC0415 - see _rule

    return lambda: check_rules(con, {name: when}, columns)
