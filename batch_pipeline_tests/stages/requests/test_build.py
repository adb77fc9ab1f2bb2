from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import DatasetError, SpecError, StoreError, TemplateError
from batch_pipeline.model import Hole, Limits
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages import arrow
from batch_pipeline.stages.requests import reading
from batch_pipeline.stages.requests.build import RequestsBuilt
from batch_pipeline.stages.requests.line_files import line_files
from batch_pipeline_tests.stages.built_requests import (
    ROOMY,
    build,
    connected,
    make_job,
    opened,
    write,
)

MAIL = Path(__file__).parents[4] / "shared" / "data" / "mail"
KEYS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), unique=True)


def built(job: BatchJob, into: Path, **options: Any) -> RequestsBuilt:  # noqa: ANN401 - build's own
    with connected(options.pop("threads", 2)) as con:
        return build(con, job, into, **options)


def content_of(made: RequestsBuilt) -> bytes:
    return b"".join(path.read_bytes() for path in line_files(made.lines.parent))


def lines_of(made: RequestsBuilt) -> list[bytes]:
    return content_of(made).split(b"\n")[:-1]


def table_of(made: RequestsBuilt) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(made.table, partitioning=None).to_pylist()
    return rows


def test_a_row_becomes_a_line_and_a_row_of_the_request_table(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": ["a/b c"], "text": ["Hi\n"], "other": [1]})
    made = built(make_job(tmp_path / "x.parquet", prompt="Say {{ text }}!"), tmp_path / "out")
    digest = hashlib.sha256(b"job\x1fall\x1fa/b c").hexdigest()
    body = '{"model":"m","input":"Say Hi\\n!"}'
    line = f'{{"custom_id":"a-b-c-{digest[:16]}","body":{body}}}\n'.encode()
    assert made.lines.read_bytes() == line
    assert table_of(made) == [
        {
            "partition": "all",
            "id": "a/b c",
            "key": "a/b c",
            "custom_id": f"a-b-c-{digest[:16]}",
            "content_hash": hashlib.sha256(body.encode()).hexdigest(),
            "target": "openai/m",
            "offset": 0,
            "bytes": len(line),
            "rejected": None,
        }
    ]
    assert (made.requests, made.rejected, made.bytes) == (1, 0, len(line))
    assert made.by_target == {"openai/m": 1}


@settings(max_examples=15, deadline=None)
@given(KEYS, st.data())
def test_every_row_is_in_the_table_once_and_every_fitting_line_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("conservation")
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
    texts = [data.draw(text) for _ in keys]
    rows = {"id": pa.array(keys, pa.string()), "text": pa.array(texts, pa.string())}
    write(root / "in" / "x.parquet", rows, row_group_size=3)
    made = built(make_job(root / "in"), root / "out", limits=Limits(9, 180))
    table, lines = table_of(made), lines_of(made)
    assert [row["id"] for row in table] == [row["key"] for row in table] == keys
    kept = [row for row in table if row["rejected"] is None]
    assert [json.loads(line)["custom_id"] for line in lines] == [row["custom_id"] for row in kept]
    assert len({row["custom_id"] for row in table}) == len(keys) == made.requests
    content = content_of(made)
    for row, line in zip(kept, lines, strict=True):
        assert content[row["offset"] : row["offset"] + row["bytes"]] == line + b"\n"
        assert row["bytes"] <= 180
        wanted = dict(zip(keys, texts, strict=True))[row["key"]]
        assert json.loads(line)["body"]["input"] == wanted
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", row["custom_id"])
    for row in table:
        if row["rejected"] is not None:
            assert row["offset"] is None
            assert row["bytes"] > 180
    assert made.rejected == len(keys) - len(kept)
    assert made.bytes == len(content)


def test_the_same_rows_make_the_same_bytes_whatever_the_threads_and_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "ROW_GROUP", 1000)
    count = 5_500
    rows = {"id": list(range(count)), "text": [f"text {n} " * (n % 50) for n in range(count)]}
    write(tmp_path / "in" / "x.parquet", rows, row_group_size=700)
    job = make_job(tmp_path / "in")
    one = built(job, tmp_path / "one", threads=1)
    monkeypatch.setattr(reading, "_BATCH_ROWS", 333)
    two = built(job, tmp_path / "two", threads=2)
    assert one.lines.read_bytes() == two.lines.read_bytes()
    assert one.table.read_bytes() == two.table.read_bytes()
    assert one.digest == two.digest
    assert pq.ParquetFile(one.table).metadata.num_row_groups == 6


