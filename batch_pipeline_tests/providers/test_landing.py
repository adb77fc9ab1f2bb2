"""A landed file is whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_pipeline.errors import StoreError
from batch_pipeline.providers.calling import landing


def test_a_landed_file_holds_all_bytes_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "raw" / "job" / "b.output.jsonl"
    with landing(target) as out:
        out.write(b"one\n")
        assert not target.exists()
    assert target.read_bytes() == b"one\n"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_former_file_and_no_part(tmp_path: Path) -> None:
    target = tmp_path / "b.output.jsonl"
    target.write_bytes(b"former\n")

    def cut_short() -> None:
        with landing(target) as out:
            out.write(b"half")
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError):
        cut_short()
    assert target.read_bytes() == b"former\n"
    assert list(tmp_path.iterdir()) == [target]


def test_a_disk_that_refuses_is_a_store_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where a folder should be")
    target = tmp_path / "raw" / "b.output.jsonl"
    with pytest.raises(StoreError, match=r"b\.output\.jsonl.*run the step again"), landing(target):
        pass
