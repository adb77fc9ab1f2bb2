"""The language of the fault script is closed, and its errors help."""

from pathlib import Path
from typing import get_args

import pytest

from batch_pipeline.simulator import faults
from batch_pipeline.simulator.faults import FaultScript, FaultScriptError, read_script


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"call": []}, "did you mean 'calls'"),
        (
            {"calls": [{"do": "fail", "operation": "create", "statsu": 503}]},
            "did you mean 'status'",
        ),
        ({"calls": [{"do": "fial", "operation": "create"}]}, "did you mean 'fail'"),
        ({"calls": [{"do": "drop", "operation": "creat"}]}, "did you mean 'create'"),
        ({"calls": [{"do": "drop", "operation": "create", "bytes": 5}]}, "unknown field `bytes`"),
        ({"calls": [{"do": "drop"}]}, "missing required field `operation`"),
        ({"calls": [{"do": "fail", "operation": "create", "status": 200}]}, ">= 400"),
        ({"rows": [{"becomes": "expird"}]}, "did you mean 'expired'"),
        ({"rows": [{"becomes": "lost", "share": 1.5}]}, "<= 1"),
        ({"rows": [{"becomes": "lost", "regex": "("}]}, "regex"),
        ({"batches": [{"do": "stal"}]}, "did you mean 'stall'"),
        ("calls: [", "not YAML"),
        ("- a list", "Expected `object`"),
    ],
)
def test_a_wrong_script_is_refused_with_the_nearest_word(script: object, says: str) -> None:
    with pytest.raises(FaultScriptError, match="fault script") as refused:
        read_script(script)
    assert says in str(refused.value)


def test_the_example_in_the_documentation_is_a_script() -> None:
    text = faults.__doc__ or ""
    example = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    script = read_script(example)
    assert {type(rule) for rule in script.calls} == set(get_args(faults.CallFault))
    assert len(script.rows) == 3
    assert {type(rule) for rule in script.batches} == set(get_args(faults.BatchFault))


def test_a_script_may_be_a_path_a_text_a_mapping_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("rows: [{becomes: lost}]")
    one = read_script(path)
    assert one == read_script(path.read_text()) == read_script({"rows": [{"becomes": "lost"}]})
    assert read_script(one) is one
    assert read_script(None) == read_script("") == FaultScript()
