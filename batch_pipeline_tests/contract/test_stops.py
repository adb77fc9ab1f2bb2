"""What ends the sending by itself, and how a person goes on; the same for every provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_pipeline.errors import AccountStop
from batch_pipeline.model import HoldKind
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.stages.shards.cut import Only
from batch_pipeline_tests.contract.pipeline_world import ALL, Place

WORDS = {
    "type": "object",
    "properties": {"why": {"type": "string"}},
    "required": ["why"],
    "additionalProperties": False,
}
TYPED = {"prompt": "How is it? {{ body }}", "output_schema": WORDS}


def every(becomes: str, **more: object) -> dict[str, object]:
    return {"rows": [{"becomes": becomes, **more}]}


def holds(place: Place) -> list[tuple[HoldKind, str]]:
    with place.open() as shell:
        return [(hold.kind, hold.reason) for hold in shell.steps()[ALL][1].holds]


@pytest.mark.parametrize(
    "faults",
    [every("no_credit"), *(every("error", status=code) for code in (401, 402, 403, 404))],
    ids=["credit", "401", "402", "403", "404"],
)
def test_rows_that_the_account_stops_wait_until_it_is_mended_and_then_go_by_run(
    place: Place, faults: dict[str, object]
) -> None:
    job = place.job(retry={"max_attempts": 1})
    place.sim.faults(faults)
    with pytest.raises(AccountStop, match="for the account's sake"):
        place.run(job)
    assert set(place.became().values()) == {"withheld"}
    place.sim.faults(None)
    with place.open(job) as shell:
        assert shell.follow([ALL])[ALL][0] is Step.BLOCKED
        assert shell.submit([ALL], by_itself=True).requests == 0
    assert place.sendings == {1}
    assert {kind for kind, _ in holds(place)} == {HoldKind.ACCOUNT}
    assert place.step(place.run(job)) is Step.DONE
    assert {(row["status"], row["attempt"]) for row in place.results()} == {("succeeded", 2)}
    assert holds(place) == []


def test_an_attempt_that_was_withheld_leaves_all_others_of_the_policy(place: Place) -> None:
    job = place.job(retry={"max_attempts": 2})
    place.sim.faults(every("no_credit", custom_id="r-001*"))
    with pytest.raises(AccountStop):
        place.run(job)
    place.sim.faults(every("error", custom_id="r-001*", first_times=2))
    assert place.step(place.run(job)) is Step.DONE
    assert place.became()["r/001"] == "succeeded"
    assert sorted(place.sent.values()) == [1, 1, 1, 1, 3]


def test_answers_under_no_name_are_never_paid_again_without_a_persons_word(place: Place) -> None:
    place.sim.faults(every("null_id"))
    assert place.step(place.run()) is Step.BLOCKED
    place.sim.faults(None)
    assert place.step(place.run()) is Step.BLOCKED
    assert place.sendings == {1}
    [(kind, reason)] = holds(place)
    assert kind is HoldKind.UNMATCHED
    [kept] = (place.store.root / "outcomes" / place.name).glob("*.unknown.jsonl")
    assert str(kept) in reason
    assert kept.read_bytes().count(b"\n") == 5
    with place.open() as shell:
        assert shell.resend([ALL], again=True).requests == 5
        assert shell.follow([ALL])[ALL][0] is Step.DONE
    assert place.sendings == {2}
    assert set(place.became().values()) == {"succeeded"}


def test_new_rows_of_a_partition_with_unmatched_answers_still_go(place: Place) -> None:
    place.sim.faults(every("null_id"))
    place.run()
    place.sim.faults(None)
    changed = place.job(request={"prompt": "Another word of {{ body }}?"})
    place.run(changed)
    assert set(place.became().values()) == {"succeeded"}
    assert place.sendings == {2}


def test_an_answer_counts_whatever_error_line_stands_before_it(place: Place) -> None:
    place.sim.faults(every("error_first"))
    assert place.step(place.run()) is Step.DONE
    assert set(place.became().values()) == {"succeeded"}
    assert place.sendings == {1}


@pytest.mark.parametrize(
    "asked", [{"prompt": "How is it? {{ body }}"}, TYPED], ids=["text", "typed"]
)
def test_half_a_surrogate_pair_and_a_byte_order_mark_are_read(
    place: Place, asked: dict[str, object]
) -> None:
    place.sim.faults({**every("lone_surrogate"), "batches": [{"do": "byte_order_mark"}]})
    assert place.step(place.run(place.job(request=asked))) is Step.DONE
    assert set(place.became().values()) <= {"succeeded", "invalid"}
    assert all("\ufffd" in str(row["text"]) for row in place.results())
    assert place.sendings == {1}


def test_a_byte_order_mark_before_errors_hides_none(place: Place) -> None:
    place.sim.faults({**every("error", status=400), "batches": [{"do": "byte_order_mark"}]})
    place.run()
    assert set(place.became().values()) == {"rejected"}


def test_the_same_failure_of_two_batches_in_a_row_stops_the_retries(place: Place) -> None:
    job = place.job(retry={"max_attempts": 5})
    place.sim.faults(every("error", status=500))
    assert place.step(place.run(job)) is Step.BLOCKED
    assert place.sendings == {2}
    [(kind, reason)] = holds(place)
    assert kind is HoldKind.BREAKER
    assert "5 of the 5 requests" in reason
    place.sim.faults(None)
    with place.open(job) as shell:
        assert [hold.kind for hold in shell.lift()] == [HoldKind.BREAKER]
        assert shell.follow([ALL])[ALL][0] is Step.DONE
    assert set(place.became().values()) == {"succeeded"}


def test_what_is_left_of_a_good_batch_goes_on_failing_without_a_stop(place: Place) -> None:
    place.sim.faults(every("error", custom_id="r-001*"))
    assert place.step(place.run(place.job(retry={"max_attempts": 3}))) is Step.DONE
    assert sorted(place.sent.values()) == [1, 1, 1, 1, 3]
    assert holds(place) == []


def test_rejected_rows_go_again_by_name_and_by_kind(place: Place) -> None:
    place.sim.faults(every("error", status=400, custom_id="r-00[01]*"))
    place.run(run_id="first")
    ids = {row["id"]: row["custom_id"] for row in place.results()}
    place.sim.faults(None)
    with place.open() as shell:
        assert shell.resend([ALL], only=Only(custom_ids=(ids["r/000"],))).requests == 1
        assert shell.follow([ALL])[ALL][0] is Step.DONE
        assert shell.resend([ALL], only=Only(kinds=("rejected",))).requests == 1
        assert shell.follow([ALL])[ALL][1].counts.failed == 0


def test_the_file_of_nobodys_lines_is_named_as_it_lies(place: Place) -> None:
    place.sim.faults(every("null_id"))
    place.run()
    named = holds(place)[0][1].partition("The lines are in ")[2].partition(". None")[0]
    assert Path(named).is_file()
