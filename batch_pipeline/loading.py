"""How a program of ours loads quickly: only what it needs, and no search for garbage meanwhile."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Collection
from importlib import import_module
from types import ModuleType

_PROGRAMS = ("batch-pipeline", os.path.join("batch_pipeline", "cli/main.py"))  # noqa: PTH118 - an end


def ours() -> bool:
    """Whether this process is our command line, and not somebody who imports it."""
    return sys.argv[0].endswith(_PROGRAMS)


def begin() -> None:
    """Let the garbage collector rest until `end`: nothing is garbage yet, and there is much."""
    if ours():
        gc.disable()


def end() -> None:
    """What is loaded by now stays; from here on there is garbage.

    Once: DuckDB, which is loaded later, complains of what of it is left at the end.
    """
    if ours() and not gc.isenabled():
        gc.freeze()
        gc.enable()


def late(package: str, names: Collection[str]) -> Callable[[str], ModuleType]:
    """A `__getattr__` for *package*: its files *names*, each loaded when it is first asked for."""

    def asked(name: str) -> ModuleType:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return asked


begin()