def test_a_line_over_the_limit_is_rejected_with_its_size(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1, 2, 3], "text": ["a", "b" * 2000, "c"]})
    made = built(make_job(tmp_path / "x.parquet"), tmp_path / "out", limits=Limits(10, 1000))
    assert (made.requests, made.rejected) == (3, 1)
    assert [json.loads(line)["body"]["input"] for line in lines_of(made)] == ["a", "c"]
    row = table_of(made)[1]
    assert row["rejected"] == f"line of {row['bytes']:,} bytes is over the limit of 1,000"
    assert row["offset"] is None


def test_another_limit_is_another_digest_and_another_text_too(tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.parquet", {"id": [1], "text": ["a" * 200]})
    job = make_job(tmp_path / "in")
    digests = {
        built(job, tmp_path / "a").digest,
        built(job, tmp_path / "b", limits=Limits(1, 100)).digest,
        built(make_job(tmp_path / "in", prompt="x"), tmp_path / "c").digest,
    }
    assert len(digests) == 3


def test_an_empty_partition_has_an_empty_table(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": pa.array([], pa.int32()), "text": pa.array([], "string")})
    made = built(make_job(tmp_path / "x.parquet"), tmp_path / "out")
    assert (made.requests, made.bytes, made.lines.read_bytes()) == (0, 0, b"")
    assert pq.read_schema(made.table).field("id").type == pa.int32()


def test_a_repeated_key_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": ["a", "b", "a", "c", "b"], "text": ["x"] * 5})
    with pytest.raises(
        DatasetError, match=r"partition 'all': the key 'id' is not unique.*'a', 'b'"
    ):
        built(make_job(tmp_path / "x.parquet"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_null_key_is_named_by_its_row(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": ["a", None], "n": [1, 2], "text": ["x", "y"]})
    with pytest.raises(DatasetError, match="the key 'id' is null in row 2"):
        built(make_job(tmp_path / "x.parquet"), tmp_path / "out")
    with pytest.raises(DatasetError, match="the key 'n', 'id' is null in row 2"):
        built(make_job(tmp_path / "x.parquet", key=["n", "id"]), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_key_of_several_columns_is_a_json_array_of_their_texts(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, tzinfo=UTC)
    rows = {"id": ['a"', "b"], "at": [at, at], "day": [date(2026, 1, 1)] * 2, "text": ["x"] * 2}
    write(tmp_path / "x.parquet", rows)
    made = built(make_job(tmp_path / "x.parquet", key=["id", "at", "day"]), tmp_path / "out")
    first = table_of(made)[0]
    assert json.loads(first["key"]) == ['a"', "2026-01-02 03:00:00+00", "2026-01-01"]
    assert (first["id"], first["at"], first["day"]) == ('a"', at, date(2026, 1, 1))


@pytest.mark.parametrize(
    ("key", "slug"),
    [
        ("a--b  c", "a-b-c-"),
        ("/x/", "x-"),
        ("日本", ""),
        ("", ""),
        ("a" * 39 + "/bc", "a" * 39 + "-"),
    ],
)
def test_a_custom_id_is_readable_where_the_key_allows(tmp_path: Path, key: str, slug: str) -> None:
    write(tmp_path / "x.parquet", {"id": [key], "text": ["x"]})
    digest = hashlib.sha256(f"job\x1fall\x1f{key}".encode()).hexdigest()
    readable = built(make_job(tmp_path / "x.parquet"), tmp_path / "out")
    assert table_of(readable)[0]["custom_id"] == slug + digest[:16]
    opaque = built(make_job(tmp_path / "x.parquet", custom_id="opaque"), tmp_path / "out")
    assert table_of(opaque)[0]["custom_id"] == digest[:32]


def test_the_same_key_in_another_partition_is_another_custom_id(tmp_path: Path) -> None:
    for day in (1, 2):
        write(tmp_path / "in" / f"day=2026-01-0{day}" / "x.parquet", {"id": ["a"], "text": ["x"]})
    said = {"kind": "daily", "column": "day", "start": "2026-01-01"}
    job = make_job(tmp_path / "in", partitions=said, prompt="{{ day }} {{ text }}")
    made = [built(job, tmp_path / p, partition=p) for p in ("2026-01-01", "2026-01-02")]
    ids = {table_of(each)[0]["custom_id"] for each in made}
    assert len(ids) == 2
    assert json.loads(lines_of(made[1])[0])["body"]["input"] == "2026-01-02 x"


def test_templates_that_need_jinja_and_those_that_do_not_meet_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1, 2], "text": ["a", None], "tags": [["x", "y"], []]})
    looped = Hole("{% for tag in tags %}<{{ tag }}>{% endfor %}")
    body = {"plain": Hole("{{ text }}{{ id }}"), "looped": looped, "fixed": Hole("hi")}
    made = built(make_job(tmp_path / "x.parquet"), tmp_path / "out", body=body)
    assert [json.loads(line)["body"] for line in lines_of(made)] == [
        {"plain": "a1", "looped": "<x><y>", "fixed": "hi"},
        {"plain": "2", "looped": "", "fixed": "hi"},
    ]


def test_a_row_that_fails_to_render_stops_the_build_by_its_key(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [f"row {n}" for n in range(9)], "text": ["x"] * 9})
    job = make_job(tmp_path / "x.parquet", prompt="{{ 1 / 0 if id == 'row 7' else text }}")
    with pytest.raises(TemplateError, match="the row with key 'row 7' cannot be rendered: ZeroDiv"):
        built(job, tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []


def test_templates_see_only_the_columns_they_may_use(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1], "text": ["a"], "secret": ["s"]})
    made = built(make_job(tmp_path / "x.parquet", columns=["text"]), tmp_path / "out")
    assert made.requests == 1
    with pytest.raises(TemplateError, match="'secret' is no column"):
        built(
            make_job(tmp_path / "x.parquet", columns=["text"], prompt="{{ secret }}"),
            tmp_path / "out",
        )


@pytest.mark.parametrize("name", ["text", "Cost_USD", "partition"])
def test_a_key_column_named_like_a_result_column_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x.parquet", {name: ["a"]})
    with pytest.raises(SpecError, match=f"names the column '{name}', which is also"):
        built(make_job(tmp_path / "x.parquet", key=name, prompt="x"), tmp_path / "out")


def test_a_key_column_named_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": ["a"]})
    with pytest.raises(SpecError, match="names a column twice"):
        built(make_job(tmp_path / "x.parquet", key=["id", "id"], prompt="x"), tmp_path / "out")


def test_a_file_that_is_broken_inside_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    texts = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(3000)]
    path = write(tmp_path / "x.parquet", {"id": list(range(3000)), "text": texts})
    content = bytearray(path.read_bytes())
    content[30_000:60_000] = bytes(30_000)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.parquet: this Parquet file cannot be read"):
        built(make_job(tmp_path / "x.parquet"), tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_text_that_is_not_utf_8_is_an_error_and_no_line(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")]
    )
    write(tmp_path / "x.parquet", {"id": [1], "text": bad})
    with pytest.raises(DatasetError, match=r"x\.parquet: this Parquet file cannot be read .*UTF8"):
        built(make_job(tmp_path / "x.parquet"), tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_texts_beyond_the_memory_limit_say_which_setting_to_raise(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", {"id": [1, 2], "text": ["a" * 40_000_000] * 2})
    with (
        pytest.raises(StoreError, match=r"needs more memory.*BATCH_PIPELINE_MEMORY"),
        connected(memory="40MB") as con,
    ):
        build(con, make_job(tmp_path / "x.parquet"), tmp_path / "out")


def test_long_texts_are_read_in_smaller_batches(tmp_path: Path) -> None:
    rows = {"id": list(range(600)), "text": ["ß" * 40_000] * 600}
    write(tmp_path / "x.parquet", rows)
    job = make_job(tmp_path / "x.parquet")
    with connected() as con:
        selection = opened(job).select("all")
        made = build(con, job, tmp_path / "out")
    assert reading.batch_rows(selection.files, ["id", "text"]) < 100
    assert made.requests == 600
    assert made.bytes > 600 * 80_000


@pytest.mark.skipif(not MAIL.exists(), reason="the shared mail sample is not here")
def test_a_month_of_real_mail_is_built_whole(tmp_path: Path) -> None:
    said = {"kind": "daily", "column": "date", "start": "2002-08-01"}
    prompt = "{{ date }} {{ subject|trim }}\n{{ body }}"
    job = make_job(MAIL, key="message_id", partitions=said, prompt=prompt)
    with connected() as con:
        dataset = opened(job)
        days = dataset.partitions()
        made = [build(con, job, tmp_path / day, partition=day, limits=ROOMY) for day in days]
    assert (days[0], days[-1], len(days)) == ("2002-08-01", "2002-08-31", 31)
    assert sum(each.requests for each in made) == 1658
    ids = [row["custom_id"] for each in made for row in table_of(each)]
    assert len(set(ids)) == 1658
    source = pq.read_table(MAIL / "date=2002-08-28", partitioning=None).to_pylist()
    for row, line in zip(source, lines_of(made[27]), strict=True):
        wanted = f"2002-08-28 {(row['subject'] or '').strip()}\n{row['body'] or ''}"
        assert json.loads(line)["body"]["input"] == wanted
