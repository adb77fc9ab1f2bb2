"""Where every file of the store is, and how one is written so that it is whole or not there."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from glob import escape as glob_escape
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from batch_pipeline.errors import StoreError, UsageError
from batch_pipeline.whole_files import folder_made, may_write, private_file

_LONGEST = 200  # bytes: a folder's name ends at 255, and files are written aside under longer names
_ASIDE = ".*.part"


def partition_folder(partition: str) -> str:
    """The folder name of a partition: hive's `partition=` and its name, percent-encoded.

    Parquet readers decode it again. UsageError for a name that no folder can carry.
    """
    encoded = quote(partition, safe="")
    if not encoded:
        raise UsageError(
            "A partition's name is empty, so it has no folder. "
            "Give the rows without a partition a value of their own in the partition column."
        )
    if len(encoded) > _LONGEST:
        raise UsageError(
            f"Partition {partition[:40]!r}... needs {len(encoded)} bytes as a folder's name, and "
            f"{_LONGEST} is the most. Partition by a shorter column."
        )
    return f"partition={encoded}"


class Store:
    """A local folder; its methods name paths and make nothing, unless they say so."""

    def __init__(self, root: str | Path) -> None:
        if "://" in str(root):
            raise StoreError(
                f"The store {str(root)!r} is a URL, and the store is a local folder for now. "
                "Set BATCH_PIPELINE_STORE to a folder; an object store can be mounted as one."
            )
        self.root = Path(root).absolute()

    def requests_dir(self, job: str, partition: str) -> Path:
        """Folder of a partition's request table and lines."""
        return self.root / "requests" / job / partition_folder(partition)

    def requests_table(self, job: str, partition: str) -> Path:
        """One row per request of the partition, the rejected ones too."""
        return self.requests_dir(job, partition) / "requests.parquet"

    def requests_lines(self, job: str, partition: str) -> Path:
        """The first file of the partition's request lines; see stages/requests/line_files.py."""
        return self.requests_dir(job, partition) / "lines.jsonl"

    def shards_dir(self, job: str) -> Path:
        """Folder of the job's shards, one folder each."""
        return self.root / "shards" / job

    def shard_dir(self, job: str, shard_id: str) -> Path:
        """Folder of one shard."""
        return self.shards_dir(job) / shard_id

    def shard_lines(self, job: str, shard_id: str) -> Path:
        """Exactly the bytes that are sent."""
        return self.shard_dir(job, shard_id) / "lines.jsonl"

    def shard_requests(self, job: str, shard_id: str) -> Path:
        """Which request is on which line of the shard."""
        return self.shard_dir(job, shard_id) / "requests.parquet"

    def raw_file(
        self, job: str, shard_id: str, batch_id: str, source: Literal["output", "error"]
    ) -> Path:
        """A result file as the provider sent it; never changed after it is whole."""
        name = f"{quote(batch_id, safe='')}.{source}.jsonl"  # the id is the provider's text
        return self.root / "raw" / job / shard_id / name

    def cut_files(self, whole: Path) -> list[Path]:
        """What came in place of the raw file *whole* and was not it, in the order it came."""
        found = whole.parent.glob(f"{glob_escape(whole.name)}.cut-*")
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))

    def next_cut_file(self, whole: Path) -> Path:
        """Where the next one of them is kept."""
        known = self.cut_files(whole)
        number = int(known[-1].name.rpartition("-")[2]) + 1 if known else 1
        return whole.with_name(f"{whole.name}.cut-{number}")

    def outcomes_file(self, job: str, shard_id: str) -> Path:
        """One row per request of the shard."""
        return self.root / "outcomes" / job / f"{shard_id}.parquet"

    def results_file(self, job: str, partition: str) -> Path:
        """One row per request of the partition, whatever happened."""
        folder = self.root / "results" / job / partition_folder(partition)
        return folder / "results.parquet"

    def landed(self, job: str) -> dict[str, Path]:
        """The results file of each partition that has one, by the partition's name, sorted."""
        found = (self.root / "results" / job).glob("partition=*/results.parquet")
        named = {unquote(path.parent.name.partition("=")[2]): path for path in found}
        return dict(sorted(named.items()))

    def report_file(
        self, job: str, kind: Literal["md", "json"], *, partition: str | None = None
    ) -> Path:
        """The report of a partition; without one, of the whole job."""
        folder = self.root / "reports" / job
        if partition is not None:
            folder /= partition_folder(partition)
        return folder / f"report.{kind}"

    def failures_file(
        self, job: str, *, partition: str | None = None, run_id: str | None = None
    ) -> Path:
        """The failed rows of a partition, or of a run: some listing of them, not the truth."""
        folder = self.root / "failures" / job
        if partition is not None:
            return folder / partition_folder(partition) / "failures.parquet"
        return folder / "runs" / f"{quote(run_id or '', safe='')}.parquet"

    def scratch(self) -> Path:
        """A new place for DuckDB to spill to: two processes must not share one. Makes its parent.

        DuckDB makes and removes the folder itself; `sweep` removes what a crash left. Not in a
        store that can only be read.
        """
        if not self.is_writable():
            return Path(tempfile.gettempdir()) / f"batch-pipeline-{secrets.token_hex(6)}"
        scratch = self.root / "scratch"
        folder_made(scratch)
        return scratch / secrets.token_hex(6)

    def is_writable(self) -> bool:
        """False for a root that is there and that we may only read."""
        return not self.root.exists() or may_write(self.root)

    def check_writable(self) -> None:
        """Make the root and write to it, once; StoreError says what to do if that fails."""
        probe = self.root / ".writable"
        try:
            folder_made(self.root)
            private_file(probe)
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store {self.root} cannot be written: {error.strerror or error}. Make it a "
                "folder you may write to, or set BATCH_PIPELINE_STORE to another one."
            ) from error

    def sweep(self, *, before: datetime) -> list[Path]:
        """Remove half-written files and spill folders untouched since *before*; returns them.

        Only a crash leaves any. *before* must be older than the longest write that may be running.
        """
        stale = [path for path in self._left_over() if _touched(path) < before.timestamp()]
        for path in stale:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return stale

    def _left_over(self) -> Iterator[Path]:
        yield from self.root.rglob(_ASIDE)
        yield from self.root.glob("scratch/*")


def _touched(path: Path) -> float:
    """When the file was last written; a file that is gone by now counts as just written."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
