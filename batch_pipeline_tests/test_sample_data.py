"""The sample dataset holds every oddity it promises, and the demo job over it loads."""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jinja2
import jinja2.meta
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from batch_pipeline.model import FailureKind
from batch_pipeline.spec import BatchJob

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
REVIEWS = DATA / "reviews"
JOB_FILE = ROOT / "batch_pipeline" / "defs" / "review_triage" / "defs.yaml"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


ODDITIES: dict[str, Callable[[str], object]] = {
    "no text": lambda text: text == "",
    "blanks only": lambda text: text.isspace(),
    "50 kB": lambda text: len(text.encode()) > 50_000,
    "one long word": lambda text: max(map(len, text.split()), default=0) > 800,
    "quotes": lambda text: '"' in text and "'" in text,
    "newline": lambda text: "\n" in text,
    "carriage return": lambda text: re.search("\r(?!\n)", text) and "\r\n" in text,
    "tab": lambda text: "\t" in text,
    "backslash at the end": lambda text: text.endswith("\\"),
    "backslash before a letter": lambda text: "\\u0041" in text and "\\new" in text,
    "control characters": lambda text: {"\x01", "\x07", "\x1b", "\x7f"} <= set(text),
    "NUL": lambda text: "\0" in text,
    "U+2028": lambda text: "\u2028" in text,
    "U+2029": lambda text: "\u2029" in text,
    "U+0085": lambda text: "\x85" in text,
    "emoji joined by ZWJ": lambda text: "\U0001f468\u200d\U0001f469" in text,
    "skin tone": lambda text: "\U0001f3fd" in text,
    "byte order mark inside": lambda text: "\ufeff" in text,
    "Hebrew": lambda text: re.search("[\u05d0-\u05ea]{3}", text),
    "Arabic": lambda text: re.search("[\u0627-\u064a]{3}", text),
    "bidirectional override": lambda text: "\u202e" in text,
    "Japanese": lambda text: re.search("[\u3041-\u30ff]{3}", text),
    "Chinese": lambda text: re.search("[\u4e00-\u9fff]{4}", text),
    "Korean": lambda text: re.search("[\uac00-\ud7a3]{3}", text),
    "CJK beyond 16 bits": lambda text: re.search("[\U00020000-\U0002ffff]", text),
    "combining accents": lambda text: "e\u0301" in text and "\u00e9" in text,
    "non-character": lambda text: "\uffff" in text,
    "mojibake": lambda text: "Ã©" in text,
    "HTML": lambda text: "<script>" in text and "&amp;" in text,
    "closes the prompt's tag": lambda text: "</review>" in text,
    "JSON": lambda text: text.startswith("{") and _is_json(text),
    "cut JSON": lambda text: text.startswith('{"') and not _is_json(text),
    "injection": lambda text: "Ignore all previous instructions" in text,
    "special tokens": lambda text: "<|endoftext|>" in text,
    "template": lambda text: "{{ title }}" in text and "{% raw %}" in text,
    "endless template": lambda text: "{% for x in range(10**9) %}" in text,
    "SQL": lambda text: "'); DROP TABLE" in text,
    "formula": lambda text: text.startswith("="),
}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reviews", DATA / "make_reviews.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reviews() -> pa.Table:
    paths = sorted(REVIEWS.glob("*/*.parquet"))
    return pa.concat_tables(pq.ParquetFile(path).read() for path in paths)


@pytest.fixture(scope="module")
def bodies(reviews: pa.Table) -> list[str]:
    return [body for body in reviews["body"].to_pylist() if body is not None]


@pytest.fixture(scope="module")
def job() -> BatchJob:
    document = yaml.safe_load(JOB_FILE.read_text(encoding="utf-8"))
    assert document["type"] == "batch_pipeline.components.BatchJobComponent"
    return BatchJob.model_validate(document["attributes"]).resolved(JOB_FILE.parent)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_some_review_has_the_oddity(oddity: str, bodies: list[str]) -> None:
    assert any(ODDITIES[oddity](body) for body in bodies)


def test_there_are_thirty_days_of_about_forty_reviews() -> None:
    sizes = [pq.read_metadata(path).num_rows for path in REVIEWS.glob("*/*.parquet")]
    assert len(sizes) == 30
    assert all(35 <= size <= 45 for size in sizes)


