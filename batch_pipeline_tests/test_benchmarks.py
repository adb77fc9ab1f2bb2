"""How the benchmarks compare: what is told apart, not how fast anything is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import before, measuring, worker
from benchmarks.__main__ import CONTESTS
from benchmarks.measuring import HERE, Figures, Measured, middle, round_of

BUILD = CONTESTS["build"]


def test_a_commit_that_is_not_here_is_no_tree(tmp_path: Path) -> None:
    assert before.checked_out("0" * 40, tmp_path) is None


def test_git_that_is_not_here_is_no_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert before.checked_out("HEAD", tmp_path) is None


def test_a_contest_is_named_as_its_file() -> None:
    for name in CONTESTS:
        assert (Path(measuring.__file__).parent / f"{name}.py").exists()


def test_a_round_measures_a_contestant(tmp_path: Path) -> None:
    assert not isinstance(BUILD, Figures)
    BUILD.prepare(1000, tmp_path)
    taken = round_of(BUILD, "cp", HERE, rows=1000, work=tmp_path)[""]
    assert taken.bytes == (tmp_path / "rows-1000.jsonl").stat().st_size
    assert taken.peak_mb > 0


def test_a_worker_measures_the_tree_it_was_told_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["worker", "build", "cp", "before", str(tmp_path), "1", "."])
    with pytest.raises(SystemExit, match="no measurement"):
        worker.main()


def test_a_figure_is_taken_as_ours_before_unless_it_says_otherwise() -> None:
    def ours(_: Path) -> Measured:
        return Measured(1, 1, 1)

    def another(_: Path) -> Measured:
        return Measured(2, 2, 2)

    takes = {"a": ours, "b": ours, "c": ours}
    figures = Figures("x", "X", takes, before={"b": another, "c": None})
    assert [figures.take(name, "before") for name in takes] == [ours, another, None]
    assert [figures.take(name, "ours") for name in takes] == [ours] * 3


def test_rounds_become_their_medians_and_the_largest_memory() -> None:
    rounds = [Measured(n, 10 - n, int(n), counted={"calls": n}) for n in (1.0, 5.0, 2.0)]
    assert middle(rounds) == Measured(2, 8, 5, counted={"calls": 2})
