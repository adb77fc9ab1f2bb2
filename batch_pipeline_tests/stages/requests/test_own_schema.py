"""A file is read by its own schema: what lies beside it changes nothing about its rows."""

from __future__ import annotations

import decimal
import json
from datetime import date, datetime
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.errors import BatchPipelineError, DatasetError, TemplateError
from batch_pipeline_tests.stages.built_requests import (
    build,
    connected,
    make_job,
    make_target,
    opened,
    write,
)

DAILY = {"kind": "daily", "column": "date", "start": "2026-01-01"}
DAYS = ("2026-01-01", "2026-01-02")
VALUES: dict[str, pa.Array] = {
    "int": pa.array([3, None]),
    "small": pa.array([3, None], pa.int8()),
    "float": pa.array([5.0, None]),
    "short": pa.array([19.99, None], pa.float32()),
    "half": pa.array([np.float16(0.1), None], pa.float16()),
    "text": pa.array(["01067", None]),
    "large": pa.array(["x", None], pa.large_string()),
    "view": pa.array(["x", None], pa.string_view()),
    "bytes": pa.array(["é".encode(), None], pa.binary()),
    "bool": pa.array([True, None]),
    "day": pa.array([date(2026, 1, 1), None]),
    "moment": pa.array([datetime(2026, 1, 1, 2, 3), None], pa.timestamp("ms")),  # noqa: DTZ001 - a wall clock
    "exact": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(5, 2)),
    "wide": pa.array([decimal.Decimal("1.50"), None], pa.decimal256(50, 2)),
    "kind": pa.array(["a", None]).dictionary_encode(),
    "list": pa.array([["a"], None]),
    "nothing": pa.array([None, None], pa.null()),
}
PRINTED = {
    "int": "3",
    "small": "3",
    "float": "5.0",
    "short": "19.99",
    "half": "0.1",
    "text": "01067",
    "large": "x",
    "view": "x",
    "bytes": "é",
    "bool": "True",
    "day": "2026-01-01",
    "moment": "2026-01-01 02:03:00",
    "exact": "1.50",
    "wide": "1.50",
    "kind": "a",
    "list": "['a']",
    "nothing": "",
}


def prompts(root: Path, prompt: str, day: str | None = None) -> list[str]:
    """The prompts of a partition's lines."""
    into = root.parent / f"built-{root.name}"
    into.mkdir(exist_ok=True)
    said = make_job(root, prompt=prompt, partitions=None if day is None else DAILY)
    with connected() as con:
        made = build(con, said, into, partition=day or "all")
    lines = made.lines.read_bytes().split(b"\n")[:-1]
    return [json.loads(line)["body"]["input"] for line in lines]


def ids(root: Path) -> list[object]:
    table = pq.read_table(root.parent / f"built-{root.name}" / "requests.parquet")
    return list(table["custom_id"].to_pylist())


def two_days(root: Path, one: pa.Array, two: pa.Array) -> None:
    for day, values in zip(DAYS, (one, two), strict=True):
        keys = [f"{day}-{n}" for n in range(len(values))]
        write(root / f"date={day}" / "p.parquet", {"id": keys, "it": values})


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("prompt", ["{{ it }}", "{{ it | default('') }}{% if 0 %}{% endif %}"])
def test_every_type_is_printed_by_its_shortest_text(tmp_path: Path, kind: str, prompt: str) -> None:
    write(tmp_path / "rows" / "p.parquet", {"id": [1, 2], "it": VALUES[kind]})
    assert prompts(tmp_path / "rows", prompt) == [PRINTED[kind], ""]


@pytest.mark.parametrize(("one", "two"), list(permutations(["int", "float", "text", "list"], 2)))
def test_another_day_changes_no_line_of_a_day(tmp_path: Path, one: str, two: str) -> None:
    root = tmp_path / "rows"
    two_days(root, VALUES[one], VALUES[two])
    assert prompts(root, "{{ it }}", DAYS[0]) == [PRINTED[one], ""]
    assert prompts(root, "{{ it }}", DAYS[1]) == [PRINTED[two], ""]


