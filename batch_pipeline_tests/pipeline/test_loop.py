"""Whole loops over other shapes of data: endpoints, partitions, file systems, real mail."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.cli.selection import select
from batch_pipeline.errors import StoreError, UsageError
from batch_pipeline.model import UNPARTITIONED
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.world import DAYS, SCHEMA, World, made, rows

MAIL = Path(__file__).parents[3] / "shared" / "data" / "mail"
MANY = {"kind": "daily", "column": "date", "start": "2002-08-01", "end": "2002-08-31"}


def test_responses_come_back_typed_and_priced(world: World) -> None:
    target = {"provider": "openai", "model": "gpt-4.1-nano", "endpoint": "/v1/responses"}
    world.run(world.job(targets=[target]))
    for row in world.results():
        assert row["output"]["mood"] in {"good", "bad"}
        assert row["input_tokens"] > 0
        assert row["cost_usd"] > 0
    assert world.sendings == {1}


def test_embeddings_come_back_as_vectors(world: World) -> None:
    target = {
        "provider": "openai",
        "model": "text-embedding-3-small",
        "endpoint": "/v1/embeddings",
        "parameters": {"extra": {"dimensions": 8}},
    }
    world.run(world.job(targets=[target], request={"prompt": "{{ body }}"}))
    for row in world.results():
        assert len(row["embedding"]) == 8
        assert row["cost_usd"] > 0
        assert row["output_tokens"] in {None, 0}


def test_a_job_without_partitions_is_one_of_all_rows(world: World) -> None:
    world.write_rows({DAYS[1]: rows(2, prefix="more")})
    steps = world.run(world.job(partitions={"kind": "none"}))
    assert list(steps) == [UNPARTITIONED]
    assert len(world.results(UNPARTITIONED)) == 7
    with world.open(world.job(partitions={"kind": "none"})) as shell:
        assert shell.report([UNPARTITIONED]).total.requests == 7


@pytest.mark.parametrize("zone", ["UTC", None])
def test_every_row_of_the_nights_when_clocks_change_is_sent_once(
    world: World, zone: str | None
) -> None:
    changes = (datetime(2026, 10, 25, 1), datetime(2026, 3, 29, 1))  # noqa: DTZ001 - with or without
    steps = [change + timedelta(minutes=15 * n) for change in changes for n in range(-20, 21)]
    at = pa.array(steps, pa.timestamp("us", tz=zone))
    ids = [f"n{n}" for n in range(len(steps))]
    (world.folder / "nights").mkdir()
    table = pa.table({"id": ids, "body": ["good"] * len(ids), "at": at})
    pq.write_table(table, world.folder / "nights" / "part.parquet")
    hours = {"kind": "hourly", "column": "at", "start": "2026-01-01-00:00"}
    job = world.job(
        dataset={"path": str(world.folder / "nights"), "key": "id"},
        partitions={**hours, "timezone": "Europe/Berlin"},
    )
    done = world.run(job)
    landed = [row["id"] for name in done for row in world.results(name)]
    assert sorted(landed) == sorted(ids)
    assert world.sendings == {1}
    assert ("2026-10-25-02:00+0100" in done) == (zone == "UTC")


def test_a_stretch_of_partitions_goes_by_time_whatever_their_names(world: World) -> None:
    shutil.rmtree(world.folder / "rows")
    for day in ("31.12.2025", "01.01.2026", "15.01.2026"):
        world.write_rows({day: rows(1, prefix=day)})
    said = {"kind": "daily", "column": "day", "start": "01.12.2025", "format": "%d.%m.%Y"}
    with world.open(world.job(partitions=said)) as shell:
        assert select(shell, [], first="30.12.2025", last="02.01.2026") == [
            *("31.12.2025", "01.01.2026")
        ]
        assert select(shell, [], first="31.12.2025") == ["31.12.2025", "01.01.2026", "15.01.2026"]
        with pytest.raises(UsageError, match=r"'soon' is no daily partition.*'01.12.2025'"):
            select(shell, [], last="soon")


def test_a_dataset_may_be_anywhere_fsspec_reaches(world: World) -> None:
    table = pa.table({"id": ["a", "b"], "body": ["one", "two"]})
    with fsspec.open("memory://loop/rows.parquet", "wb") as file:
        pq.write_table(table, file)
    job = world.job(
        dataset={"path": "memory://loop/rows.parquet", "key": "id"}, partitions={"kind": "none"}
    )
    assert world.run(job)[UNPARTITIONED][1].counts.succeeded == 2


def test_several_key_columns_and_opaque_ids(world: World) -> None:
    job = world.job(
        dataset={"path": str(world.folder / "rows"), "key": ["id", "body"]}, custom_id="opaque"
    )
    world.run(job)
    assert all(len(name) == 32 for name in world.sim.submissions())
    assert next((row["id"], row["body"]) for row in world.results()) == ("r/000", "Row 0 is good")


def test_a_backfill_is_few_batches_and_each_partition_gets_its_own_rows(tmp_path: Path) -> None:
    with made(tmp_path, per_day=4) as world:
        world.sim.faults(
            {"rows": [{"becomes": "expired", "custom_id": "r-002*", "first_times": 1}]}
        )
        world.run()
        assert len(world.batches) == 2
        for day in DAYS:
            assert [row["id"] for row in world.results(day)] == [f"r/00{n}" for n in range(4)]
            assert [row["attempt"] for row in world.results(day)] == [1, 1, 2, 1]
        ids = [row["custom_id"] for day in DAYS for row in world.results(day)]
        assert len(set(ids)) == 12
        with world.open() as shell:
            reports = shell.reports(DAYS)
            assert [one.total.attempts for one in reports.values()] == [5, 5, 5]
            assert shell.report(DAYS).total.requests == 12


def test_a_partition_is_reported_once_it_has_landed_and_no_sooner(world: World) -> None:
    world.send()
    with world.open() as shell:
        waiting = shell.collect([DAYS[0]])
        assert waiting.waiting[DAYS[0]].unanswered == 5
        assert not waiting.landed
        assert shell.report([DAYS[0]]).lines == ()
        assert shell.reports([DAYS[0]]) == {}
        assert shell.follow([DAYS[0]])[DAYS[0]][0] is Step.DONE
        assert shell.report([DAYS[0]]).total.requests == 5


@pytest.mark.skipif(not MAIL.is_dir(), reason="the mail is not beside this project")
def test_a_month_of_mail_is_one_submission_and_every_row_is_accounted_for(
    tmp_path: Path,
) -> None:
    faults = {
        "rows": [
            {"becomes": "expired", "share": 0.05, "first_times": 1},
            {"becomes": "missing", "share": 0.02, "first_times": 1},
            {"becomes": "unparseable", "share": 0.02, "first_times": 1},
            {"becomes": "refused", "share": 0.02},
            {"becomes": "not_json", "share": 0.02},
        ]
    }
    with made(tmp_path, days=[], faults=faults) as world:
        job = world.job(
            dataset={"path": str(MAIL), "key": "message_id"},
            partitions=MANY,
            request={"prompt": "{{ subject }}\n{{ body }}", "output_schema": SCHEMA},
        )
        steps = world.run(job)
        assert len(steps) == 31
        assert {step for step, _ in steps.values()} == {Step.DONE}
        with world.open(job) as shell:
            assert shell.shards()[0].requests == 1658
        kinds: Counter[str] = Counter()
        for path in sorted(MAIL.rglob("*.parquet")):
            day = path.parent.name.removeprefix("date=")
            asked = pq.read_table(path, columns=["message_id"], partitioning=None)
            landed = world.results(day)
            assert [row["message_id"] for row in landed] == asked["message_id"].to_pylist()
            kinds.update(row["failure"] or "succeeded" for row in landed)
        assert sum(kinds.values()) == 1658
        assert kinds.keys() == {"succeeded", "refused", "invalid"}
        sent = sum(world.sim.submissions().values())
        assert len(world.outcomes()) == sent
        assert 1658 * 1.05 < sent < 1658 * 1.15
        with world.open(job) as shell:
            whole = shell.report(list(steps)).total
        assert (whole.requests, whole.attempts) == (1658, sent)


def test_outcomes_without_what_is_billed_beside_tokens_land_and_nothing_is_sent(
    world: World,
) -> None:
    world.run()
    before = world.results()
    [path] = (world.store.root / "outcomes" / "moods").glob("*.parquet")
    lacking = ["service_tier", "extras", "annotations"]
    pq.write_table(pq.read_table(path).drop_columns(lacking), path)
    with world.open() as shell:
        shell.collect([DAYS[0]])
        assert shell.report([DAYS[0]]).total.unknown_cost == 0
    world.run()
    assert world.results() == before
    assert world.sendings == {1}


def test_outcomes_of_an_older_version_are_named_and_made_anew_from_the_raw_answers(
    world: World,
) -> None:
    world.run()
    before = world.results()
    [path] = (world.store.root / "outcomes" / "moods").glob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["tool_calls", "cache_write_1h_tokens"]), path)
    with world.open() as shell:
        with pytest.raises(StoreError, match=r"older version.*batch-pipeline reparse"):
            shell.collect([DAYS[0]])
        shell.reparse([DAYS[0]])
    assert world.results() == before
    assert world.sendings == {1}
