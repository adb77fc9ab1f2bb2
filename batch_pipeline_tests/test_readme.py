"""The documents are true: commands parse, links resolve, settings and job-file keys exist."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from batch_pipeline.model import FailureKind
from batch_pipeline.settings import Settings
from batch_pipeline.simulator.faults import ROW_FAULTS, read_script
from batch_pipeline.spec import RETRIED_BY_DEFAULT, BatchJob
from batch_pipeline_tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).parent.parent
NAMES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
with warnings.catch_warnings():  # typer still asks click for a name that click has deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.main import get_command

    from batch_pipeline.cli.main import app
    from batch_pipeline.cli.output import Exit

CONTRIBUTING = TEXTS[ROOT / "CONTRIBUTING.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMMAND_LINE = TEXTS[ROOT / "docs" / "command_line.md"]
SETTINGS = TEXTS[ROOT / "docs" / "settings.md"]
JOB_FILE = TEXTS[ROOT / "docs" / "job_file.md"]
ARCHITECTURE = TEXTS[ROOT / "ARCHITECTURE.md"]
FAILURES = TEXTS[ROOT / "docs" / "failures.md"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


def commands(text: str) -> Iterator[str]:
    """Every `batch-pipeline …` of a code span, a table cell or an indented line."""
    found = re.findall(r"(?m)^ {4}(batch-pipeline .+)$|`(batch-pipeline [^`\n]+)`", text)
    yield from (line or span for line, span in found)


def yaml_blocks(text: str) -> Iterator[tuple[bool, Any]]:
    """Each fenced YAML, and whether the line above says that it is no job."""
    for note, block in re.findall(r"(?ms)(<!-- not a job -->\n)?^```yaml\n(.*?)^```", text):
        yield bool(note), yaml.safe_load(block)


def first_cells(text: str) -> list[str]:
    """The code of the first cell of each table row, several codes one by one."""
    cells = re.findall(r"(?m)^\| (`[^|]+`) \|", text)
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    return re.split(r"(?m)^#+ ", text.split(f"# {title}\n", 1)[1])[0]


def parses(line: str) -> None:
    """Raise click's own error unless the command line takes these words; nothing is run."""
    group = get_command(app)
    assert isinstance(group, click.Group)
    name, *words = shlex.split(line)[1:]
    if name in {option for one in group.params for option in one.opts}:  # `--version`
        return
    command = group.commands[name]
    command.make_context(name, words or [""] if "JOB" in _arguments(command) else words)


def _arguments(command: click.Command) -> set[str]:
    return {str(one.name).upper() for one in command.params if isinstance(one, click.Argument)}