def test_every_review_has_an_id_of_its_own_that_is_no_custom_id(reviews: pa.Table) -> None:
    ids = reviews["review_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"R-2026/01/\d\d-\d{4}", each) for each in ids)


def test_reviews_come_in_the_order_of_their_time_and_on_their_day(reviews: pa.Table) -> None:
    times = reviews["created_at"].cast("int64").to_pylist()
    assert times == sorted(times)
    days = [f"R-{day:%Y/%m/%d}" for day in reviews["created_at"].cast("date32").to_pylist()]
    assert days == [each[:12] for each in reviews["review_id"].to_pylist()]


@pytest.mark.parametrize("column", ["stars", "title", "body", "language"])
def test_the_column_has_nulls_but_is_not_empty(column: str, reviews: pa.Table) -> None:
    assert 0 < reviews[column].null_count < reviews.num_rows / 3


def test_texts_are_repeated_within_a_day_and_across_days(maker: ModuleType) -> None:
    days = [set(day) for day in _long_bodies_by_day(maker)]
    assert any(len(set(day)) < len(day) for day in _long_bodies_by_day(maker))
    assert max(Counter(body for day in days for body in day).values()) >= 3


def _long_bodies_by_day(maker: ModuleType) -> list[list[str]]:
    tables = [pq.ParquetFile(maker.path_of(day)).read() for day in maker.DAYS]
    bodies = [table["body"].to_pylist() for table in tables]
    return [[body for body in day if body is not None and len(body) > 20] for day in bodies]


def test_only_two_texts_are_huge(bodies: list[str]) -> None:
    assert sum(len(body) > 10_000 for body in bodies) == 2


def test_titles_are_odd_too(reviews: pa.Table) -> None:
    titles = set(reviews["title"].to_pylist())
    assert {"", "\\", "{{ body }}", "Line\nbreak", "\u2028", None} <= titles


def test_the_dataset_takes_less_than_a_megabyte() -> None:
    assert sum(path.stat().st_size for path in REVIEWS.rglob("*.parquet")) < 1_000_000


def test_the_generator_makes_the_tracked_files_again(maker: ModuleType) -> None:
    assert maker.differences(REVIEWS) == []


def test_the_check_names_each_file_that_is_not_as_written(
    maker: ModuleType, tmp_path: Path
) -> None:
    good, changed, rewritten, broken, lost = maker.DAYS[:5]
    for day in (good, changed, rewritten, broken):
        maker.path_of(day, tmp_path).parent.mkdir()
    table = maker.table_of(rewritten)
    maker.path_of(good, tmp_path).write_bytes(maker.bytes_of(maker.table_of(good)))
    maker.path_of(changed, tmp_path).write_bytes(maker.bytes_of(table))
    pq.write_table(table, maker.path_of(rewritten, tmp_path), compression="gzip")
    maker.path_of(broken, tmp_path).write_bytes(b"PAR1, or not")
    (tmp_path / "stray.csv").touch()
    said = "\n".join(maker.differences(tmp_path))
    assert str(maker.path_of(good, tmp_path)) not in said
    assert f"{maker.path_of(changed, tmp_path)}: holds other rows" in said
    assert f"{maker.path_of(rewritten, tmp_path)}: holds the right rows in other bytes" in said
    assert f"{maker.path_of(broken, tmp_path)}: cannot be read" in said
    assert f"{maker.path_of(lost, tmp_path)}: is missing" in said
    assert "stray.csv: is no file of the dataset" in said


def test_the_demo_job_reads_this_dataset_day_by_day(job: BatchJob, maker: ModuleType) -> None:
    assert Path(job.dataset.path) == REVIEWS
    assert job.partitions.start == str(maker.DAYS[0])
    assert job.partitions.end == str(maker.DAYS[-1])
    assert job.schedule is not None
    assert job.schedule.cron == "0 6 * * *"


def test_the_demo_job_names_only_columns_that_exist(job: BatchJob, reviews: pa.Table) -> None:
    assert {*job.dataset.key, *job.dataset.columns} <= set(reviews.column_names)


def test_the_demo_templates_use_exactly_the_columns_that_the_job_allows(job: BatchJob) -> None:
    grammar = jinja2.Environment(autoescape=False)  # noqa: S701 - only parsed, never rendered
    trees = [grammar.parse(turn.content) for turn in job.request.turns]
    used = set().union(*(jinja2.meta.find_undeclared_variables(tree) for tree in trees))
    assert used == set(job.dataset.columns)


def test_the_demo_schema_keeps_the_rules_of_strict_mode(job: BatchJob) -> None:
    schema = job.request.json_schema
    assert schema is not None
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert schema["required"] == list(properties)
    assert schema["additionalProperties"] is False
    assert set(properties) == {"sentiment", "topics", "urgency", "summary"}


def test_the_demo_job_sends_useless_answers_again_on_purpose(job: BatchJob) -> None:
    assert job.retry.max_attempts == 3
    assert {FailureKind.TRUNCATED, FailureKind.INVALID} < set(job.retry.kinds)
