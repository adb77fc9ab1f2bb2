"""Job files: YAML to BatchJob, with errors that name file, line, path and the nearest valid key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from batch_pipeline.errors import SpecError, UsageError
from batch_pipeline.spec import BatchJob
from batch_pipeline.written import yamlfile
from batch_pipeline.written.origin import Origin
from batch_pipeline.written.wording import said
from batch_pipeline.written.yamlfile import Document

COMPONENT = "batch_pipeline.components.BatchJobComponent"
_NAME = COMPONENT.rpartition(".")[2]
_LIKE_OURS = 0.75


def load_jobs(path: str | Path) -> list[BatchJob]:
    """Every job in the YAML file, files beside it read in.

    A document is either a Dagster component (`type`, `attributes`) or the attributes alone;
    components of other types are left to Dagster. SpecError says what is wrong, with its lines.
    """
    jobs, mistakes = read(Path(path))
    if mistakes:
        raise SpecError("\n".join(mistakes))
    return jobs


def read(path: Path) -> tuple[list[BatchJob], list[str]]:
    """The jobs of a file that can be read, and what is wrong with the others, a line each."""
    try:
        documents = yamlfile.read(path)
    except SpecError as error:
        return [], [str(error)]
    if not documents:
        empty = (
            f"{path}:1: the file is empty. A job file holds `type: {COMPONENT}` and `attributes`"
        )
        return [], [f"{empty}; docs/job_file.md shows one."]
    jobs: list[BatchJob] = []
    mistakes: list[str] = []
    for document in documents:
        try:
            if not _of_another_type(document):
                jobs.append(_job(path, document))
        except SpecError as error:
            mistakes += str(error).splitlines()
    return jobs, mistakes


def origin(path: Path, name: str) -> Origin:
    """Where the file at *path* says the job *name*; SpecError when it says a key twice."""
    for document in yamlfile.read(path):
        inside = _inside(document)
        found = document.text((*inside, "name"))
        if found is not None and found[0] == name:
            return _origin(document, inside)
    return Origin()


def load_job(reference: str | Path) -> BatchJob:
    """The job that *reference* means: a YAML file's path, or the name of a job we know."""
    if isinstance(reference, Path) or reference.endswith((".yaml", ".yml")) or "/" in reference:
        job = _only(load_jobs(reference), str(reference))
        _alone([Path(reference), *job_files()], job.name)
        return job
    known = {
        job.name: job
        for path in job_files()
        if reference in _text(path)
        for job in load_jobs(path)
        if job.name == reference
    }
    if reference in known:
        _alone(job_files(), reference)
        return known[reference]
    return _missing(reference)


def files_of(reference: str) -> list[Path]:
    """The files that *reference* means: itself, or those that say a job of that name."""
    if reference.endswith((".yaml", ".yml")) or "/" in reference:
        return [Path(reference)]
    return [path for path in job_files() if reference in _names(path)] or [_missing(reference)]


def _missing(name: str) -> NoReturn:
    names = sorted(known for path in job_files() for known in _names(path))
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known jobs: {', '.join(names) or 'none'}."
    raise UsageError(f"there is no job {name!r}; {hint} A job file's path works too.")


def twice(paths: Iterable[Path], only: str | None = None) -> Iterator[str]:
    """A sentence for each job name that more than one place in *paths* has."""
    first: dict[str, str] = {}
    for path in dict.fromkeys(path.resolve() for path in paths):
        if only is not None and only not in _text(path):
            continue
        for name, line in _written_names(path):
            if only is not None and name != only:
                continue
            place = f"{path}:{line}"
            if name in first:
                yield (
                    f"{place}: name: the job {name!r} is also in {first[name]}. Jobs of one name "
                    "would share one store: rename one of them."
                )
            first.setdefault(name, place)


def _alone(paths: Iterable[Path], name: str) -> None:
    for sentence in twice(paths, only=name):
        raise SpecError(sentence)


def explain(error: ValidationError, *, source: str, at: _At | None = None) -> str:
    """One line per problem: `source:line: path: what is wrong`."""
    return "\n".join(_sentence(detail, source, at) for detail in error.errors())


@dataclass(frozen=True, slots=True)
class _At:
    """Where in a document the attributes of a job are."""

    document: Document
    inside: tuple[str, ...]

    def line(self, where: Sequence[str | int]) -> int:
        return self.document.line((*self.inside, *where))


def _job(path: Path, document: Document) -> BatchJob:
    value = document.value
    if not isinstance(value, dict):
        raise SpecError(
            f"{path}:{document.line(())}: a job file is a mapping with `type` and `attributes`."
        )
    inside = _inside(document)
    attributes = value["attributes"] if inside else value
    if inside and not isinstance(attributes, dict):
        raise SpecError(
            f"{path}:{document.line(inside)}: `attributes` holds the job, a mapping that begins "
            "with its name."
        )
    if not inside and "type" in value:
        raise SpecError(
            f"{path}:{document.line(('type',))}: a component says its job under `attributes`, "
            "which is missing."
        )
    try:
        job = BatchJob.model_validate(attributes)
    except ValidationError as error:
        at = _At(document, inside)
        raise SpecError(explain(error, source=str(path), at=at)) from None
    return job.written(_origin(document, inside)).resolved(path.parent)