def job_keys(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Dotted paths of every key of a job file; both places of `parameters` are one."""
    for name, value in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here if name != "parameters" else f"{path}.{name}"
        for inner in _references(value):
            below = "parameters" if name == "parameters" else here
            yield from job_keys(schema, schema["$defs"][inner], below)


def _references(value: dict[str, Any]) -> Iterator[str]:
    for one in (value, value.get("items", {}), *value.get("anyOf", [])):
        if "$ref" in one:
            yield one["$ref"].rpartition("/")[2]


@every_document
def test_every_command_in_the_documents_is_one_the_command_line_takes(path: Path) -> None:
    for line in commands(TEXTS[path]):
        parses(line)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(click.ClickException):
        parses("batch-pipeline run JOB --sometimes")
    with pytest.raises(KeyError):
        parses("batch-pipeline dance")


def test_the_page_of_the_command_line_names_every_command() -> None:
    group = get_command(app)
    assert isinstance(group, click.Group)
    assert set(group.commands) == {shlex.split(line)[1] for line in commands(COMMAND_LINE)}


def targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z]+):", MAKEFILE))


@every_document
def test_every_make_target_in_the_documents_exists(path: Path) -> None:
    spoken = re.findall(r"(?m)(?:^ {4}|`)make ([a-z]+)", TEXTS[path])
    assert set(spoken) <= targets()


@every_document
def test_every_variable_that_is_given_to_make_is_one_that_it_takes(path: Path) -> None:
    spoken = re.findall(r"(?m)(?:^ {4}|`)make( [^`\n]*)", TEXTS[path])
    named = {name for line in spoken for name in re.findall(r" ([A-Z_]+)=", line)}
    assert named <= set(re.findall(r"(?m)^(?:export )?([A-Z_]+) (?:\?=|:=)", MAKEFILE))


def test_contributing_lists_every_make_target() -> None:
    listed = re.findall(r"(?m)^\| `make ([a-z]+)", section(CONTRIBUTING, "Set up"))
    assert set(listed) == targets()


def test_what_the_documents_say_of_clean_is_what_it_removes() -> None:
    [removed] = re.findall(r"(?m)^clean:.*\n\t@rm -rf (.+)$", MAKEFILE)
    assert not {"data/store", ".dagster_home"} & set(removed.split())
    [said] = re.findall(r"(?m)^\| `make clean` \| (.+) \|$", CONTRIBUTING)
    assert all(f"`{one}`" in said.partition(";")[0] for one in removed.split())


@pytest.mark.parametrize(("name", "lines"), [("README.md", 160), ("ARCHITECTURE.md", 220)])
def test_the_first_pages_stay_short(name: str, lines: int) -> None:
    assert len(TEXTS[ROOT / name].splitlines()) <= lines


def test_the_index_of_docs_links_to_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", TEXTS[index]))
    pages = {str(path.relative_to(index.parent)) for path in index.parent.rglob("*.md")}
    assert pages - {"README.md"} <= linked


@every_document
def test_every_relative_link_resolves(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[path]):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", TEXTS[there])
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


@every_document
def test_every_setting_in_the_documents_is_one_that_is_read(path: Path) -> None:
    spoken = set(re.findall(r"BATCH_PIPELINE_[A-Z_]+", TEXTS[path]))
    assert spoken <= {f"BATCH_PIPELINE_{name.upper()}" for name in Settings.__slots__}


def test_the_page_of_settings_lists_every_one_with_its_default() -> None:
    table = section(SETTINGS, "Of ours")
    for name in Settings.__slots__:
        default = getattr(Settings(), name)
        unset = {"ledger_url": "SQLite in the store"}.get(name, "none")
        shown = unset if default is None else str(default).removesuffix(".0")
        row = rf"\| `BATCH_PIPELINE_{name.upper()}` \| `?{re.escape(shown)}`? \|"
        assert re.search(row, table), name


def test_the_job_file_reference_lists_exactly_the_keys_there_are() -> None:
    schema = BatchJob.model_json_schema()
    listed = first_cells(JOB_FILE.split("## What a change costs")[0])
    assert sorted(listed) == sorted(set(job_keys(schema, schema)))


@every_document
def test_every_yaml_example_loads(path: Path) -> None:
    for no_job, document in yaml_blocks(TEXTS[path]):
        if "ops" in document or (no_job and not {"calls", "rows", "batches"} & document.keys()):
            continue
        if no_job:
            read_script(document)
        else:
            BatchJob.model_validate(document.get("attributes", document))


def test_the_table_of_failures_names_every_kind_and_what_is_retried() -> None:
    table = section(FAILURES, "Rows")
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \|.*\| ([^|]+) \|$", table))
    assert set(rows) == {kind.value for kind in FailureKind}
    again = {kind for kind, said in rows.items() if said == "yes"}
    assert again == {kind.value for kind in RETRIED_BY_DEFAULT}


def test_the_page_of_the_command_line_gives_every_exit_code() -> None:
    codes = re.findall(r"(?m)^\| (\d+) \|", COMMAND_LINE)
    assert [int(code) for code in codes] == sorted(Exit)


def test_the_simulator_page_names_every_row_fault() -> None:
    page = TEXTS[ROOT / "docs" / "simulator.md"]
    assert set(ROW_FAULTS) <= set(first_cells(page))


def test_the_table_of_imports_is_the_one_that_is_held() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \|", section(ARCHITECTURE, "Rooms"))
    assert {room: set(re.findall(r"`(\w+)`", said)) for room, said in rows} == MAY_IMPORT


def test_every_test_that_guards_a_law_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", ARCHITECTURE))
    there = {
        name
        for path in Path(__file__).parent.rglob("test_*.py")
        for name in re.findall(r"(?m)^def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= there


MADE_WHEN_USED = re.compile(
    r"^(\.venv|\.dagster_home|data/(store|bench|products)|batch_pipeline/defs/)"
)
A_PATH = re.compile(r"`((?:[\w.*-]+/)+[\w.*-]*|[\w*-]+\.(?:py|md|yaml|toml|lock))`")


def paths(text: str) -> Iterator[str]:
    """Every path in a code span that begins like one of the repository or of the package."""
    tops = {one.name for one in (*ROOT.iterdir(), *(ROOT / "batch_pipeline").iterdir())}
    for path in A_PATH.findall(text):
        if path.partition("/")[0] in tops and not MADE_WHEN_USED.match(path):
            yield path


def found(path: str) -> bool:
    return any(any(root.glob(path.rstrip("/"))) for root in (ROOT, ROOT / "batch_pipeline"))


@pytest.mark.parametrize(
    "path",
    [one for one in DOCUMENTS if one.name != "CHANGELOG.md"],
    ids=name_of,
)
def test_every_path_in_the_documents_exists(path: Path) -> None:
    assert [one for one in paths(TEXTS[path]) if not found(one)] == []


def test_every_path_of_the_last_columns_table_exists() -> None:
    rows = re.findall(
        r"(?m)^\| [^|]+ \| ([^|]+) \|$", section(ARCHITECTURE, "Where do I change …?")
    )
    named = [one for row in rows for one in re.findall(r"`([\w/*]+\.\w+)`", row)]
    assert named
    assert [one for one in named if not found(one)] == []


def test_a_path_that_is_gone_would_be_noticed() -> None:
    assert list(paths("`stages/gone.py` and `policy/` but `results/<job>`, `yes`")) == [
        "stages/gone.py",
        "policy/",
    ]
    assert found("policy/")
    assert not found("stages/gone.py")
