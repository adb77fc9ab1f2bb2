"""Job files: YAML to BatchJob, with errors that name file, line, path and the nearest valid key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from batch_pipeline.errors import SpecError, UsageError
from batch_pipeline.spec import BatchJob

COMPONENT = "batch_pipeline.components.BatchJobComponent"


def load(path: Path) -> list[BatchJob]:
    """Every job in the file, files beside it read in.

    A document is either a Dagster component (`type`, `attributes`) or the attributes alone;
    components of other types are left to Dagster.
    """
    try:
        text = path.read_text(encoding="utf-8")
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node]
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: not YAML: {error}") from None
    return [
        _job(path, document, node)
        for document, node in zip(documents, nodes, strict=True)
        if not _of_another_type(document)
    ]


def find(reference: str) -> BatchJob:
    """The job that *reference* means: a YAML file's path, or the name of a job we know."""
    if reference.endswith((".yaml", ".yml")) or "/" in reference:
        return _only(load(Path(reference)), reference)
    known: dict[str, BatchJob] = {}
    for path in _job_files():
        if reference in path.read_text(encoding="utf-8"):
            known |= {job.name: job for job in load(path)}
    if reference in known:
        return known[reference]
    names = sorted(name for path in _job_files() for name in _names(path))
    near = difflib.get_close_matches(reference, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known jobs: {', '.join(names) or 'none'}"
    raise UsageError(f"there is no job {reference!r}; {hint} A job file's path works too.")


def explain(error: ValidationError, *, source: str, node: yaml.Node | None = None) -> str:
    """One line per problem: `source:line: path: what is wrong`."""
    return "\n".join(_sentence(detail, source, node) for detail in error.errors())


def _job(path: Path, document: object, node: yaml.Node) -> BatchJob:
    if not isinstance(document, dict):
        raise SpecError(f"{path}: a job file is a mapping with `type` and `attributes`.")
    inside = "attributes" in document
    attributes = document["attributes"] if inside else document
    try:
        job = BatchJob.model_validate(attributes)
    except ValidationError as error:
        start = _child(node, "attributes") if inside else node
        raise SpecError(explain(error, source=str(path), node=start)) from None
    return job.resolved(path.parent)


def _of_another_type(document: object) -> bool:
    if not isinstance(document, Mapping):
        return False
    kind = document.get("type")
    return kind is not None and str(kind).rpartition(".")[2] != COMPONENT.rpartition(".")[2]


def _only(jobs: Sequence[BatchJob], reference: str) -> BatchJob:
    if len(jobs) != 1:
        raise UsageError(
            f"{reference}: holds {len(jobs)} jobs ({', '.join(job.name for job in jobs)}). "
            "Name one that is alone in its file."
        )
    return jobs[0]


def _sentence(detail: ErrorDetails, source: str, node: yaml.Node | None) -> str:
    where = list(detail["loc"])
    key = detail.get("ctx", {}).get("key")
    if detail["type"] == "unknown_key" and key is not None:
        where.append(str(key))
    line = _line(node, where)
    place = source if line is None else f"{source}:{line}"
    path = ".".join(str(part) for part in where) or "the job"
    return f"{place}: {path}: {detail['msg'].removeprefix('Value error, ')}"


def _line(node: yaml.Node | None, path: Iterable[str | int]) -> int | None:
    """The 1-based line of *path*, or of the deepest part of it that is in the file."""
    if node is None:
        return None
    line = node.start_mark.line
    for part in path:
        if isinstance(node, yaml.MappingNode):
            keys = {key.value: key for key, _ in node.value}
            if part not in keys:
                break
            line = keys[part].start_mark.line
        found = _child(node, part)
        if found is None:
            break
        node = found
    return int(line) + 1


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    return None


def _job_files() -> Iterator[Path]:
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
    try:
        yield from (job.name for job in load(path))
    except SpecError:
        return