def _inside(document: Document) -> tuple[str, ...]:
    whole = document.value
    return ("attributes",) if isinstance(whole, Mapping) and "attributes" in whole else ()


def _origin(document: Document, inside: tuple[str, ...]) -> Origin:
    """Its lines, and where each template stands."""
    texts: dict[str, tuple[str, int]] = {}
    request = (*inside, "request")
    ways: list[tuple[str | int, ...]] = [("prompt",), ("system",)]
    ways += [("messages", number, "content") for number in range(_turns(document, inside))]
    for way in ways:
        found = document.text((*request, *way))
        if found is not None:
            texts[found[0]] = (document.file, found[1])
    for part in ("prompt_file", "system_file"):
        found = document.text((*request, part))
        file = None if found is None else Path(document.file).parent / found[0]
        if file is not None and file.is_file():
            texts[_text(file)] = (str(file), 1)
    return Origin(document.file, document, inside, texts, _schema_file(document, request))


def _schema_file(document: Document, request: tuple[str, ...]) -> Document | None:
    """The output schema's own file, where its lines can be told: JSON reads as YAML."""
    found = document.text((*request, "output_schema"))
    if found is None or not found[0].endswith((".json", ".yaml", ".yml")):
        return None
    try:
        documents = yamlfile.read(Path(document.file).parent / found[0])
    except SpecError:
        return None
    return documents[0] if len(documents) == 1 else None


def _turns(document: Document, inside: tuple[str, ...]) -> int:
    value = document.value
    for part in (*inside, "request", "messages"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return len(value) if isinstance(value, list) else 0


def _of_another_type(document: Document) -> bool:
    """Whether it is Dagster's affair; SpecError for a type that was meant to be ours."""
    if not isinstance(document.value, Mapping):
        return False
    kind = document.value.get("type")
    if kind is None or str(kind).rpartition(".")[2] == _NAME:
        return False
    near = difflib.get_close_matches(str(kind), [COMPONENT, _NAME], n=1, cutoff=_LIKE_OURS)
    if near or str(kind).startswith("batch_pipeline."):
        raise SpecError(
            f"{document.file}:{document.line(('type',))}: type {str(kind)!r} is not known. A job's "
            f"is {COMPONENT}."
        )
    return True


def _only(jobs: Sequence[BatchJob], reference: str) -> BatchJob:
    if not jobs:
        raise UsageError(
            f"{reference}: holds no job of ours, but components of other types. A job's type is "
            f"{COMPONENT}."
        )
    if len(jobs) > 1:
        raise UsageError(
            f"{reference}: holds {len(jobs)} jobs ({', '.join(job.name for job in jobs)}). "
            "Name one of them by its name, or keep each in a file of its own."
        )
    return jobs[0]


def _sentence(detail: ErrorDetails, source: str, at: _At | None) -> str:
    where = list(detail["loc"])
    key = detail.get("ctx", {}).get("key")
    if detail["type"] == "unknown_key" and key is not None:
        where.append(str(key))
    place = source if at is None else f"{source}:{at.line(where)}"
    path = ".".join(str(part) for part in where) or "the job"
    return f"{place}: {path}: {said(detail)}"


def job_files() -> Iterator[Path]:
    """Every YAML file of the code location, as `run` looks for a job's name."""
    for folder in dict.fromkeys(_defs_folders()):
        yield from sorted(folder.rglob("*.yaml"))


def _defs_folders() -> Iterator[Path]:
    """The defs folder of the project we stand in (`[tool.dg.project]`), then our own."""
    project = Path("pyproject.toml")
    if project.is_file():
        dg = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}).get("dg", {})
        root = dg.get("project", {}).get("root_module")
        spec = find_spec(root) if root else None
        for folder in (spec.submodule_search_locations or []) if spec else []:
            yield Path(folder) / "defs"
    yield Path(__file__).parent / "defs"


def _names(path: Path) -> Iterator[str]:
    yield from (name for name, _ in _written_names(path))


def _written_names(path: Path) -> Iterator[tuple[str, int]]:
    """The names of jobs in a file and their lines, also of jobs that have mistakes."""
    try:
        documents = yamlfile.read(path)
    except SpecError:
        return
    for document in documents:
        try:
            if _of_another_type(document):
                continue
        except SpecError:
            continue
        where = (*_inside(document), "name")
        found = document.text(where)
        if found is not None:
            yield found[0], document.line(where)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
