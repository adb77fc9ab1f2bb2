from __future__ import annotations

import json
from typing import Any

import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.stages.results.validate import DEEPEST, MESSAGE, Judge
from batch_pipeline_tests.stages.result_lines import SCHEMA

JUDGE = Judge(SCHEMA).verdict


def test_a_valid_answer_has_a_document_and_no_problem() -> None:
    assert JUDGE(' {"label": "spam",\n "count": 3} ') == ({"label": "spam", "count": 3}, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"label": "spam"}', '$: "count" is a required property'),
        ('{"label": "eggs", "count": 1}', '$.label: the value is not one of "spam" or "ham"'),
        ('{"label": "spam", "count": "1"}', '$.count: the value is not of type "integer"'),
        ("[]", '$: the value is not of type "object"'),
        (None, "the answer has no text"),
    ],
)
def test_a_violation_is_named_with_its_place_and_without_the_answer(
    text: str | None, problem: str
) -> None:
    assert JUDGE(text) == (None, problem)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Sure! {}", "{", '{"a": NaN}', '{"a": Infinity}', '{"a": 1e400}'),
        "[" * 5000,
    ],
)
def test_what_json_readers_disagree_about_is_not_json(text: str) -> None:
    document, problem = JUDGE(text)
    assert document is None
    assert problem is not None
    assert problem.startswith("not JSON")


@pytest.mark.parametrize(
    ("escaped", "read"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
    ],
)
def test_half_a_surrogate_pair_in_an_answer_is_read_as_a_replacement(
    escaped: str, read: str
) -> None:
    assert Judge({}).verdict(f'{{"a": "{escaped}"}}') == ({"a": read}, None)


def test_the_last_of_a_repeated_key_counts() -> None:
    assert JUDGE('{"label": 5, "label": "ham", "count": 1}')[0] == {"label": "ham", "count": 1}


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":[', "]}")])
def test_nesting_has_one_limit_whoever_reads(opened: str, closed: str) -> None:
    levels = len(opened) // 5 + 1
    free = Judge({}).verdict
    allowed = opened * (DEEPEST // levels) + closed * (DEEPEST // levels)
    assert free(allowed)[1] is None
    assert free(f"[{allowed}]")[1] == f"nested deeper than {DEEPEST} levels"
    assert free(f"[{'[],' * DEEPEST * 2}0]")[1] is None


@pytest.mark.parametrize("count", [2**63, -(2**63) - 1, 2**64, 10**40, 1e30])
def test_an_integer_that_does_not_fit_its_column_is_invalid(count: float) -> None:
    document, problem = JUDGE(json.dumps({"label": "spam", "count": count}))
    assert document is None
    assert "$.count: the value is" in str(problem)


def test_a_long_violation_is_cut() -> None:
    schema: dict[str, Any] = {"type": "object", "required": ["x" * 500]}
    problem = Judge(schema).verdict("{}")[1]
    assert problem is not None
    assert len(problem) == MESSAGE


def test_the_place_of_a_list_item_has_its_number() -> None:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    assert Judge(schema).verdict('["a", 5]')[1] == '$[1]: the value is not of type "string"'


@pytest.mark.parametrize("schema", [{"type": "nope"}, {"$ref": "https://example.com/s.json"}])
def test_a_schema_we_cannot_check_is_refused_at_once(schema: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="not a JSON Schema we can check"):
        Judge(schema)
