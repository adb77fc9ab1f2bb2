"""Dagster's event log while a run of ours writes to it: SQLite's files, opened once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, event

from batch_pipeline.orchestration.event_log import kept_open
from batch_pipeline.orchestration.local import LocalDagster
from batch_pipeline_tests.orchestration.location import location
from batch_pipeline_tests.world import DAYS, World


@pytest.fixture
def opened() -> Iterator[list[object]]:
    """Every connection to a database of this process, as it is opened."""
    found: list[object] = []

    def note(*said: object) -> None:
        found.append(said[0])

    event.listen(Engine, "connect", note)
    yield found
    event.remove(Engine, "connect", note)


def logs(folder: Path) -> set[str]:
    """The write-ahead logs that are there: the last to close a database takes its log away."""
    return {path.name for path in folder.rglob("*.db-wal") if path.parent.name == "runs"}


def test_files_stay_open_between_events_while_they_are_written_and_no_longer(
    tmp_path: Path, opened: list[object]
) -> None:
    counts: list[int] = []
    there: list[set[str]] = []

    def observed(context: dg.AssetExecutionContext, number: int) -> None:
        before = len(opened)
        context.log_event(dg.AssetObservation("one", metadata={"number": number}))
        counts.append(len(opened) - before)
        there.append(logs(tmp_path))

    @dg.asset
    def one(context: dg.AssetExecutionContext) -> None:
        observed(context, 0)
        with kept_open(context):
            observed(context, 1)
            observed(context, 2)
            runs = context.instance.get_runs()
            assert [len(context.instance.all_logs(run.run_id)) > 0 for run in runs] == [True] * 2
        observed(context, 3)

    @dg.asset
    def earlier() -> None:
        pass

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        dg.materialize([earlier], instance=instance)
        done = dg.materialize([one], instance=instance)
        assert there[0] == there[3] == set()
        assert there[2] == {"index.db-wal", f"{done.run_id}.db-wal"}
        assert counts[0] > 0
        assert counts[2] == 0
        assert counts[3] == counts[0]
        told = instance.fetch_observations(dg.AssetKey("one"), limit=9).records
        assert len(told) == 4
        kinds = [log.dagster_event_type for log in instance.all_logs(done.run_id)]
        assert kinds.count(dg.DagsterEventType.ASSET_OBSERVATION) == 4


def test_a_log_that_is_kept_elsewhere_is_left_alone() -> None:
    @dg.asset
    def one(context: dg.AssetExecutionContext) -> None:
        with kept_open(context):
            context.log_event(dg.AssetObservation("one", metadata={"number": 1}))

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([one], instance=instance).success


def test_a_run_over_many_partitions_writes_its_events_over_few_connections(
    world: World, tmp_path: Path
) -> None:
    written: list[tuple[str, Engine]] = []

    def note(*said: Any) -> None:  # noqa: ANN401 - SQLAlchemy's signature
        connection, statement, values = said[0], said[2], said[3]
        told = [v for v in values if v in {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION"}]
        if statement.startswith("INSERT INTO event_logs"):
            written.extend((kind, connection.engine) for kind in told)

    with (
        location(world) as place,
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
    ):
        dagster = LocalDagster(place.defs, instance, sleep=world.wait)
        event.listen(Engine, "before_cursor_execute", note)
        assert dagster.submit("moods", DAYS).success
        world.wait(60)
        dagster.tick("moods_watch")
        event.remove(Engine, "before_cursor_execute", note)
    kinds = Counter(kind for kind, _ in written)
    both = 2  # files
    assert kinds["ASSET_MATERIALIZATION"] == both * len(DAYS) * 4
    assert kinds["ASSET_CHECK_EVALUATION"] == both * (len(DAYS) * 3 + 1)
    batches_of_events = 7  # of four assets, and of the checks of three
    assert len({id(engine) for _, engine in written}) == both * batches_of_events
