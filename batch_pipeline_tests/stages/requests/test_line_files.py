"""Lines lie in files cut where shards are: a whole one becomes a shard without being copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.errors import UsageError
from batch_pipeline.model import Limits
from batch_pipeline.stages.requests.line_files import (
    Pieces,
    is_whole_file,
    line_files,
    lines_written,
)

ROOM = Limits(requests=3, bytes=20)
SIZES = st.lists(st.integers(1, 20), max_size=12)


def write(folder: Path, batches: list[list[int]], limits: Limits = ROOM) -> bytes:
    """Write lines of the given sizes, batch by batch; returns all their bytes."""
    whole = b""
    with lines_written(folder, [limits]) as (out,):
        for sizes in batches:
            data = b"".join(bytes([65 + n % 26]) * size for n, size in enumerate(sizes))
            out.write(memoryview(data), np.cumsum([0, *sizes]))
            whole += data
    return whole


@given(st.lists(SIZES, max_size=4))
def test_files_hold_the_lines_in_order_and_each_takes_all_that_fits(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    whole = write(folder, batches)
    files = line_files(folder)
    assert b"".join(path.read_bytes() for path in files) == whole
    sizes, greedy = [size for batch in batches for size in batch], [[0, 0]]
    for size in sizes:
        if greedy[-1][0] == ROOM.requests or greedy[-1][1] + size > ROOM.bytes:
            greedy.append([0, 0])
        greedy[-1] = [greedy[-1][0] + 1, greedy[-1][1] + size]
    assert [path.stat().st_size for path in files] == [total for _, total in greedy]


@given(SIZES, st.data())
def test_any_stretch_is_found_across_the_files(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    whole = write(folder, [sizes])
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, len(whole)))
    found = b"".join(
        piece.path.read_bytes()[piece.offset : piece.offset + piece.bytes]
        for piece in Pieces(folder).between(first, last - first)
    )
    assert found == whole[first:last]


def test_a_stretch_beyond_the_end_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [[5, 5]])
    with pytest.raises(UsageError, match=r"lines\.jsonl: the lines end before"):
        list(Pieces(tmp_path).between(4, 7))
    with pytest.raises(UsageError, match="the lines end before"):
        list(Pieces(tmp_path / "nothing").between(0, 1))


def test_fewer_files_than_before_leave_none_of_the_old_ones(tmp_path: Path) -> None:
    write(tmp_path, [[20, 20, 20]])
    assert len(line_files(tmp_path)) == 3
    write(tmp_path, [[1]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.jsonl"]


def test_each_target_has_files_of_its_own(tmp_path: Path) -> None:
    with lines_written(tmp_path, [ROOM, ROOM, Limits(9, 40)]) as (one, _, three):
        one.write(memoryview(b"a" * 40), np.array([0, 20, 40]))
        three.write(memoryview(b"c" * 41), np.array([0, 20, 41]))
    names = ["lines.jsonl", "lines.1.jsonl", "lines-1.jsonl", "lines-2.jsonl", "lines-2.1.jsonl"]
    assert [path.name for path in line_files(tmp_path)] == names
    assert [path.stat().st_size for path in line_files(tmp_path)] == [20, 20, 0, 20, 21]
    (piece,) = Pieces(tmp_path, 2).between(20, 21)
    assert (piece.path.name, piece.offset) == ("lines-2.1.jsonl", 0)
    write(tmp_path, [[1]])
    assert [path.name for path in line_files(tmp_path)] == ["lines.jsonl"]


def test_a_failure_leaves_the_former_files(tmp_path: Path) -> None:
    former = write(tmp_path, [[20, 20]])

    def broken() -> None:
        with lines_written(tmp_path, [ROOM]) as (out,):
            out.write(memoryview(b"half"), np.array([0, 4]))
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        broken()
    assert b"".join(path.read_bytes() for path in line_files(tmp_path)) == former
    assert len(list(tmp_path.iterdir())) == 2


def test_only_one_piece_that_is_all_of_its_file_is_a_whole_file(tmp_path: Path) -> None:
    write(tmp_path, [[10, 10, 10]])
    pieces = Pieces(tmp_path)
    assert is_whole_file(list(pieces.between(0, 20)))
    assert is_whole_file(list(pieces.between(20, 10)))
    for offset, size in ((0, 10), (10, 10), (10, 20), (0, 30)):
        assert not is_whole_file(list(pieces.between(offset, size)))
