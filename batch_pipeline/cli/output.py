"""What a command gives back beside its tables: exit code, JSON, log lines."""

from __future__ import annotations

import json
import logging
import sys
from enum import IntEnum

from batch_pipeline.escaping import plain


class Exit(IntEnum):
    """What the exit code means; scripts rely on it."""

    DONE = 0  # every request accounted for, none failed
    ERROR = 1  # the run failed; the message says what to do
    USAGE = 2  # wrong usage or a bad job file
    FAILED_ROWS = 3  # every request accounted for, some failed for good
    INTERRUPTED = 130  # Ctrl-C; run again to go on


class PlainFormatter(logging.Formatter):
    """Log lines, which may quote a provider."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with nothing in it that a terminal obeys."""
        return plain(super().format(record))


def print_json(document: object) -> None:
    """The one document of a command that was asked for JSON."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
