"""The simulator is a second reading of the APIs: it shares nothing with the first."""

import ast
from pathlib import Path

import batch_pipeline.simulator

ROOM = Path(batch_pipeline.simulator.__file__).parent


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_the_simulator_imports_nothing_of_ours_and_no_providers_sdk() -> None:
    for path in ROOM.rglob("*.py"):
        for name in imported(path):
            assert not name.startswith(("openai", "anthropic", "mistralai")), path
            if name.startswith("batch_pipeline"):
                assert name.startswith("batch_pipeline.simulator"), path
