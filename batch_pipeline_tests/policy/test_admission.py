"""What several gates come to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.model import HoldKind
from batch_pipeline.policy.admission import Ruling, at_most

BOUNDS = st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9))


def test_where_no_gate_says_anything_all_rows_go() -> None:
    assert at_most([]) is None
    assert at_most([Ruling(HoldKind.CANARY)]) is None


@given(st.lists(BOUNDS, max_size=4))
def test_no_gate_is_outvoted(bounds: list[tuple[int, int] | None]) -> None:
    together = at_most([Ruling(HoldKind.CANARY, bound) for bound in bounds])
    strict = [bound for bound in bounds if bound is not None]
    if together is None:
        assert not strict
    else:
        assert all(a <= b for bound in strict for a, b in zip(together, bound, strict=True))
        assert all(any(a == bound[n] for bound in strict) for n, a in enumerate(together))
