"""What the whole pipeline does about a failure is the same whoever the provider is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from batch_pipeline.errors import OutOfCredit, Refused, Throttled, Unauthorized
from batch_pipeline.model import ShardState
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.simulator.limits import Limits, Pace
from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.contract.cases import CASES, Case
from batch_pipeline_tests.contract.pipeline_world import ALL, Place, placed
from batch_pipeline_tests.world import DAYS, KEY, SCHEMA, rows

DAY = 86_400
BECOMES = {
    "error": "errored",
    "expired": "expired",
    "cancelled": "cancelled",
    "request_timeout": "errored",
    "missing": "missing",
    "lost": "errored",
    "refused": "refused",
    "content_filter": "refused",
    "truncated": "truncated",
    "invalid": "invalid",
    "not_json": "invalid",
    "duplicate": "succeeded",
    "unparseable": "unreadable",
    "line_separators": "succeeded",
    "unknown_id": "succeeded",
}
"""What the simulator makes of a row -> what it comes to, unless the case says otherwise."""


# --- sending --------------------------------------------------------------------------------------


def test_a_batch_that_was_made_without_an_answer_is_adopted_and_never_paid_twice(
    place: Place,
) -> None:
    place.sim.faults({"calls": [{"do": "drop", "operation": "create", "when": "after", "nth": 1}]})
    with place.open() as shell:
        shell.build([ALL])
        first = shell.submit([ALL])
        if not place.case.names_batches:  # only its own answers can tell
            assert first.waiting[0].state is ShardState.IN_DOUBT
            place.wait(place.settings.settle_seconds)
            first = shell.submit([ALL])
        [shard] = first.adopted
        assert shard.state is ShardState.SUBMITTED
        assert [shard.batch_id] == place.batches
        place.wait(60)
        assert shell.resend([ALL]).requests == 0
    assert place.sendings == {1}


def test_what_stops_the_sending_leaves_every_row_to_be_sent_once(place: Place) -> None:
    def fails(status: int, **more: object) -> None:
        fault = {"do": "fail", "operation": "create", "status": status, **more}
        place.sim.faults({"calls": [fault]})

    with place.open() as shell:
        shell.build([ALL])
        fails(429, retry_after=45)
        assert isinstance(shell.submit([ALL]).problem, Throttled)
        [shard] = shell.shards()
        assert (shard.state, shard.tries) == (ShardState.PLANNED, 1)
        assert shard.not_before == place.now() + timedelta(seconds=45)
        assert shell.submit([ALL]).problem is None  # nothing is due
        place.wait(45)
        for status, meant in [(401, Unauthorized), (402, OutOfCredit), (403, Unauthorized)]:
            fails(status)
            with pytest.raises(meant):
                shell.resend([ALL])
            assert (shell.shards()[0].state, shell.shards()[0].tries) == (ShardState.PLANNED, 1)
        fails(400, message="Not in a batch.")
        with pytest.raises(Refused, match="Not in a batch"):
            shell.resend([ALL])
        assert shell.steps()[ALL][0] is Step.BLOCKED
        place.sim.faults(None)
        assert shell.resend([ALL]).requests == 5
        variable = place.case.codec.capabilities.key_variable
        with (
            place.open(None, sleep=None, **{variable: "sk-invalid-but-long-enough"}) as other,
            pytest.raises(Unauthorized),
        ):
            other.follow([ALL])
        assert shell.shards()[0].state is ShardState.SUBMITTED  # it goes on without us
    place.wait(10)
    assert (len(place.batches), place.sendings) == (1, {1})


@pytest.fixture(scope="module")
def narrow_sim() -> Iterator[Simulator]:
    small: dict[str, Any] = {limit: 1000 for case in CASES for limit in case.sizes}
    limits = Limits(**small)
    with Simulator(speed=0, pace=Pace(seconds_to_complete=5), limits=limits) as one:
        yield one


def test_a_shard_that_is_too_large_is_cut_in_two_until_it_fits(
    case: Case, narrow_sim: Simulator, tmp_path: Path
) -> None:
    place = placed(case, narrow_sim, tmp_path, count=12)
    sent = place.send()
    place.wait(10)
    assert len(sent.sent) > 1
    assert (sent.requests, len(place.sent), place.sendings) == (12, 12, {1})


def test_a_line_at_fault_is_rejected_and_the_others_are_answered(place: Place) -> None:
    with place.open() as shell:
        spoil(place.plan(shell), 2, b'"role"', b'"rule"')
        shell.submit([ALL])
        assert shell.follow([ALL])[ALL][0] is Step.DONE
    assert list(place.became().values()) == ["succeeded", "rejected", *["succeeded"] * 3]
    [rejected] = [row for row in place.results() if row["failure"]]
    assert rejected["error_message"]
    assert rejected["cost_usd"] in {None, 0}
    assert place.sendings == {1}


def spoil(lines: Path, number: int, old: bytes, new: bytes) -> None:
    """Damage one line of a shard, as a bug of ours would, without changing its size."""
    whole = lines.read_bytes().split(b"\n")
    assert old in whole[number - 1]
    whole[number - 1] = whole[number - 1].replace(old, new, 1)
    lines.unlink()  # it may be a link to the partition's lines
    lines.write_bytes(b"\n".join(whole))


def test_a_model_that_is_not_there_is_tried_once_and_named(place: Place) -> None:
    job = place.job(targets=[place.case.target(model="claude-nonesuch-9")])
    said: list[str] = []
    try:
        place.run(job)
    except Refused as refused:  # at the create, or of the batch as a whole
        said.append(str(refused))
    if place.batches and place.became():
        assert set(place.became().values()) == {"withheld"}
        said += [str(row["error_message"]) for row in place.results()]
        assert {row["attempt"] for row in place.results()} == {1}
    assert said
    assert all("nonesuch" in one for one in said)
    assert len(place.batches) <= 1


# --- waiting --------------------------------------------------------------------------------------


def test_a_provider_with_a_bad_day_costs_patience_and_no_key_is_written_anywhere(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="batch_pipeline")
    quoting = {"message": f"Incorrect API key provided: {KEY}."}
    place.sim.faults(
        {
            "calls": [
                {"do": "lag", "operation": "create", "times": 2},
                {"do": "fail", "operation": "create", "status": 429, "nth": 1, **quoting},
                {"do": "lag", "operation": "list", "seconds": 25},
                {"do": "lag", "operation": "retrieve", "times": 2},
                {"do": "fail", "operation": "list", "status": 503, "times": 7, **quoting},
                {"do": "drop", "operation": "retrieve", "times": 2},
                {"do": "cut", "operation": "content", "bytes": 60, "times": 8},
            ],
            "batches": [{"do": "late_results", "seconds": 40}],
        }
    )
    assert place.step(place.run()) is Step.DONE
    assert set(place.became().values()) == {"succeeded"}
    assert (len(place.batches), place.sendings) == (1, {1})
    assert {row["attempt"] for row in place.results()} == {1}
    assert "the provider is not answering" in caplog.text
    assert "<key>" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in str([vars(record) for record in caplog.records])
    files = [path for path in place.store.root.rglob("*") if path.is_file()]
    assert len(files) >= 8
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_batch_that_outlives_its_window_is_cancelled_and_its_rows_kept(place: Place) -> None:
    stalled = {"do": "stall", "after": 0.6}
    place.sim.faults({"batches": [stalled, {"do": "stick", "at": "in_progress"}]})
    job = place.job(retry={"max_attempts": 1})
    place.send(job)
    with place.open(job) as shell:
        place.wait(26 * 3600)
        shell.watch()
        cancels = [one for one in place.sim.log("cancel") if one.effect in place.batches]
        assert len(cancels) == 1
        assert shell.follow([ALL])[ALL][0] is Step.DONE
    kinds = list(place.became().values())
    assert kinds.count("succeeded") == 3
    assert set(kinds) == {"succeeded", "cancelled"}


# --- results --------------------------------------------------------------------------------------


def test_lost_results_are_said_and_paid_again_only_on_a_persons_word(place: Place) -> None:
    place.send()
    place.wait(30)
    with place.open() as shell:
        shell.watch()
        place.wait(31 * DAY)
        assert shell.follow([ALL])[ALL][0] is Step.BLOCKED
        [lost] = shell.shards()
        assert lost.state is ShardState.FAILED
        assert "retry --lost" in str(lost.message)
        assert shell.resend([ALL]).requests == 0
        assert shell.resend([ALL], lost=True).requests == 5
    place.wait(10)
    assert place.sendings == {2}


def test_every_row_comes_out_once_as_what_became_of_it(place: Place) -> None:
    kinds = BECOMES | dict(place.case.rows)
    place.write_rows({DAYS[0]: [*rows(1), *(r for kind in kinds for r in rows(1, prefix=kind))]})
    place.sim.faults({"rows": [{"becomes": kind, "regex": f"^{kind}-"} for kind in kinds]})
    job = place.job(
        request={"prompt": "How is it? {{ body }}", "output_schema": SCHEMA},
        retry={"max_attempts": 1},
    )
    assert place.step(place.run(job)) is Step.DONE
    became = {name.partition("/")[0]: kind for name, kind in place.became().items()}
    assert became == {"r": "succeeded", **kinds}
    ids = [row["custom_id"] for row in place.outcomes()]
    assert len(set(ids)) == len(ids) == len(became)
    [strangers] = (place.store.root / "outcomes" / place.name).glob("*.unknown.jsonl")
    assert strangers.read_bytes().count(b"\n") == 1
    for row in place.outcomes():
        assert bool(row["raw"]) is (row["failure"] == "unreadable")
    for row in place.results():
        if row["failure"] in {"truncated", "refused", "invalid"}:
            assert row["output_tokens"] is not None  # paid for
