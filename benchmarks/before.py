"""The commit that ours is compared with, checked out as a git worktree beside the figures."""

from __future__ import annotations

import compileall
import subprocess
from pathlib import Path

from benchmarks.measuring import BEFORE, ROOT, Tree

COMMIT = "b3e53fc"
"""The last commit before small partitions, commands and validation became quick."""
NONE = "none"


def checked_out(commit: str, work: Path) -> Tree | None:
    """The commit's tree, made once; None when git or the commit is not here."""
    try:
        full = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
        path = work.resolve() / f"before-{full[:12]}"
        if not (path / "batch_pipeline").exists():
            _git("worktree", "add", "--force", "--detach", str(path), full)
    except (OSError, subprocess.CalledProcessError):
        return None
    compileall.compile_dir(path / "batch_pipeline", quiet=2)
    return Tree(BEFORE, path, f"{BEFORE} ({full[:7]})")


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own words
        ["git", "-C", str(ROOT), *arguments],  # noqa: S607 - whichever git is on the path
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
