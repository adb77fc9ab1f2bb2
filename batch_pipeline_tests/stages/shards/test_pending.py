from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.model import FailureKind, Limits
from batch_pipeline.prices.find import Prices
from batch_pipeline.stages.results.land import Landing, land
from batch_pipeline.stages.results.unanswered import FILE_CUT
from batch_pipeline.stages.schemas import OUTCOMES
from batch_pipeline.stages.shards.pending import Only, Pending, choose
from batch_pipeline_tests.stages.built_requests import build, connected, make_job, write

HELD = pa.schema({"custom_id": pa.string(), "content_hash": pa.string()})
KINDS = ["errored", "expired", "refused", "rejected"]
EVERY_KIND = [kind.value for kind in FailureKind]


class World:
    """Ten requests (the last one rejected) and what has become of them so far."""

    def __init__(self, root: Path, *, key: str = "id") -> None:
        self.root = root
        texts = [*(f"text {n}" for n in range(9)), "x" * 500]
        write(root / "in" / "x.parquet", {key: [str(n) for n in range(10)], "text": texts})
        with connected() as con:
            job = make_job(root / "in", key=key)
            self.table = build(con, job, root / "partition=all", limits=Limits(99, 300)).table
        self.requests = pq.read_table(self.table, partitioning=None).to_pylist()
        self.files = 0

    def version(self, number: int) -> dict[str, object]:
        return {name: self.requests[number][name] for name in ("custom_id", "content_hash")}

    def custom_id(self, number: int) -> str:
        return str(self.requests[number]["custom_id"])

    def written(self, rows: Sequence[Mapping[str, object]], schema: pa.Schema) -> Path:
        self.files += 1
        path = self.root / f"{self.files}.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows), schema), path)
        return path

    def failed(self, number: int, kind: str, attempt: int = 1, run: str = "r1") -> Path:
        said = {"attempt": attempt, "status": "failed", "failure": kind, "run_id": run}
        return self.written([{**self.version(number), **said}], OUTCOMES)

    def succeeded(self, number: int, attempt: int = 1) -> Path:
        said = {"attempt": attempt, "status": "succeeded", "failure": None, "run_id": None}
        return self.written([{**self.version(number), **said}], OUTCOMES)

    def held(self, *numbers: int) -> Path:
        return self.written([self.version(number) for number in numbers], HELD)

    def choose(
        self,
        *outcomes: Path,
        held: Sequence[Path] = (),
        retried: Sequence[str] = ("errored", "expired"),
        max_attempts: int = 3,
        only: Only | None = None,
    ) -> Pending:
        with connected() as con:
            return choose(
                con,
                tables=[self.table],
                held=held,
                outcomes=outcomes,
                retried_kinds=retried,
                max_attempts=max_attempts,
                only=only,
            )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def attempts(pending: Pending) -> dict[int, int]:
    return dict(zip(pending.row.tolist(), pending.attempt.tolist(), strict=True))


def test_what_was_never_sent_is_sent_first_and_the_rejected_never(world: World) -> None:
    assert attempts(world.choose()) == dict.fromkeys(range(9), 1)


def test_what_is_in_flight_or_answered_is_not_sent(world: World) -> None:
    found = world.choose(world.succeeded(3), held=[world.held(0, 1), world.held(8)])
    assert attempts(found) == dict.fromkeys([2, 4, 5, 6, 7], 1)


def test_a_retried_kind_goes_again_until_its_attempts_run_out(world: World) -> None:
    found = world.choose(
        world.failed(0, "errored"),
        world.failed(1, "refused"),
        world.failed(2, "errored"),
        world.failed(2, "expired", attempt=2),
        world.failed(3, "errored", attempt=3),
        held=[world.held(*range(4, 9))],
    )
    assert attempts(found) == {0: 2, 2: 3}


def test_the_latest_outcome_decides_and_a_success_is_for_good(world: World) -> None:
    found = world.choose(
        world.failed(0, "errored"),
        world.failed(0, "refused", attempt=2),
        world.succeeded(1),
        world.failed(1, "errored", attempt=2),
        held=[world.held(*range(2, 9))],
    )
    assert attempts(found) == {}


