"""What may be made again is made again, a bounded number of times."""

from __future__ import annotations

import pytest

from batch_pipeline.errors import ProviderError, Refused, Throttled, Unavailable
from batch_pipeline.providers.patience import Patience, retry_after
from batch_pipeline_tests.providers.factories import make_patience


class _Flaky:
    """Raises each of the given errors once, then answers."""

    def __init__(self, *errors: ProviderError) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


def test_a_call_is_made_again_after_waits_that_double() -> None:
    waits: list[float] = []
    flaky = _Flaky(*[Unavailable("down")] * 3)
    assert make_patience(waits=waits).call(flaky) == "answer"
    assert waits == [0.5, 1.0, 2.0]


def test_the_last_error_is_passed_on_when_the_tries_are_used_up() -> None:
    waits: list[float] = []
    flaky = _Flaky(*[Unavailable("down")] * 9)
    with pytest.raises(Unavailable):
        make_patience(waits=waits, tries=3).call(flaky)
    assert (flaky.calls, len(waits)) == (3, 2)


def test_a_single_try_never_waits() -> None:
    waits: list[float] = []
    with pytest.raises(Unavailable):
        make_patience(waits=waits, tries=1).call(_Flaky(Unavailable("down")))
    assert waits == []


def test_a_refusal_is_not_tried_again() -> None:
    flaky = _Flaky(Refused("no"))
    with pytest.raises(Refused):
        make_patience().call(flaky)
    assert flaky.calls == 1


def test_the_server_s_own_wait_is_honoured_to_the_second() -> None:
    waits: list[float] = []
    make_patience(waits=waits).call(_Flaky(Throttled("slow", retry_after=7.5)))
    assert waits == [7.5]


def test_a_wait_that_would_burn_the_worker_is_left_to_the_caller() -> None:
    waits: list[float] = []
    with pytest.raises(Throttled) as caught:
        make_patience(waits=waits).call(_Flaky(Throttled("slow", retry_after=900)))
    assert caught.value.retry_after == 900
    assert waits == []


def test_a_throttle_that_names_no_time_backs_off_like_an_outage() -> None:
    waits: list[float] = []
    make_patience(waits=waits).call(_Flaky(Throttled("slow")))
    assert waits == [0.5]


def test_waits_are_spread_so_that_many_workers_do_not_come_back_at_once() -> None:
    waits: list[float] = []
    Patience(sleep=waits.append, spread=lambda: 1.0).call(_Flaky(Unavailable("down")))
    assert waits == [0.375]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "10"}, 10.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        (
            {
                "retry-after": "Sat, 21 Nov 2026 10:01:30 GMT",
                "date": "Sat, 21 Nov 2026 10:00:00 GMT",
            },
            90.0,
        ),
        (
            {
                "retry-after": "Sat, 21 Nov 2026 09:00:00 GMT",
                "date": "Sat, 21 Nov 2026 10:00:00 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Sat, 21 Nov 2026 10:01:30 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 10:01:30 GMT", "date": "today"}, None),
        (
            {
                "retry-after": "Sat, 21 Nov 2026 10:01:30 GMT",
                "date": "Sat, 21 Nov 2026 10:00:00",
            },
            None,
        ),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds
