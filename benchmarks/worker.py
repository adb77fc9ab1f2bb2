"""One round, in a process of its own: `batch_pipeline` is of the tree that PYTHONPATH names."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import batch_pipeline  # before our own tree is on the path

if TYPE_CHECKING:
    from benchmarks.measuring import Contest

ROOT = str(Path(__file__).resolve().parents[1])


def main() -> None:
    """Measure what the arguments say, see `measuring.round_of`, and print it."""
    contest, name, tree, path, rows, work = sys.argv[1:]
    if not Path(str(batch_pipeline.__file__)).is_relative_to(path):
        raise SystemExit(f"{batch_pipeline.__file__} is not of {path}: no measurement.")
    sys.path.insert(0, ROOT)
    measuring = import_module("benchmarks.measuring")
    ours = import_module(f"benchmarks.{contest}").CONTEST
    if isinstance(ours, measuring.Figures):
        measuring.printed(ours.take(name, tree)(Path(work)))
        return
    theirs = _own(contest) if path != ROOT else ours
    contestant = theirs.contestants[name]
    measuring.printed(measuring.contested(contestant, theirs.source, int(rows), Path(work)))


def _own(name: str) -> Contest:
    """The contest as the other tree has it: it uses the insides of that tree."""
    sys.path.remove(ROOT)
    for module in [one for one in sys.modules if one.partition(".")[0] == "benchmarks"]:
        del sys.modules[module]
    own: Contest = import_module(f"benchmarks.{name}").CONTEST
    return own


if __name__ == "__main__":
    main()