def test_another_version_of_a_row_is_a_request_of_its_own(world: World) -> None:
    old = {**world.version(0), "content_hash": "old"}
    said = {"attempt": 2, "status": "succeeded", "failure": None, "run_id": None}
    found = world.choose(
        world.written([{**old, **said}], OUTCOMES), held=[world.written([old], HELD)]
    )
    assert attempts(found)[0] == 1


def test_no_retried_kinds_means_no_retries(world: World) -> None:
    assert 0 not in attempts(world.choose(world.failed(0, "errored"), retried=[]))


def test_by_hand_custom_ids_go_again_whatever_their_attempts_and_kinds(world: World) -> None:
    ids = tuple(world.custom_id(n) for n in (0, 1, 2, 3, 4, 9))
    found = world.choose(
        world.failed(0, "refused", attempt=7),
        world.failed(1, "rejected"),
        world.succeeded(2),
        held=[world.held(3)],
        only=Only(custom_ids=ids),
    )
    assert attempts(found) == {0: 8, 1: 2, 4: 1}


def test_by_hand_kinds_and_a_run_narrow_what_failed(world: World) -> None:
    outcomes = [
        world.failed(0, "refused", run="r1"),
        world.failed(1, "refused", run="r2"),
        world.failed(2, "errored", run="r1"),
    ]
    assert attempts(world.choose(*outcomes, only=Only(kinds=("refused",)))) == {0: 2, 1: 2}
    assert attempts(world.choose(*outcomes, only=Only(run_id="r1"))) == {0: 2, 2: 2}
    both = Only(kinds=("refused",), run_id="r1")
    assert attempts(world.choose(*outcomes, only=both)) == {0: 2}
    all_three = Only(custom_ids=(world.custom_id(2),), kinds=("refused",), run_id="r1")
    assert attempts(world.choose(*outcomes, only=all_three)) == {}


@settings(max_examples=20, deadline=None)
@given(
    st.sets(st.integers(0, 9)),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([*KINDS, "ok"]), st.integers(1, 4))),
    st.sampled_from([None, Only(), Only(kinds=("errored", "rejected"))]),
)
def test_the_held_the_answered_and_the_rejected_are_never_chosen(
    world: World, held: set[int], said: list[tuple[int, str, int]], only: Only | None
) -> None:
    files = [
        world.succeeded(number, attempt) if kind == "ok" else world.failed(number, kind, attempt)
        for number, kind, attempt in said
    ]
    found = attempts(world.choose(*files, held=[world.held(*held)], only=only))
    answered = {number for number, kind, _ in said if kind == "ok"}
    assert not found.keys() & (held | answered | {9})
    for number, attempt in found.items():
        assert attempt == 1 + max((a for n, _, a in said if n == number), default=0)


SENT = st.tuples(
    st.integers(0, 8),
    st.sampled_from([*EVERY_KIND, None]),
    st.integers(1, 4),
    st.sampled_from([None, None, "server_error", FILE_CUT]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(SENT, min_size=1), st.sets(st.sampled_from(EVERY_KIND)), st.integers(1, 4))
def test_what_results_say_goes_again_is_what_is_sent_again(
    world: World,
    said: list[tuple[int, str | None, int, str | None]],
    retried: set[str],
    max_attempts: int,
) -> None:
    every = [(number, "cancelled", 1, None) for number in range(9)] + said
    rows = [
        {
            **world.version(number),
            "attempt": attempt,
            "status": "succeeded" if kind is None else "failed",
            "failure": kind,
            "error_code": code,
        }
        for number, kind, attempt, code in every
    ]
    files = [world.written(rows[:10], OUTCOMES), world.written(rows[10:], OUTCOMES)]
    with connected() as con:
        [landed] = land(
            con,
            [Landing(world.table, files, world.root / "results.parquet")],
            outcomes=files,
            key_columns=["id"],
            schema=None,
            priced=Prices(datetime(2026, 11, 21, tzinfo=UTC)),
            retried_kinds=retried,
            max_attempts=max_attempts,
        )
    chosen = world.choose(*files, retried=sorted(retried), max_attempts=max_attempts)
    assert landed.retryable == len(chosen)


def test_a_key_may_be_named_as_what_is_known_of_a_request(tmp_path: Path) -> None:
    world = World(tmp_path, key="again")
    found = world.choose(world.failed(0, "errored"), held=[world.held(*range(1, 9))])
    assert attempts(found) == {0: 2}
