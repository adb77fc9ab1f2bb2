"""What happens next: decisions over plain values, no clock and no disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.model import (
    TERMINAL,
    Ask,
    Fault,
    Hold,
    HoldKind,
    Observation,
    PartitionCounts,
    PartitionSummary,
    Problem,
    Remedy,
    RemoteStatus,
    ShardState,
)
from batch_pipeline.policy.lifecycle import (
    LONGEST_WINDOW,
    OVERDUE,
    OVERDUE_ENDING,
    SETTLING,
    SETTLING_STOPPED,
    STUCK,
    Step,
    Verdict,
    backoff,
    cancel_pause,
    is_lost_for_good,
    is_out_of_credit,
    is_too_much,
    next_step,
    verdict,
)

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
LANDED = PartitionCounts(
    job="j", partition="p", requests=10, digest="d", succeeded=10, collected=1, landed=1
)
FULL = Problem("full", "Too many.", fault=Fault.PROVIDER, remedy=Remedy.ROOM)
BUILT = PartitionCounts(job="j", partition="p", requests=10, digest="d")


def summary(
    counts: PartitionCounts = LANDED, *, due: datetime | None = None, **shards: int
) -> PartitionSummary:
    states = {ShardState[name.upper()]: number for name, number in shards.items()}
    return PartitionSummary(counts, shards=states, requests=states, next_due=due)


def seen(status: RemoteStatus, **facts: object) -> Observation:
    known = Observation("b", status, status.value, 10, 0, 0, NOW)
    return replace(known, **facts)  # type: ignore[arg-type]  # facts are Observation's own fields


def test_what_has_ended_is_fetched_before_anything_is_sent() -> None:
    assert next_step(summary(ended=1, planned=1, due=NOW), now=NOW) is Step.COLLECT


@pytest.mark.parametrize("state", ["planned", "submitting", "in_doubt"])
def test_a_waiting_shard_is_taken_up_when_it_is_due(state: str) -> None:
    later = NOW + timedelta(seconds=1)
    one = {state: 1}
    assert next_step(summary(LANDED, due=NOW, **one), now=NOW) is Step.SUBMIT
    assert next_step(summary(LANDED, due=later, **one), now=NOW) is Step.WAIT


def test_a_batch_at_the_provider_is_waited_for() -> None:
    assert next_step(summary(submitted=1), now=NOW) is Step.WAIT


def test_a_collection_that_was_not_landed_is_landed() -> None:
    assert next_step(summary(replace(LANDED, collected=2)), now=NOW) is Step.COLLECT


def test_a_partition_without_anything_to_send_lands_at_once() -> None:
    empty = replace(BUILT, requests=0)
    all_rejected = replace(BUILT, rejected=10)
    assert next_step(summary(empty), now=NOW) is Step.COLLECT
    assert next_step(summary(all_rejected), now=NOW) is Step.COLLECT


def test_requests_that_were_only_built_wait_for_a_person() -> None:
    assert next_step(summary(BUILT), now=NOW) is Step.UNSENT
    changed = replace(LANDED, unanswered=3)
    assert next_step(summary(changed), now=NOW) is Step.UNSENT


def test_failed_rows_go_again_once_everything_has_landed() -> None:
    failures = replace(LANDED, succeeded=8, failed=2, retryable=2)
    assert next_step(summary(failures), now=NOW) is Step.RETRY
    assert next_step(summary(failures, submitted=1), now=NOW) is Step.WAIT
    assert next_step(summary(replace(failures, retryable=0)), now=NOW) is Step.DONE


def held(of: PartitionSummary) -> PartitionSummary:
    return replace(of, holds=(Hold("j", "p", HoldKind.PERSON, "cancelled by a person", NOW),))


def test_what_a_person_cancelled_is_not_sent_again_by_itself() -> None:
    failed = replace(LANDED, failed=2, retryable=2)
    assert next_step(held(summary(failed)), now=NOW) is Step.DONE
    assert next_step(held(summary(failed, ended=1)), now=NOW) is Step.COLLECT
    unclear = held(summary(failed, in_doubt=1, submitted=1, due=NOW))
    assert next_step(unclear, now=NOW) is Step.WAIT


@pytest.mark.parametrize("state", ["planned", "submitting", "in_doubt"])
def test_what_was_on_its_way_when_a_person_cancelled_waits_for_a_person(state: str) -> None:
    assert next_step(held(summary(BUILT, due=NOW, **{state: 1})), now=NOW) is Step.BLOCKED


def test_a_partition_that_was_never_built_asks_for_nothing() -> None:
    assert next_step(summary(PartitionCounts(job="j", partition="p")), now=NOW) is Step.UNSENT


def test_a_failed_shard_blocks_once_the_rest_has_landed() -> None:
    assert next_step(summary(failed=1), now=NOW) is Step.BLOCKED
    assert next_step(summary(failed=1, submitted=1), now=NOW) is Step.WAIT
    assert next_step(summary(replace(LANDED, collected=2), failed=1), now=NOW) is Step.COLLECT


@given(
    shards=st.dictionaries(st.sampled_from(ShardState), st.integers(0, 3)),
    counts=st.builds(
        PartitionCounts,
        job=st.just("j"),
        partition=st.just("p"),
        requests=st.integers(0, 5),
        rejected=st.integers(0, 5),
        failed=st.integers(0, 5),
        retryable=st.integers(0, 5),
        unanswered=st.integers(0, 5),
        collected=st.integers(0, 3),
        landed=st.integers(-1, 3),
    ),
    due=st.none() | st.just(NOW) | st.just(NOW + timedelta(days=1)),
)
def test_a_retry_is_never_asked_for_while_anything_is_in_flight(
    shards: dict[ShardState, int], counts: PartitionCounts, due: datetime | None
) -> None:
    one = PartitionSummary(counts, shards=shards, requests=shards, next_due=due)
    step = next_step(one, now=NOW)
    flying = {ShardState.PLANNED, ShardState.SUBMITTING, ShardState.IN_DOUBT}
    flying |= {ShardState.SUBMITTED, ShardState.ENDED}
    if any(shards.get(state) for state in flying):
        assert step in {Step.SUBMIT, Step.COLLECT, Step.WAIT}
    if step in {Step.RETRY, Step.DONE}:
        assert counts.collected == counts.landed or counts.landed < 0


@pytest.mark.parametrize(
    "status",
    [RemoteStatus.VALIDATING, RemoteStatus.RUNNING, RemoteStatus.ENDING, RemoteStatus.UNKNOWN],
)
def test_a_batch_that_is_not_over_is_waited_for(status: RemoteStatus) -> None:
    assert verdict(seen(status), now=NOW) is Verdict.WAIT


def test_a_batch_that_outlived_its_window_is_cancelled_once() -> None:
    late = NOW + OVERDUE + timedelta(seconds=1)
    running = seen(RemoteStatus.RUNNING, expires_at=NOW)
    assert verdict(running, now=NOW + OVERDUE) is Verdict.WAIT
    assert verdict(running, now=late) is Verdict.CANCEL
    assert verdict(replace(running, status=RemoteStatus.ENDING), now=late) is Verdict.WAIT


@pytest.mark.parametrize("status", [s for s in RemoteStatus if s not in TERMINAL])
def test_every_status_that_is_no_end_has_one(status: RemoteStatus) -> None:
    late = seen(status, expires_at=NOW)
    assert verdict(late, now=NOW + OVERDUE_ENDING + timedelta(seconds=1)) is Verdict.CANCEL
    assert verdict(late, now=NOW + STUCK + timedelta(seconds=1)) is Verdict.STUCK
    windowless = replace(late, expires_at=None)
    assert verdict(windowless, now=NOW + LONGEST_WINDOW) is Verdict.WAIT
    assert verdict(windowless, now=NOW + timedelta(days=9)) is Verdict.STUCK
    dateless = replace(windowless, created_at=datetime.fromtimestamp(0, UTC))
    assert verdict(dateless, now=NOW) is Verdict.WAIT


def test_our_own_clock_must_be_far_beyond_a_window_to_be_believed() -> None:
    late = seen(RemoteStatus.RUNNING, expires_at=NOW)
    two_days = NOW + timedelta(days=2)
    assert verdict(late, now=two_days, sure=False) is Verdict.WAIT
    assert verdict(late, now=two_days + timedelta(days=2), sure=False) is not Verdict.WAIT


def test_a_stop_without_effect_is_asked_for_ever_less_often() -> None:
    pauses = [cancel_pause(timedelta(minutes=n)) for n in (-5, 20, 300, 9999)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (timedelta(minutes=10), timedelta(hours=6))


def test_a_full_queue_is_no_failure_of_the_rows() -> None:
    problem = FULL
    assert verdict(seen(RemoteStatus.FAILED, problems=(problem,)), now=NOW) is Verdict.REQUEUE
    other = Problem("model_not_found", "no such model", line=1)
    assert not is_out_of_credit(seen(RemoteStatus.FAILED, problems=(problem, other)))
    assert verdict(seen(RemoteStatus.FAILED, problems=(other,)), now=NOW) is Verdict.COLLECT


@pytest.mark.parametrize(
    "facts", [{"completed": 9, "error_file_id": "e"}, {"failed": 1, "output_file_id": "o"}]
)
def test_a_completed_batch_without_its_files_is_looked_at_again(facts: dict[str, object]) -> None:
    early = seen(RemoteStatus.COMPLETED, ended_at=NOW, **facts)
    assert verdict(early, now=NOW) is Verdict.WAIT
    assert verdict(early, now=NOW + SETTLING) is Verdict.COLLECT


def test_a_batch_that_billing_stopped_is_sent_again_once_there_is_credit() -> None:
    unpaid = Problem("no_money", "Pay.", fault=Fault.ACCOUNT, remedy=Remedy.CREDIT)
    stopped = seen(RemoteStatus.FAILED, problems=(unpaid,))
    assert is_out_of_credit(stopped)
    assert verdict(stopped, now=NOW) is Verdict.REQUEUE
    assert not is_out_of_credit(replace(stopped, status=RemoteStatus.COMPLETED))


def test_a_file_that_the_provider_lost_is_uploaded_anew_a_few_times() -> None:
    lost = Problem("gone", "No file.", fault=Fault.PROVIDER, remedy=Remedy.UPLOAD)
    batch = seen(RemoteStatus.FAILED, problems=(lost,))
    assert verdict(batch, now=NOW) is Verdict.REQUEUE
    assert [is_lost_for_good(batch, tries=tries) for tries in range(4)] == [
        False,
        False,
        True,
        True,
    ]


def test_a_refused_batch_of_which_some_rows_ran_is_collected_and_not_sent_again() -> None:
    batch = seen(RemoteStatus.FAILED, problems=(FULL,), output_file_id="o")
    assert verdict(batch, now=NOW) is Verdict.COLLECT


def test_a_shard_that_an_empty_queue_refuses_again_and_again_is_cut() -> None:
    full = seen(RemoteStatus.FAILED, problems=(FULL,))
    assert [is_too_much(full, tries=tries) for tries in range(4)] == [False, False, True, True]
    other = replace(full, problems=(Problem("server_error", "Oops"),))
    assert not is_too_much(other, tries=9)


@pytest.mark.parametrize("status", [RemoteStatus.EXPIRED, RemoteStatus.CANCELLED])
@pytest.mark.parametrize("facts", [{}, {"completed": 4, "error_file_id": "e"}])
def test_a_stopped_batch_has_half_an_hour_to_show_its_rows(
    status: RemoteStatus, facts: dict[str, object]
) -> None:
    stopped = seen(status, ended_at=NOW, **facts)
    assert verdict(stopped, now=NOW + timedelta(minutes=25)) is Verdict.WAIT
    assert verdict(stopped, now=NOW + SETTLING_STOPPED) is Verdict.COLLECT


@pytest.mark.parametrize(
    "status", [RemoteStatus.COMPLETED, RemoteStatus.EXPIRED, RemoteStatus.CANCELLED]
)
def test_every_end_that_shows_its_files_is_collected(status: RemoteStatus) -> None:
    assert verdict(seen(status, error_file_id="e"), now=NOW) is Verdict.COLLECT


def test_a_batch_of_which_no_row_ran_has_no_files_to_wait_for() -> None:
    assert verdict(seen(RemoteStatus.FAILED), now=NOW) is Verdict.COLLECT
    assert verdict(seen(RemoteStatus.CANCELLED, total=0), now=NOW) is Verdict.COLLECT


def test_a_refused_shard_waits_longer_each_time_but_never_above_a_quarter_hour() -> None:
    waits = [backoff(tries).total_seconds() for tries in range(8)]
    assert waits[:3] == [30, 60, 120]
    assert waits == sorted(waits)
    assert backoff(10_000).total_seconds() == 900


def test_a_provider_that_names_a_time_is_believed_within_reason() -> None:
    assert backoff(5, retry_after=7).total_seconds() == 7
    assert backoff(0, retry_after=86_400).total_seconds() == 900
    assert backoff(0, retry_after=0).total_seconds() == 1


ASK = Ask("j", "p", "r", NOW)
LATER = Hold("j", "p", HoldKind.BREAKER, "two batches", NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("ask", "holds", "step"),
    [
        (ASK, (), Step.SUBMIT),
        (replace(ASK, to_build=False), (), Step.SUBMIT),
        (replace(ASK, problem="cannot be read"), (), Step.UNSENT),
        (replace(ASK, busy_until=NOW + timedelta(minutes=1)), (), Step.WAIT),
        (replace(ASK, busy_until=NOW), (), Step.SUBMIT),
        (replace(ASK, busy_until=NOW + timedelta(days=2)), (), Step.SUBMIT),  # by a wrong clock
        (ASK, (replace(LATER, since=NOW),), Step.SUBMIT),  # asked for in spite of it
        (ASK, (LATER,), Step.BLOCKED),
        (replace(ASK, by_hand=False), (replace(LATER, since=NOW),), Step.BLOCKED),
        (replace(ASK, by_hand=False), (replace(LATER, kind=HoldKind.CANARY),), Step.SUBMIT),
    ],
)
def test_what_a_run_was_asked_for_is_submitted_unless_something_is_against_it(
    ask: Ask, holds: tuple[Hold, ...], step: Step
) -> None:
    never_built = PartitionSummary(PartitionCounts("j", "p"), asked=(ask,), holds=holds)
    assert next_step(never_built, now=NOW) is step


def test_data_that_cannot_be_read_leaves_finished_results_as_they_are() -> None:
    broken = replace(ASK, problem="cannot be read")
    assert next_step(PartitionSummary(LANDED, asked=(broken,)), now=NOW) is Step.DONE
