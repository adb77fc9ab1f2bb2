"""A result line of any length: it is read in bounded memory or named, and holds up no other."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.providers.anthropic import decode as anthropic_decode
from batch_pipeline.stages.results import decode, lines, wholeness
from batch_pipeline.stages.results.outcomes import decode_shard
from batch_pipeline_tests.stages.result_lines import (
    Returned,
    answer,
    ids,
    make_observation,
    make_shard,
)

MEGABYTE = 1 << 20


@pytest.mark.parametrize("megabytes", [5, 20])
def test_a_long_answer_is_read_whole_and_lands(tmp_path: Path, megabytes: int) -> None:
    back = Returned(tmp_path)
    long = "word " * (megabytes * MEGABYTE // 5)
    done = back.decode(ids(3), [answer("row-0"), answer("row-1", long), answer("row-2")])
    assert (done.succeeded, done.odd.unreadable_lines) == (3, 0)
    assert [len(row["text"]) for row in back.rows()] == [5, len(long), 5]
    back.ask(ids(3))
    assert back.land().succeeded == 3


def test_a_line_that_no_memory_takes_is_unreadable_and_says_what_to_do(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    long = answer("row-1", "x" * (40 * MEGABYTE))
    done = back.decode(ids(4), [answer("row-0"), long, answer("row-2"), answer("row-3")])
    assert (done.succeeded, done.odd.unreadable_lines, done.odd.unknown_lines) == (3, 1, 0)
    row = back.rows()[1]
    assert (row["failure"], row["error_code"]) == ("unreadable", "line_too_long")
    assert f"a line of {len(long) + 1:,} bytes" in row["error_message"]
    assert "BATCH_PIPELINE_MEMORY" in row["error_message"]
    assert len(row["raw"]) < MEGABYTE
    assert len((tmp_path / "shard1.output.jsonl").read_bytes()) > len(long)
    back.ask(ids(4))
    landed = back.land()
    assert (landed.failed, landed.retryable) == (1, 0)  # it is paid for, and ours to read


def test_a_line_that_only_says_it_is_too_long_is_unreadable_and_goes_again(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    line = b'The result line is too long to be read It begins: "custom_id":"row-1"'
    assert back.decode(ids(2), [answer("row-0"), line]).odd.unreadable_lines == 1
    row = back.rows()[1]
    assert (row["failure"], row["error_code"], row["raw"]) == ("unreadable", None, line.decode())
    assert row["error_message"] == "The result line cannot be read; see raw."
    back.ask(ids(2))
    assert back.land().retryable == 1


def test_a_long_line_of_nobody_is_kept_byte_for_byte(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    stranger = answer("stranger", "x" * (6 * MEGABYTE))
    assert back.decode(ids(1), [stranger, answer("row-0")]).odd.unknown_lines == 1
    assert (tmp_path / "shard1.unknown.jsonl").read_bytes() == stranger + b"\n"


def test_many_lines_that_are_too_much_together_are_read_apart(tmp_path: Path) -> None:
    """DuckDB takes many times the bytes of an Anthropic line, for each at the same time."""
    con = duckdb.connect(config={"memory_limit": "100MB", "threads": 2})
    text = "word " * (MEGABYTE // 5)
    file = tmp_path / "a.jsonl"
    said = (
        '{"custom_id":"row-%d","result":{"type":"succeeded","message":{"model":"m","content":'
        '[{"type":"text","text":"%s"}],"stop_reason":"end_turn",'
        '"usage":{"input_tokens":1,"output_tokens":1}}}}\n'
    )
    file.write_text("".join(said % (number, text) for number in range(6)))
    back = Returned(tmp_path)
    back._shard_table("shard1", ids(6), "all", 1)
    done = decode_shard(
        con,
        shard=make_shard(requests=6),
        requests=tmp_path / "shard1.requests.parquet",
        files=[(file, "output")],
        decode_sql=anthropic_decode.decode_sql("/v1/messages"),
        schema=None,
        observation=make_observation(),
        into=tmp_path / "shard1.parquet",
    )
    assert (done.requests, done.succeeded + done.odd.unreadable_lines) == (6, 6)
    assert done.succeeded > 0


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("longest", [8, 20])
def test_long_lines_are_apart_and_the_others_whole(
    tmp_path: Path, block: int, longest: int
) -> None:
    texts = ["a" * 5, "b" * 30, "", "c" * 19, "d" * 7, "e" * 100]
    path = tmp_path / "a"
    for end in ("\n", ""):
        data = "\n".join(texts) + end
        path.write_text(data)
        files = [(path, "output")]
        table = lines.read(files, block=block, longest=longest).read_all()
        read = table["line"].to_pylist()
        ends = ["\n"] * 5 + [end]
        whole = [text + stop for text, stop in zip(texts, ends, strict=True)]
        assert read == [one if len(one) <= longest else None for one in whole]
        positions = table["position"].to_pylist()
        assert list(lines.sizes_at(files, positions)) == [len(one) for one in whole]
        with (tmp_path / "copy").open("wb") as out:
            lines.copied(files, positions, out)
        assert (tmp_path / "copy").read_text() == "\n".join(texts) + "\n"


def test_a_file_with_a_long_line_is_known_to_be_whole_or_cut(tmp_path: Path) -> None:
    path, long = tmp_path / "a", answer("row-1", "x" * (6 * MEGABYTE))
    path.write_bytes(answer("row-0") + b"\n" + long)
    assert wholeness.look(path) == wholeness.Arrived(2)
    path.write_bytes(answer("row-0") + b"\n" + long[:-100])
    assert wholeness.look(path).flaw == "the last line that came is cut"


def test_the_longest_line_follows_the_memory() -> None:
    for limit, least, most in (("256MB", 30, 31), ("2GB", 229, 239), ("20MB", 4, 4)):
        con = duckdb.connect(config={"memory_limit": limit})
        assert least <= decode.longest(con) / MEGABYTE <= most


@given(
    data=st.lists(st.sampled_from([b"\n", b"a", b"bb", b"x" * 12]), max_size=30).map(b"".join),
    block=st.integers(1, 40),
    longest=st.integers(1, 15),
)
def test_no_line_is_lost_cut_or_joined(data: bytes, block: int, longest: int) -> None:
    seen: list[bytes | int] = []
    for piece in lines.pieces(io.BytesIO(data), block, longest):
        seen += [piece.long] if piece.long else piece.data.splitlines(keepends=True)
    every = data.splitlines(keepends=True)
    assert seen == [one if len(one) <= longest else len(one) for one in every]
