from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch_pipeline.stages.results import lines
from batch_pipeline_tests.stages.result_lines import folder


def _read(path: Path, data: bytes, block: int = lines.BLOCK) -> list[str | None]:
    (path / "a.jsonl").write_bytes(data)
    texts: list[str | None] = (
        lines.read([(path / "a.jsonl", "output")], block=block).read_all()["line"].to_pylist()
    )
    return texts


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_lines_are_split_at_newlines_alone_whatever_the_block(tmp_path: Path, block: int) -> None:
    data = "a\u2028b\u0085c\r\n\n\x0bd\x1ce\nlast".encode()
    read = _read(tmp_path, data, block)
    assert read == ["a\u2028b\u0085c\r\n", "\n", "\x0bd\x1ce\n", "last"]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert _read(tmp_path, b"") == []


def test_a_line_that_is_not_utf8_is_null_and_its_neighbours_are_not(tmp_path: Path) -> None:
    assert _read(tmp_path, b"good\n\xff\xfe\nfine") == ["good\n", None, "fine"]


def test_positions_lead_back_to_the_exact_bytes_of_several_files(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"one\n\xfftwo\n")
    second.write_bytes(b"three")
    files = [(first, "output"), (second, "error")]
    table = lines.read(files).read_all()
    assert table["source"].to_pylist() == ["output", "output", "error"]
    positions = table["position"].to_pylist()
    assert positions == sorted(positions)
    assert list(lines.bytes_at(files, positions)) == [b"one", b"\xfftwo", b"three"]


@given(data=st.binary(max_size=200), block=st.integers(1, 64))
@example(data=BOM_UTF8 + b"a\nb", block=1)
def test_no_byte_is_lost_between_blocks(data: bytes, block: int) -> None:
    with folder() as path:
        (path / "a").write_bytes(data)
        files = [(path / "a", "output")]
        positions = lines.read(files, block=block).read_all()["position"].to_pylist()
        found = list(lines.bytes_at(files, positions))
    assert b"\n".join(found) == data.removeprefix(BOM_UTF8).removesuffix(b"\n")
