from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.stages import arrow
from batch_pipeline.stages.arrow import detached, row_groups, text_buffer


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_column_is_one_buffer_and_its_offsets(kind: pa.DataType) -> None:
    texts = pa.array(["ä", "", "bc", "d"], kind).slice(1, 2)
    bounds, data = text_buffer(texts)
    assert [bytes(data[a:b]) for a, b in pairwise(bounds)] == [b"", b"bc"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_column_without_rows_or_without_letters_has_no_bytes(kind: pa.DataType) -> None:
    for texts in ([], [""]):
        bounds, data = text_buffer(pa.array(texts, kind))
        assert bounds.tolist() == [0] * (len(texts) + 1)
        assert bytes(data[: bounds[-1]]) == b""


def test_a_detached_column_owns_its_memory() -> None:
    column = pa.array(["a", None, "c"])
    copy = detached(column)
    assert copy.equals(column)
    assert copy.buffers()[2].address != column.buffers()[2].address


def test_row_groups_have_one_size_however_rows_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "ROW_GROUP", 10)
    rows = pa.record_batch({"n": list(range(37)), "text": [f"t{n}" for n in range(37)]})
    written = []
    for size in (37, 10, 3, 1):
        path = tmp_path / f"{size}.parquet"
        with row_groups(path, rows.schema) as groups:
            for start in range(0, 37, size):
                groups.add(rows.slice(start, size))
        meta = pq.read_metadata(path)
        sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        assert sizes == [10, 10, 10, 7]
        written.append(path.read_bytes())
    assert len(set(written)) == 1
