"""The watch and the assets where a result file is cut, or results are gone from the store."""

from __future__ import annotations

import shutil

from batch_pipeline.orchestration.history import PAUSES
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import Location
from batch_pipeline_tests.world import DAYS

SHORT = {"do": "shorten", "operation": "content", "lines": 1}


def test_the_watch_has_a_cut_file_fetched_again_as_often_as_it_takes(place: Location) -> None:
    place.submit(DAYS[0])
    place.world.wait(60)
    looks = len(PAUSES) + 1  # more often than a run that changes nothing would be asked for
    place.world.sim.faults({"calls": [{**SHORT, "times": looks}]})
    place.finish()
    assert place.steps() == {DAYS[0]: Step.DONE}
    assert len(place.world.sim.log("content")) == looks + 1
    assert place.creates() == 1
    assert place.world.sendings == {1}


def test_results_that_are_gone_are_made_again_by_the_watch_and_by_hand(place: Location) -> None:
    place.submit(*DAYS)
    place.finish()
    before = place.world.digests()
    shutil.rmtree(place.world.store.root / "results")
    assert set(place.steps().values()) == {Step.COLLECT}
    place.finish()
    assert place.world.digests() == before
    for folder in ("results", "outcomes", "raw", "reports"):
        shutil.rmtree(place.world.store.root / folder)
    assert place.run("collect", *DAYS).success
    assert place.world.digests() == before
    assert place.world.sendings == {1}


def test_strangers_that_cannot_be_read_are_told_in_a_skipped_tick(place: Location) -> None:
    place.submit(*DAYS)
    place.world.sim.faults({"calls": [{"do": "strangers", "operation": "list"}]})
    reason = place.tick().skip_reason
    assert reason is not None
    assert "2 batches of the account could not be read" in str(reason.skip_message)
