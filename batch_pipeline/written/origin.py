"""Where a job was written: the file and the line that an error about a part of it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from batch_pipeline.errors import TemplateError, UsageError

_KEYS = "dataset|partitions|request|targets|retry|shard|canary|schedule"
_NAMED = re.compile(rf"(?<![\w./])(?:{_KEYS})(?:\.[\w$-]+)+")
_SCHEMA = ("request", "output_schema")
Path = tuple[str | int, ...]


class Lines(Protocol):
    """A document that knows its lines."""

    @property
    def file(self) -> str:
        """The file it is in."""
        ...

    def line(self, where: Sequence[str | int]) -> int:
        """The line of the part at *where*, or of the deepest part of it that is there."""
        ...


@dataclass(frozen=True)
class Origin:
    """Where each part of a job stands. Says nothing of the job itself: all origins are equal."""

    file: str = field(default="", compare=False)
    lines: Lines | None = field(default=None, compare=False, repr=False)
    inside: Path = field(default=(), compare=False)
    texts: Mapping[str, tuple[str, int]] = field(default_factory=dict, compare=False, repr=False)
    """Each template's file, and the line that its first line is on."""
    schema: Lines | None = field(default=None, compare=False, repr=False)
    """The output schema's own file, when it has one whose lines are known."""

    def at(self, where: Sequence[str | int]) -> str:
        """`file:line: ` of a part of the job; empty for a job that was made in Python."""
        if self.lines is None:
            return ""
        if self.schema is not None and tuple(where[: len(_SCHEMA)]) == _SCHEMA:
            return f"{self.schema.file}:{self.schema.line(where[len(_SCHEMA) :])}: "
        return f"{self.file}:{self.lines.line((*self.inside, *where))}: "

    @contextmanager
    def placed(self, near: Path = ()) -> Iterator[None]:
        """Errors about the job name file and line: of the key they name, else of *near*."""
        try:
            yield
        except UsageError as error:
            if error.placed or self.lines is None:
                raise
            raise self._placed(error, near) from error.__cause__

    def _placed(self, error: UsageError, near: Path) -> UsageError:
        at = self._of_template(error) or self.at(_key_in(str(error)) or near)
        made = type(error)(f"{at}{error}")
        made.placed = True
        return made

    def _of_template(self, error: UsageError) -> str:
        if not isinstance(error, TemplateError) or error.template not in self.texts:
            return ""
        file, first = self.texts[error.template]
        return f"{file}:{first + max(error.line, 1) - 1}: "


def _key_in(message: str) -> Path:
    """The first key of a job file that a message names, as `dataset.key` or `request.system`."""
    found = _NAMED.search(message)
    return tuple(found[0].split(".")) if found else ()
