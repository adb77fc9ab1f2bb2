"""What the disk, DuckDB or Arrow could not do, as an error of ours: which file, why, what to do."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch_pipeline.errors import StoreError

_LONGEST = 300
_QUOTED_PATH = re.compile(r"""["'](/[^"']+)["']""")
_GONE = re.compile(r"No files found|No such file")
_FULL = re.compile(r"No space left|max_temp_directory_size", re.IGNORECASE)
_REMEDIES = {
    "requests": "`batch-pipeline run JOB` builds it again, and pays nothing for what is answered.",
    "shards": "Bring it back from a backup: it names the rows that were sent. Without it nothing "
    "of them is sent or read, so that nothing is paid twice. What was never sent (`status` says "
    "planned) goes free with `batch-pipeline cancel JOB`.",
    "raw": "Bring it back from a backup, or let `batch-pipeline run JOB` fetch it again while the "
    "provider keeps it.",
    "outcomes": "`batch-pipeline reparse JOB` makes it again from raw/, and pays nothing.",
    "results": "`batch-pipeline reparse JOB` makes it again from raw/, and pays nothing.",
}
_MEND = "Nothing is lost: put it right and run the step again."


@contextmanager
def said() -> Iterator[None]:
    """Errors of the block that are not ours, as a StoreError; an interrupted query is a Ctrl-C."""
    try:
        yield
    except BrokenPipeError:  # whoever read our output has gone: no matter of the store
        raise
    except Exception as error:
        if _is(error, "duckdb", "InterruptException") or (
            # so says DuckDB's reader of a stream
            isinstance(error, RuntimeError) and "interrupted" in str(error).lower()
        ):
            raise KeyboardInterrupt from None
        if isinstance(error, OSError | MemoryError) or _is_theirs(error):
            raise StoreError(_sentence(error)) from error
        raise


def _is_theirs(error: Exception) -> bool:
    return _is(error, "duckdb", "Error") or _is(error, "pyarrow", "ArrowException")


def _is(error: Exception, library: str, name: str) -> bool:
    """Whether it is a library's error; of one that is not even loaded it is none."""
    loaded = sys.modules.get(library)
    return loaded is not None and isinstance(error, getattr(loaded, name))


def _sentence(error: Exception) -> str:
    why = str(error).strip().partition("\n")[0][:_LONGEST]
    path = _path(error, why)
    if _FULL.search(why):
        return f"{path or 'The disk'} is full: {why} {_MEND}"
    if isinstance(error, MemoryError) or _is(error, "duckdb", "OutOfMemoryException"):
        return (
            f"Memory ran out: {why or 'the process may have no more'}. Raise "
            "BATCH_PIPELINE_MEMORY, or lower shard.max_bytes of the job. " + _MEND
        )
    if path is not None and (isinstance(error, FileNotFoundError) or _GONE.search(why)):
        return f"{path} is gone. {_remedy(path)}"
    if isinstance(error, OSError) and path is not None:
        return f"{path}: {error.strerror or why}. {_MEND}"
    if path is not None:
        return f"{path} cannot be read: {why} {_remedy(path)}"
    return f"The store's files cannot be worked on: {why} {_MEND}"


def _path(error: Exception, why: str) -> Path | None:
    named = getattr(error, "filename", None)
    if isinstance(named, str | bytes):
        return Path(named.decode() if isinstance(named, bytes) else named)
    quoted = _QUOTED_PATH.search(why)
    return Path(quoted[1]) if quoted else None


def _remedy(path: Path) -> str:
    """What brings a file of the store back, by the folder it is in."""
    folders = [name for name in path.parts if name in _REMEDIES]
    return _REMEDIES[folders[0]] if folders else _MEND
