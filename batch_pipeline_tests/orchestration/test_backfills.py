"""How many runs a backfill is, and what a run says that is one of many."""

from __future__ import annotations

import dagster as dg
import pytest

from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import DAYS, World


def policies(place: Location) -> dict[str, int | None]:
    """Partitions of a run of each asset; None: all."""
    found = {}
    for step in ("requests", "batches", "results", "cost_report"):
        node = place.defs.resolve_asset_graph().get(place.key(step))
        found[step] = (
            None if node.backfill_policy is None else (node.backfill_policy.max_partitions_per_run)
        )
    return found


def test_a_backfill_is_one_run_unless_the_job_says_otherwise(world: World) -> None:
    with location(world) as place:
        assert set(policies(place).values()) == {None}
    with location(world, backfill={"max_partitions_per_run": 2}) as place:
        found = policies(place)
        assert (found["requests"], found["batches"]) == (2, 2)
        assert (found["results"], found["cost_report"]) == (None, None)
        place.submit(*DAYS[:2])
        place.submit(DAYS[2])
        place.finish()
        assert set(place.steps().values()) == {Step.DONE}
        assert place.creates() == 2


@pytest.mark.parametrize("others", [0, 1])
def test_a_run_that_is_one_of_many_says_in_its_log_what_that_costs(
    others: int, place: Location
) -> None:
    tags = {"dagster/backfill": "abcdefgh", "dagster/partition": DAYS[0]}
    for _ in range(others):
        place.instance.create_run_for_job(
            place.defs.resolve_job_def("moods_submit"),
            tags=tags | {"dagster/partition": DAYS[1]},
            status=dg.DagsterRunStatus.STARTING,
        )
    done = place.dagster.execute("moods_submit", tags=tags)
    said = [log.user_message for log in place.instance.all_logs(done.run_id)]
    warned = [text for text in said if "one of 2 runs of backfill abcdefgh" in text]
    assert len(warned) == others
    assert all("`batch-pipeline backfill moods`" in text for text in warned)
