"""Content hashes are the sha256 of each body, taken where it stands in its line."""

from __future__ import annotations

from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.model import Envelope
from batch_pipeline.stages.requests.line_writer import content_hashes

ENVELOPE = Envelope('{"custom_id":', ',"url":"/é","body":', "}\n")
BODIES = st.text(min_size=13, max_size=300).filter(lambda text: len(text.encode()) > 12)


def line(custom_id: str, body: str) -> str:
    return f'{ENVELOPE.before_id}"{custom_id}"{ENVELOPE.before_body}{body}{ENVELOPE.after_body}'


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True), BODIES), max_size=8),
    st.integers(0, 3),
)
def test_a_hash_is_of_the_body_alone_wherever_the_batch_begins(
    rows: list[tuple[str, str]], skipped: int
) -> None:
    ids = pa.array([custom_id for custom_id, _ in rows], pa.string()).slice(skipped)
    lines = pa.array([line(*row) for row in rows], pa.string()).slice(skipped)
    expected = [sha256(body.encode()).hexdigest() for _, body in rows[skipped:]]
    assert content_hashes(lines, ids, ENVELOPE).to_pylist() == expected


def test_a_body_too_short_for_a_view_is_refused_and_not_hashed_wrongly() -> None:
    with pytest.raises(ValueError, match="too short"):
        content_hashes(pa.array([line("a", "{}")]), pa.array(["a"]), ENVELOPE)
