"""What the batches of a build came to so far: counts, the digest, and keys to compare."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa

from batch_pipeline.stages.columns import text_buffer
from batch_pipeline.stages.linequery import TARGET
from batch_pipeline.stages.placing import numbers

_DIGESTED = ("target", "custom_id", "content_hash", "rejected", "reasons")
_SHOWN = 5


@dataclass
class Tally:
    """Counts of a build; *destinations* are in the digest too."""

    destinations: Mapping[bytes, bytes]
    requests: int = 0
    rejected: int = 0
    unmatched: int = 0  # rows that no rule takes
    unmatched_keys: list[str] = field(default_factory=list)  # the first of them
    key_hashes: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = field(default_factory=list)
    # One running digest a column, so that it does not matter where a batch ends.
    digests: dict[str, hashlib._Hash] = field(
        default_factory=lambda: {name: hashlib.sha256() for name in _DIGESTED}
    )

    def add(self, batch: pa.RecordBatch, made: pa.RecordBatch) -> None:
        """Count rows as LineQuery yields them, and their PLACED."""
        rejected = made["rejected"]
        self.requests += batch.num_rows
        self.rejected += batch.num_rows - rejected.null_count
        texts = {"custom_id": batch["custom_id"], "content_hash": made["content_hash"]}
        for name, column in {**texts, "reasons": rejected}.items():
            bounds, data = text_buffer(column)
            self.digests[name].update(data[bounds[0] : bounds[-1]])
        valid = rejected.is_valid().to_numpy(zero_copy_only=False)
        self.digests["rejected"].update(valid.tobytes())
        self.digests["target"].update(numbers(batch).tobytes())

    def add_unmatched(self, batch: pa.RecordBatch) -> bool:
        """Count the rows that no rule takes; True when there are some."""
        if TARGET not in batch.schema.names or not batch[TARGET].null_count:
            return False
        lost = batch["key"].filter(batch[TARGET].is_null())
        self.requests += batch.num_rows
        self.unmatched += len(lost)
        room = _SHOWN - len(self.unmatched_keys)
        self.unmatched_keys += [str(key) for key in islice(lost.to_pylist(), room)]
        return True

    def digest(self) -> str:
        """The digest of every row so far and of where they go."""
        whole = hashlib.sha256(b"".join(d.digest() for d in self.digests.values()))
        for said in self.destinations.values():
            whole.update(said)
        return whole.hexdigest()
