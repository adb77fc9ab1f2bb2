"""Processes that are killed at one exact place: a function of ours is wrapped, then the CLI runs.

Started once; reads one order a line from stdin, forks a process for it, and answers with how that
process ended. To import everything for each of them would take seconds. SIGKILL leaves no time for
any `finally`, as a power cut or the OOM killer would.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

LATE = (
    "batch_pipeline.cli.main",
    "batch_pipeline.providers.openai.client",
    "genai_prices.data",
    "openai.resources.batches",
    "openai.resources.files",
    "httpcore2",
    "pandas",
)
"""Imported once, in the process that all others are forked from."""

Place: TypeAlias = tuple[str, str, int]
"""MODULE:NAME, "before" or "after" its effect, and which call of it."""


class Crasher:
    """The parent's side: gives the orders."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, place: Place, args: Sequence[str], env: Mapping[str, str]) -> int:
        """Run the CLI with *args* until it dies at *place*; minus the signal, or its exit code."""
        into, answers = self._process.stdin, self._process.stdout
        assert into is not None
        assert answers is not None
        into.write(json.dumps({"place": place, "args": list(args), "env": dict(env)}) + "\n")
        into.flush()
        return int(answers.readline())


@contextmanager
def crasher() -> Iterator[Crasher]:
    """A started Crasher."""
    command = [sys.executable, "-m", "batch_pipeline_tests.crashing"]
    with subprocess.Popen(  # noqa: S603 - our own program
        command,
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Crasher(process)
        assert process.stdin is not None
        process.stdin.close()


def deadly(function: Callable[..., Any], *, when: str, nth: int) -> Callable[..., Any]:
    """*function*, whose call number *nth* ends the process before or after its effect."""
    calls = itertools.count(1)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it wraps
        last = next(calls) == nth
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = function(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return wrapped


def arm(place: str, when: str, nth: int) -> None:
    """Make the function or method at *place* deadly."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, name, deadly(getattr(owner, name), when=when, nth=nth))


def obey(order: Mapping[str, Any]) -> int:
    """Fork a process that does what the order says; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.dup2(2, 1)  # stdout is for the answers
    os.environ.update(order["env"])
    arm(*order["place"])
    try:
        importlib.import_module("batch_pipeline.cli.main").main(order["args"])
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    os._exit(0)


if __name__ == "__main__":
    for name in LATE:
        importlib.import_module(name)
    for line in sys.stdin:
        sys.stdout.write(f"{obey(json.loads(line))}\n")
        sys.stdout.flush()