@pytest.mark.parametrize("one", sorted(VALUES.keys() - {"list"}))
def test_files_of_one_partition_each_keep_their_own_text(tmp_path: Path, one: str) -> None:
    for name, kind in (("a", one), ("b", "text"), ("c", "int")):
        write(tmp_path / "rows" / f"{name}.parquet", {"id": [f"{name}1", name], "it": VALUES[kind]})
    assert prompts(tmp_path / "rows", "{{ it }}") == [PRINTED[one], "", "01067", "", "3", ""]


def test_a_number_and_a_text_are_keys_as_each_file_writes_them(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    write(root / "a.parquet", {"id": [7], "it": ["x"]})
    prompts(root, "{{ it }}")
    alone = ids(root)
    write(root / "b.parquet", {"id": ["007"], "it": ["y"]})
    assert prompts(root, "{{ it }}") == ["x", "y"]
    assert ids(root)[:1] == alone
    write(root / "c.parquet", {"id": ["7"], "it": ["z"]})
    with pytest.raises(DatasetError, match=r"not unique.*'7'"):
        prompts(root, "{{ it }}")


def test_types_that_a_rule_cannot_hold_side_by_side_are_named_with_both_files(
    tmp_path: Path,
) -> None:
    root = tmp_path / "rows"
    write(root / "a.parquet", {"id": ["1"], "text": ["t"], "it": [3]})
    write(root / "b.parquet", {"id": ["2"], "text": ["t"], "it": ["3"]})
    targets = [make_target("x", when="it > 2"), make_target("y")]
    with (
        connected() as con,
        pytest.raises(DatasetError, match=r"b\.parquet: column 'it' is string.*int64 in .*a\.parq"),
    ):
        build(con, make_job(root), tmp_path, targets=targets)
    write(root / "b.parquet", {"id": ["2"], "text": ["t"], "it": [{"a": 1}]})
    with pytest.raises(DatasetError, match=r"'it' is struct.*int64 in .*a\.parquet"):
        prompts(root, "{{ it }}")


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("{{ lang | default('de') }}", "de"),
        ("{% if lang is defined %}{{ lang }}{% else %}none{% endif %}", "none"),
        ("{% if lang %}{{ lang }}{% endif %}", ""),
        ("{{ lang or 'de' }}", "de"),
        ("{% if lang == 'en' %}en{% else %}other{% endif %}", "other"),
        ("{{ 'null' if lang is none else lang }}", "null"),
        ("{{ row['lang'] | default('de') }}", "de"),
    ],
)
def test_a_column_that_a_file_lacks_is_null_where_the_template_allows_it(
    tmp_path: Path, prompt: str, said: str
) -> None:
    root = tmp_path / "rows"
    write(root / "date=2026-01-01" / "p.parquet", {"id": ["a"]})
    write(root / "date=2026-01-02" / "p.parquet", {"id": ["b"], "lang": ["en"]})
    assert prompts(root, prompt, DAYS[0]) == [said]
    assert "en" in prompts(root, prompt, DAYS[1])[0]


