from __future__ import annotations

import ast
from pathlib import Path

import batch_pipeline
from batch_pipeline.model import AT_PROVIDER, IN_FLIGHT, ON_THE_WAY, UNSENT, ShardState

PACKAGE = Path(batch_pipeline.__file__).parent
MOVES = {"model.py", "store/moves.py"}
"""Where states are put together: the named sets, and the table of what may follow on what."""


def test_states_that_belong_together_are_named_once() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() in MOVES:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                states = [one for one in map(ast.unparse, node.elts) if "ShardState." in one]
                assert len(states) < 2, f"{path}:{node.lineno}: {states}"


def test_a_shard_is_on_its_way_or_over_or_waits_for_a_person() -> None:
    over = {ShardState.COLLECTED, ShardState.CANCELLED}
    assert set(ShardState) == IN_FLIGHT | over
    assert {*UNSENT, *AT_PROVIDER} == {*ON_THE_WAY, ShardState.ENDED}
    assert IN_FLIGHT - {*UNSENT, *AT_PROVIDER} == {ShardState.FAILED}
