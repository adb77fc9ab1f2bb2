from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import UsageError
from batch_pipeline.model import Hole, Limits, Shard, ShardState
from batch_pipeline.stages import arrow
from batch_pipeline.stages.requests.targets import CompiledTarget
from batch_pipeline.stages.shards import request_names
from batch_pipeline.stages.shards.cut import Pending, choose, cut, split
from batch_pipeline_tests.stages.built_requests import (
    ROOMY,
    build,
    connected,
    make_job,
    make_target,
    write,
)

DAILY = {"kind": "daily", "column": "day", "start": "2026-01-01"}


def made(
    root: Path,
    days: list[list[str]],
    limits: Limits = ROOMY,
    targets: Sequence[CompiledTarget] = (),
) -> list[Path]:
    """Request tables of days, each a list of texts."""
    for day, texts in enumerate(days, start=1):
        rows = {"id": [f"row/{n}" for n in range(len(texts))], "text": texts}
        write(root / "in" / f"day=2026-01-{day:02}" / "x.parquet", rows)
    job = make_job(root / "in", partitions=DAILY)
    names = [f"2026-01-{day:02}" for day in range(1, len(days) + 1)]
    with connected() as con:
        return [
            build(
                con,
                job,
                root / name,
                partition=name,
                limits=limits,
                targets=targets,
            ).table
            for name in names
        ]


def chosen(tables: list[Path]) -> Pending:
    with connected() as con:
        return choose(
            con, tables=tables, held=[], outcomes=[], retried_kinds=["errored"], max_attempts=3
        )


def cut_into(into: Path, pending: Pending, limits: Limits = ROOMY) -> list[Shard]:
    return cut(pending, limits=lambda _: limits, job="job", into=into)


def lines_of(into: Path, shard: Shard) -> list[bytes]:
    return (into / shard.shard_id / "lines.jsonl").read_bytes().splitlines(keepends=True)


def rows_of(into: Path, shard: Shard) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(
        into / shard.shard_id / "requests.parquet"
    ).to_pylist()
    return rows


def test_partitions_share_shards_and_each_says_how_many_are_whose(tmp_path: Path) -> None:
    pending = chosen(made(tmp_path, [["a", "b"], ["c"], ["d", "e"]]))
    first, second = cut_into(tmp_path / "shards", pending, Limits(4, 10_000))
    assert first.partitions == {"2026-01-01": 2, "2026-01-02": 1, "2026-01-03": 1}
    assert second.partitions == {"2026-01-03": 1}
    assert (first.state, first.attempt, first.job) == (ShardState.PLANNED, 1, "job")


def test_a_shard_is_what_its_row_says(tmp_path: Path) -> None:
    tables = made(tmp_path, [["a", "b"], ["c"]])
    (shard,) = cut_into(tmp_path / "shards", chosen(tables))
    content = b"".join(lines_of(tmp_path / "shards", shard))
    assert content == b"".join((table.parent / "lines.jsonl").read_bytes() for table in tables)
    assert shard.bytes == len(content)
    parts = ("job", "1", "openai", "m", "/v1/embeddings", shard.digest)
    assert shard.shard_id == hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:20]
    rows = rows_of(tmp_path / "shards", shard)
    named = "".join(str(row[of]) for of in ("custom_id", "content_hash") for row in rows)
    assert shard.digest == hashlib.sha256(named.encode()).hexdigest()
    known = [row for table in tables for row in pq.read_table(table, partitioning=None).to_pylist()]
    for number, (row, request) in enumerate(zip(rows, known, strict=True), start=1):
        names = ("partition", "key", "custom_id", "content_hash", "bytes")
        assert {name: row[name] for name in names} == {name: request[name] for name in names}
        assert (row["line"], row["shard"]) == (number, shard.shard_id)
    assert [row["offset"] for row in rows] == [0, rows[0]["bytes"], shard.bytes - known[2]["bytes"]]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.text("ab", max_size=60), max_size=12), min_size=1, max_size=3),
    st.integers(1, 7),
    st.integers(120, 500),
)
def test_shards_fit_conserve_and_cannot_be_fewer(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[str]], requests: int, size: int
) -> None:
    root, limits = tmp_path_factory.mktemp("cut"), Limits(requests, size)
    tables = made(root, days, limits)
    pending = chosen(tables)
    shards = cut_into(root / "shards", pending, limits)
    sent = [row for shard in shards for row in rows_of(root / "shards", shard)]
    known = [row for table in tables for row in pq.read_table(table, partitioning=None).to_pylist()]
    fitting = [row["custom_id"] for row in known if row["rejected"] is None]
    assert [row["custom_id"] for row in sent] == fitting
    assert sum(shard.requests for shard in shards) == len(pending)
    for shard in shards:
        lines = lines_of(root / "shards", shard)
        assert len(lines) == shard.requests <= requests
        assert sum(map(len, lines)) == shard.bytes <= size
    for shard, after in pairwise(shards):
        next_line = len(lines_of(root / "shards", after)[0])
        assert shard.requests == requests or shard.bytes + next_line > size
    again = cut_into(root / "again", pending, limits)
    assert again == shards


def test_cutting_again_leaves_the_shard_as_it_is(tmp_path: Path) -> None:
    pending = chosen(made(tmp_path, [["a", "b"]]))
    (shard,) = cut_into(tmp_path / "shards", pending)
    lines = tmp_path / "shards" / shard.shard_id / "lines.jsonl"
    before = lines.stat()
    assert cut_into(tmp_path / "shards", pending) == [shard]
    after = lines.stat()  # its ctime is of the link that was made and taken away again
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == [shard.shard_id]