def test_a_column_that_is_printed_and_lacking_names_the_file(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    write(root / "date=2026-01-01" / "p.parquet", {"id": ["a"]})
    write(root / "date=2026-01-02" / "p.parquet", {"id": ["b"], "lang": ["en"]})
    with pytest.raises(DatasetError, match=r"date=2026-01-01/p\.parquet .*no column 'lang'.*defau"):
        prompts(root, "{{ lang }}", DAYS[0])
    with pytest.raises(TemplateError, match=r"'lnag' is no column.*mean 'lang'"):
        prompts(root, "{{ lnag }}", DAYS[1])


def test_a_rule_takes_a_lacking_column_as_null(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    write(root / "a.parquet", {"id": ["a"], "text": ["t"]})
    write(root / "b.parquet", {"id": ["b"], "text": ["t"], "lang": ["en"]})
    with connected() as con:
        targets = [make_target("x", when="lang = 'en'"), make_target("y")]
        assert build(con, make_job(root), tmp_path, targets=targets).by_target == {"x": 1, "y": 1}


@pytest.mark.parametrize("content", [b"", b"PAR1 not really PAR1"])
def test_a_broken_file_fails_its_own_partition_alone(tmp_path: Path, content: bytes) -> None:
    root = tmp_path / "rows"
    write(root / "date=2026-01-02" / "p.parquet", {"id": ["b"], "it": ["x"]})
    (root / "date=2026-01-01").mkdir()
    (root / "date=2026-01-01" / "p.parquet").write_bytes(content)
    assert opened(make_job(root, partitions=DAILY)).partitions() == list(DAYS)
    assert prompts(root, "{{ it }}", DAYS[1]) == ["x"]
    with pytest.raises(DatasetError, match=r"date=2026-01-01/p\.parquet: .*cannot be read"):
        prompts(root, "{{ it }}", DAYS[0])


def test_columns_that_nobody_uses_stop_nothing(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    names = ["id", "it", "IT", "half", "wide", "twice", "twice"]
    values = [pa.array([1, 2]), pa.array(["x", "y"]), pa.array([1, 2]), VALUES["half"]]
    values += [VALUES["wide"], pa.array([1, 2]), pa.array([3, 4])]
    (root).mkdir()
    pq.write_table(pa.Table.from_arrays(values, names=names), root / "p.parquet")
    assert prompts(root, "{{ it }}") == ["x", "y"]
    assert prompts(root, "{{ it }} {{ IT }}") == ["x 1", "y 2"]
    with pytest.raises(DatasetError, match="2 columns are called 'twice'"):
        prompts(root, "{{ twice }}")


@pytest.mark.parametrize("prompt", ["{{ it }}", "{{ it }}{% if 0 %}{% endif %}"])
def test_bytes_that_are_no_text_reject_their_row_alone(tmp_path: Path, prompt: str) -> None:
    root = tmp_path / "rows"
    write(root / "p.parquet", {"id": ["a", "b"], "it": pa.array([b"Tr\xc3\xa8s", b"\xff\xfe"])})
    assert prompts(root, prompt) == ["Très"]
    table = pq.read_table(tmp_path / "built-rows" / "requests.parquet")
    assert table["rejected"].to_pylist() == [None, "column 'it': the bytes are no UTF-8 text"]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ('{{ row["Customer Name"] }}', " Bob "),
        ('{{ row["Customer Name"] | trim }}: {{ row["review-text"] }}', "Bob: fine"),
        ('{% if row["if"] %}{{ row["review-text"] | upper }}{% endif %}', "FINE"),
        ("{{ row.loop }}", "9"),
        ("{% for name in ['if', 'loop'] %}{{ row[name] }}{% endfor %}", "19"),
    ],
)
def test_a_column_of_any_name_is_named_through_its_row(
    tmp_path: Path, prompt: str, said: str
) -> None:
    columns = {"id": ["a"], "Customer Name": [" Bob "], "review-text": ["fine"], "if": [1]}
    write(tmp_path / "rows" / "p.parquet", {**columns, "loop": [9]})
    assert prompts(tmp_path / "rows", prompt) == [said]


def test_an_error_says_how_a_spaced_name_is_written(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    write(root / "p.parquet", {"id": ["a"], "Customer Name": ["Bob"]})
    for prompt in ("{{ CustomerName }}", "{{ Customer Name }}", '{{ row["customer name"] }}'):
        with pytest.raises(BatchPipelineError, match=r'\{\{ row\["Customer Name"\] \}\}'):
            prompts(root, prompt)


def test_a_column_called_row_is_that_column(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    write(root / "p.parquet", {"id": ["a"], "row": ["the row"]})
    assert prompts(root, "{{ row }}") == ["the row"]
