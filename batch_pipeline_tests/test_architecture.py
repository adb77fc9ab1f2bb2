"""Who may import whom: the table of ARCHITECTURE.md, walked over the real imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "batch_pipeline"
NOUNS = {"model", "errors"}
ASKED = NOUNS | {"request", "spec", "settings", "prices"}
ROOMS = {"policy", "stages", "providers", "store"}
SHELL = ASKED | ROOMS | {"pipeline", "escaping"}
MAY_IMPORT = {
    "model": set[str](),
    "interrupts": set[str](),
    "escaping": set[str](),
    "errors": {"escaping"},
    "whole_files": {"errors"},
    "settings": NOUNS,
    "request": NOUNS,
    "written": {"errors"},
    "spec": NOUNS | {"request", "written"},
    "prices": NOUNS | {"written"},
    "jobfile": NOUNS | {"request", "spec", "written"},
    "policy": ASKED,
    "stages": ASKED | {"escaping", "whole_files"},
    "providers": ASKED | {"whole_files"},
    "store": ASKED | {"whole_files"},
    "pipeline": ASKED | ROOMS | {"escaping", "whole_files", "written"},
    "orchestration": SHELL,
    "components": SHELL | {"orchestration", "jobfile", "written"},
    "definitions": {"orchestration", "components"},
    "cli": SHELL | {"interrupts", "jobfile", "simulator"},
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


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    ours = [name.split(".")[1] for name in _imports(path) if name.startswith("batch_pipeline.")]
    assert set(ours) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_stops_at_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


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
        "import sys, batch_pipeline.pipeline\n"
        "heavy = {'dagster', 'openai', 'anthropic', 'mistralai'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
