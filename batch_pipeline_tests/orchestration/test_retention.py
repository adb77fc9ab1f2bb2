"""Answers that run out, what is missed, and clocks that differ: the watch tells, and a check."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from batch_pipeline.orchestration.checks import IN_TIME
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import Location
from batch_pipeline_tests.world import DAYS

ONE = DAYS[0]
HOUR = 3600


def reason(ticked: dg.SensorResult) -> str:
    return (ticked.skip_reason and ticked.skip_reason.skip_message) or ""


def verdicts(ticked: dg.SensorResult) -> list[bool]:
    """What the tick said of answers that wait, if anything."""
    return [
        event.passed
        for event in ticked.asset_events
        if isinstance(event, dg.AssetCheckEvaluation) and event.check_name == IN_TIME
    ]


def test_a_check_warns_once_before_answers_are_deleted_and_once_when_they_are_safe(
    place: Location,
) -> None:
    place.submit(ONE)
    place.world.wait(60)
    assert verdicts(place.tick(launch=False)) == []
    place.world.wait(23 * 24 * HOUR)  # of the thirty days that OpenAI keeps them
    assert verdicts(place.tick()) == [False]  # it also asks for the run that fetches them
    assert verdicts(place.tick()) == [True]
    assert verdicts(place.tick()) == []
    assert place.steps()[ONE] is Step.DONE


def test_the_tick_says_what_is_missed_since_when_and_goes_on_when_it_is_back(
    place: Location,
) -> None:
    place.submit(ONE)
    hidden = [{"do": "lag", "operation": what} for what in ("list", "retrieve")]
    place.world.sim.faults({"calls": hidden})
    place.world.wait(HOUR)
    said = reason(place.tick())
    assert said.startswith("1 wait. Waiting: The provider has not found the batch, since ")
    for _ in range(8):
        place.world.wait(HOUR)
        said = reason(place.tick())
    assert "Blocked: The provider has not found the batch" in said
    place.world.sim.faults(None)
    place.world.wait(6 * HOUR)
    place.finish()
    assert place.steps()[ONE] is Step.DONE
    assert place.creates() == 1


def test_answers_that_are_not_found_are_asked_for_again_and_again_not_given_up(
    place: Location,
) -> None:
    place.submit(ONE)
    place.world.wait(60)
    gone = {"do": "fail", "operation": "content", "status": 404}
    place.world.sim.faults({"calls": [gone]})
    for _ in range(8):  # more often than a run that changes nothing is asked for
        place.world.wait(2 * HOUR)
        place.tick()
    assert place.steps()[ONE] in {Step.BLOCKED, Step.COLLECT}
    place.world.sim.faults(None)
    place.world.wait(7 * HOUR)
    place.finish()
    assert place.steps()[ONE] is Step.DONE
    assert place.creates() == 1


def test_a_clock_that_is_off_is_told_by_the_tick(place: Location) -> None:
    place.submit(ONE)
    place.world.at += timedelta(hours=3)
    assert "This machine's clock is 3.0 h ahead of openai's" in reason(place.tick())
