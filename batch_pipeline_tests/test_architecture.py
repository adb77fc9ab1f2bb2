"""Who may import whom: the table of ARCHITECTURE.md, walked over the real imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "batch_pipeline"
MAY_IMPORT = {
    "model": set[str](),
    "loading": set[str](),
    "interrupts": {"loading"},
    "escaping": set[str](),
    "errors": {"escaping"},
    "whole_files": {"errors"},
    "settings": {"errors"},
    "request": {"errors"},
    "written": {"errors"},
    "catalog": {"errors"},
    "spec": {"catalog", "model", "request", "written"},
    "prices": {"errors", "written"},
    "jobfile": {"errors", "spec", "written"},
    "policy": {"model", "settings"},
    "stages": {"errors", "escaping", "model", "prices", "request", "spec", "whole_files"},
    "providers": {"catalog", "errors", "model", "request", "spec", "whole_files"},
    "store": {"errors", "model", "settings", "whole_files"},
    "pipeline": {
        "catalog",
        "errors",
        "loading",
        "model",
        "policy",
        "prices",
        "providers",
        "settings",
        "spec",
        "stages",
        "store",
        "whole_files",
        "written",
    },
    "orchestration": {
        "errors",
        "escaping",
        "model",
        "pipeline",
        "policy",
        "settings",
        "spec",
        "stages",
    },
    "components": {"errors", "jobfile", "orchestration", "pipeline", "spec", "written"},
    "definitions": set[str](),
    "reading": {"errors", "settings", "spec", "store"},
    "pytest_plugin": {"simulator"},
    "cli": {
        "errors",
        "escaping",
        "interrupts",
        "jobfile",
        "loading",
        "model",
        "pipeline",
        "policy",
        "providers",
        "settings",
        "simulator",
        "stages",
    },
    "simulator": set[str](),
    "defs": set[str](),
}
IMPURE = {"os", "time", "random", "secrets", "socket", "subprocess", "pathlib", "io", "uuid"}
MOST_LINES = 400


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "batch_pipeline":
                yield from (f"batch_pipeline.{alias.name}" for alias in node.names)
            else:
                yield node.module


SOURCES = sorted(PACKAGE.rglob("*.py"))


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """The room of a file, and each other room that it imports."""
    room = _room(path)
    for name in _imports(path):
        other = name.split(".")[1] if name.startswith("batch_pipeline.") else room
        if room not in {other, "__init__"}:  # the face: names of many rooms, loaded late
            yield room, other


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    assert {other for _, other in _pairs(path)} <= MAY_IMPORT.get(_room(path), set())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_stops_at_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


SKINS = ("assets.py", "sensors.py", "build.py")
MOST_STATEMENTS = 10


def _bodies(path: Path) -> Iterator[ast.FunctionDef]:
    """Functions that Dagster calls: those under one of its decorators."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and any(
            "dg." in ast.unparse(decorator) for decorator in node.decorator_list
        ):
            yield node


@pytest.mark.parametrize("name", SKINS)
def test_what_dagster_calls_is_at_most_ten_statements(name: str) -> None:
    bodies = list(_bodies(PACKAGE / "orchestration" / name))
    assert bodies
    for body in bodies:
        inside = [node for node in ast.walk(body) if isinstance(node, ast.stmt)]
        assert len(inside) - 1 <= MOST_STATEMENTS, (body.name, len(inside) - 1)


@pytest.mark.parametrize("room", ["orchestration", "components", "cli"])
def test_a_skin_calls_verbs_of_pipeline_and_never_reaches_through_it(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"records", "clients", "runtime", "ledger"}, (
                    path,
                    node.lineno,
                )


def test_every_pair_of_rooms_that_is_allowed_is_used() -> None:
    used = {(room, other) for path in SOURCES for room, other in _pairs(path)}
    allowed = {(room, other) for room, others in MAY_IMPORT.items() for other in others}
    assert allowed - used == set()


def test_policy_reads_no_clock_disk_network_environment_or_randomness() -> None:
    for path in (PACKAGE / "policy").glob("*.py"):
        tops = {name.split(".")[0] for name in _imports(path)}
        assert not tops & IMPURE, path
        text = path.read_text(encoding="utf-8")
        assert "open(" not in text, path
        assert ".now(" not in text, path


def test_every_folder_says_in_one_sentence_what_it_is_for() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        sentence = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert sentence, path
        assert "\n" not in sentence, path


def test_the_shell_runs_without_dagster_and_without_an_sdk() -> None:
    code = (
        "import sys\n"
        "from batch_pipeline.pipeline import *\n"  # its files are loaded when they are asked for
        "heavy = {'dagster', 'openai', 'anthropic', 'mistralai'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'batch_pipeline.pipeline.building', 'duckdb'} <= set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