def test_equal_lines_to_another_model_or_with_other_options_are_other_shards(
    tmp_path: Path,
) -> None:
    body = {"input": Hole("{{ text }}")}
    ways: list[dict[str, Any]] = [
        {},
        {"model": "n"},
        {"options": {"betas": "x", "timeout_hours": "9"}},
        {"options": {"timeout_hours": "9", "betas": "y"}},
    ]
    shards = []
    for number, way in enumerate(ways):
        tables = made(tmp_path / str(number), [["a"]], targets=[make_target(body=body, **way)])
        shards += cut_into(tmp_path / "shards", chosen(tables))
    assert len({shard.shard_id for shard in shards}) == len(ways)
    assert len({shard.digest for shard in shards}) == 1
    assert [shard.model for shard in shards] == ["m", "n", "m", "m"]
    assert [shard.options for shard in shards] == [way.get("options", {}) for way in ways]
    parts = ["job", "1", "openai", "m", "/v1/embeddings", shards[2].digest]
    named = "\x1f".join([*parts, '{"betas": "x", "timeout_hours": "9"}'])
    assert shards[2].shard_id == hashlib.sha256(named.encode()).hexdigest()[:20]


def test_the_halves_of_a_shard_keep_its_options(tmp_path: Path) -> None:
    targets = [make_target(options={"timeout_hours": "9"})]
    (whole,) = cut_into(tmp_path / "shards", chosen(made(tmp_path, [["a", "b"]], targets=targets)))
    halves = split(whole, folder=tmp_path / "shards")
    assert [half.options for half in halves] == [{"timeout_hours": "9"}] * 2


def test_gaps_between_lines_are_left_out_and_row_groups_crossed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "ROW_GROUP", 4)
    texts = [("x" * 900 if n % 5 == 2 else "y") + str(n) for n in range(23)]
    (table,) = made(tmp_path, [texts])
    pending = chosen([table])
    some = pending.at(pending.row[pending.bytes < 500])
    shards = cut_into(tmp_path / "shards", some, Limits(7, 10_000))
    sent = [line for shard in shards for line in lines_of(tmp_path / "shards", shard)]
    known = (table.parent / "lines.jsonl").read_bytes().splitlines(keepends=True)
    assert sent == [line for line in known if len(line) < 500]
    ids = [row["key"] for shard in shards for row in rows_of(tmp_path / "shards", shard)]
    assert ids == [f"row/{n}" for n in range(23) if n % 5 != 2]
    assert request_names.Named([table]).of(some).num_rows == len(some)


def test_nothing_pending_is_no_shard(tmp_path: Path) -> None:
    assert cut_into(tmp_path / "shards", chosen([])) == []
    assert cut_into(tmp_path / "shards", chosen(made(tmp_path, [[]]))) == []


def test_a_line_over_a_lowered_limit_says_to_build_again(tmp_path: Path) -> None:
    pending = chosen(made(tmp_path, [["a" * 500]]))
    with pytest.raises(UsageError, match=r"does not fit a shard of 100.*build them again"):
        cut_into(tmp_path / "shards", pending, Limits(10, 100))


def test_a_lines_file_that_is_cut_short_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (table,) = made(tmp_path, [["a", "b"]])
    pending = chosen([table])
    lines = table.parent / "lines.jsonl"
    lines.write_bytes(lines.read_bytes()[:-5])
    with pytest.raises(UsageError, match=r"lines\.jsonl: the lines end before"):
        cut_into(tmp_path / "shards", pending)
    assert not (tmp_path / "shards").exists()


def test_a_shard_splits_into_halves_with_the_same_lines(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    pending = chosen(made(tmp_path, [["a", "b" * 400, "c"], ["d", "e"]]))
    (whole,) = cut_into(shards, pending)
    one, two = split(whole, folder=shards)
    assert lines_of(shards, one) + lines_of(shards, two) == lines_of(shards, whole)
    assert (one.requests, two.requests) == (2, 3)
    assert two.partitions == {"2026-01-01": 1, "2026-01-02": 2}
    assert [row["line"] for row in rows_of(shards, two)] == [1, 2, 3]
    assert rows_of(shards, two)[0]["offset"] == 0
    assert split(whole, folder=shards) == (one, two)
    assert (one.attempt, one.model, one.state) == (1, "m", ShardState.PLANNED)


@pytest.mark.parametrize("texts", [["a" * 900, "b"], ["a", "b" * 900]])
def test_a_shard_of_two_lines_splits_between_them(tmp_path: Path, texts: list[str]) -> None:
    (whole,) = cut_into(tmp_path / "shards", chosen(made(tmp_path, [texts])))
    assert [half.requests for half in split(whole, folder=tmp_path / "shards")] == [1, 1]


def test_one_line_cannot_be_split(tmp_path: Path) -> None:
    (whole,) = cut_into(tmp_path / "shards", chosen(made(tmp_path, [["a"]])))
    with pytest.raises(UsageError, match=r"one line of .* cannot be cut in two"):
        split(whole, folder=tmp_path / "shards")


def test_a_shard_that_is_a_whole_lines_file_is_linked_and_not_copied(tmp_path: Path) -> None:
    (table,) = made(tmp_path, [["a", "b"]])
    (shard,) = cut_into(tmp_path / "shards", chosen([table]))
    linked = tmp_path / "shards" / shard.shard_id / "lines.jsonl"
    assert linked.samefile(table.parent / "lines.jsonl")
