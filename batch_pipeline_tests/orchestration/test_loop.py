"""The whole loop through Dagster: submit, watch, collect, report, retry."""

from __future__ import annotations

from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.orchestration.location import Location, location
from batch_pipeline_tests.world import DAYS, World, rows


def test_a_backfill_of_the_submit_job_ends_with_results_and_reports_of_every_partition(
    place: Location,
) -> None:
    assert place.submit(*DAYS).success
    told = place.finish()
    assert set(place.steps().values()) == {Step.DONE}
    assert place.landed("results") == place.landed("cost_report") == set(DAYS)
    assert told[-1] == "3 done."


def test_many_partitions_submitted_in_one_run_are_one_batch(place: Location) -> None:
    place.submit(*DAYS)
    assert place.creates() == 1
    assert place.landed("requests") == place.landed("batches") == set(DAYS)


def test_a_finished_partition_materialized_again_sends_nothing(place: Location) -> None:
    place.submit(*DAYS)
    place.finish()
    before = place.creates()
    assert place.submit(*DAYS).success
    place.finish()
    assert place.creates() == before
    assert place.metadata("batches", DAYS[0])["sent_now"] == 0


def test_a_changed_row_alone_is_sent_again(place: Location) -> None:
    place.submit(*DAYS)
    place.finish()
    changed = rows(5)
    changed[2] = {**changed[2], "body": "Row 2 is bad"}
    place.world.write_rows({DAYS[1]: changed})
    place.submit(DAYS[1])
    assert place.metadata("batches", DAYS[1])["sent_now"] == 1
    place.finish()
    assert len(place.world.results(DAYS[1])) == 5


def test_results_materialized_too_early_are_green_and_say_what_is_on_its_way(
    place: Location,
) -> None:
    place.submit(*DAYS)
    early = place.run("collect", *DAYS)
    assert early.success
    assert place.landed("results") == set()
    warned = [
        record.user_message
        for record in place.instance.all_logs(early.run_id)
        if "not answered yet" in record.user_message
    ]
    assert warned[0].startswith("2026-01-01: 5 of 5 requests are not answered yet")
    place.finish()
    assert place.landed("results") == set(DAYS)


def test_an_early_range_lands_what_is_ready_with_its_report_and_checks(place: Location) -> None:
    place.submit(DAYS[0])
    place.finish()
    place.submit(DAYS[1])
    before = len(place.materializations("results"))
    assert place.run("collect", DAYS[0], DAYS[1]).success
    assert len(place.materializations("results")) == before + 1
    assert place.landed("results") == place.landed("cost_report") == {DAYS[0]}


def test_materializing_every_asset_at_once_leaves_the_rest_to_the_watch(place: Location) -> None:
    everything = place.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=place.instance,
        tags={
            "dagster/asset_partition_range_start": DAYS[0],
            "dagster/asset_partition_range_end": DAYS[-1],
        },
    )
    assert everything.success
    assert place.landed("batches") == set(DAYS)
    assert place.landed("results") == set()
    place.finish()
    assert place.landed("cost_report") == set(DAYS)


def test_an_unpartitioned_job_goes_the_whole_way(world: World) -> None:
    with location(
        world,
        name="whole",
        partitions={"kind": "none"},
        dataset={
            "path": str(world.folder / "rows" / f"day={DAYS[0]}"),
            "key": "id",
        },
    ) as place:
        assert place.dagster.submit("whole").success
        place.finish()
        assert place.landed("results") == place.landed("cost_report") == {None}
        assert place.metadata("results", None)["succeeded"] == 5


def test_a_static_partition_may_have_any_name(world: World) -> None:
    names = ["north/east", "süd west"]
    for name in names:
        world.write_rows({name.replace("/", "%2F"): rows(2)})
    said = {"kind": "static", "column": "day", "values": names}
    with location(world, name="regions", partitions=said) as place:
        assert place.submit(*names).success
        place.finish()
        assert place.landed("results") == set(names)
