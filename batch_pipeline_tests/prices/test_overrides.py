from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.prices.overrides import read_overrides

GOOD = "gpt-5-nano: {input: 0.1, output: 0.2, as_of: 2026-11-01, source: contract}"


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    return path


def test_a_price_is_exactly_what_is_written(tmp_path: Path) -> None:
    found = read_overrides(_file(tmp_path, GOOD))["gpt-5-nano"]
    assert (found.input, found.output, found.cached_read) == (Decimal("0.1"), Decimal("0.2"), None)


@pytest.mark.parametrize("text", ["", "# nothing yet"])
def test_an_empty_file_overrides_nothing(tmp_path: Path, text: str) -> None:
    assert read_overrides(_file(tmp_path, text)) == {}


def test_no_file_overrides_nothing() -> None:
    assert read_overrides(None) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD.replace("output", "outptu"),
            "gpt-5-nano.outptu: unknown key, did you mean 'output'?",
        ),
        (GOOD.replace("output", "zzz"), "gpt-5-nano.zzz: unknown key, known keys: input, "),
        (GOOD.replace("0.1", "-1"), "gpt-5-nano.input: Input should be greater than or equal to 0"),
        (GOOD.replace("0.1", ".nan"), "gpt-5-nano.input"),
        (GOOD.replace("0.1", "cheap"), "gpt-5-nano.input"),
        (GOOD.replace(", source: contract", ""), "gpt-5-nano.source: Field required"),
        ("- a list", "the file: lines of `key: value` are wanted here, and this is a list of 1"),
        ("a: [", "prices.yaml:1: not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_overrides(_file(tmp_path, text))
    assert said in str(caught.value)
    assert "prices.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml"):
        read_overrides(tmp_path / "none.yaml")
