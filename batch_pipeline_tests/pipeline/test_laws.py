"""The laws of the design, each as a test over the whole loop."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import AccountStop, StoreError
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.simulator.faults import ROW_FAULTS
from batch_pipeline_tests.world import DAYS, KEY, World, made, rows

DAY, NEXT = DAYS[:2]

rules = st.lists(
    st.fixed_dictionaries(
        {"becomes": st.sampled_from(ROW_FAULTS), "share": st.sampled_from([0.2, 0.5, 1.0])},
        optional={"first_times": st.integers(1, 2)},
    ),
    max_size=3,
)
quirks = st.lists(
    st.sampled_from(
        [
            {"do": "no_final_newline"},
            {"do": "empty_error_id"},
            {"do": "stall", "after": 0.5, "nth": 1},
            {"do": "late_results", "seconds": 20.0},
            {"do": "invalidate", "code": "server_error", "message": "Oops", "nth": 1},
            {"do": "invalidate", "code": "invalid_json_line", "message": "?", "line": 1, "nth": 2},
        ]
    ),
    max_size=2,
    unique_by=str,
)
calls = st.lists(
    st.sampled_from(
        [
            {"do": "drop", "operation": "create", "when": "after", "times": 1},
            {"do": "fail", "operation": "create", "when": "before", "status": 500, "nth": 2},
            {"do": "cut", "operation": "content", "bytes": 70, "times": 2},
            {"do": "fail", "operation": "upload", "status": 503, "when": "after", "times": 1},
        ]
    ),
    max_size=2,
    unique_by=str,
)


UNSENT = {  # the account stops the job while one shard is not sent
    "rows": [{"becomes": "no_credit", "share": 0.5}],
    "batches": [],
    "calls": [{"do": "fail", "operation": "create", "when": "before", "status": 500, "nth": 2}],
}


@example(sizes=(0, 3), script=UNSENT, most=2)
@given(
    sizes=st.tuples(st.integers(0, 7), st.integers(0, 4)),
    script=st.fixed_dictionaries({"rows": rules, "batches": quirks, "calls": calls}),
    most=st.sampled_from([2, 3, 50]),
)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_custom_id_comes_out_exactly_once_per_attempt(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: tuple[int, int],
    script: dict[str, Any],
    most: int,
) -> None:
    with made(tmp_path_factory.mktemp("law"), days=[DAY, NEXT], faults=script) as world:
        world.settings = replace(world.settings, poll_seconds=3600)  # a stalled batch takes a day
        world.write_rows({DAY: rows(sizes[0]), NEXT: rows(sizes[1])})
        job = world.job(shard={"max_requests": most})
        with suppress(AccountStop), world.open(job) as shell:
            shell.run(shell.partitions(), run_id="run")
        with world.open(job) as shell:
            steps = shell.steps()
        for step, summary in steps.values():  # what stops is said
            assert step is Step.DONE or (step is Step.BLOCKED and summary.holds)
        # Rows that an account's hold kept from being sent are not answered, nor is their partition.
        whole = {
            name: size
            for name, size in zip((DAY, NEXT), sizes, strict=True)
            if not steps[name][1].counts.unanswered
        }
        sent = Counter(world.sim.submissions())
        came = Counter(row["custom_id"] for row in world.outcomes())
        attempts = [(row["custom_id"], row["attempt"]) for row in world.outcomes()]
        assert len(set(attempts)) == len(attempts)
        for name, size in whole.items():
            landed = world.results(name)
            assert [row["id"] for row in landed] == [row["id"] for row in rows(size)]
            assert len({row["custom_id"] for row in landed}) == size
            ids = {row["custom_id"] for row in landed}
            assert not ids - came.keys()
            for row in landed:
                assert (row["status"] == "succeeded") is (row["failure"] is None)
                assert row["attempt"] == came[row["custom_id"]] <= job.retry.max_attempts
        # A batch that validation refuses gives outcomes and was never accepted.
        assert not sent - came
        answers = (row for row in world.outcomes() if row["partition"] in whole)
        succeeded = {row["custom_id"] for row in answers if row["status"] == "succeeded"}
        kept = [row for name in whole for row in world.results(name)]
        assert {row["custom_id"] for row in kept if row["status"] == "succeeded"} == succeeded


def test_raw_bytes_are_enough_to_make_outcomes_and_results_again(world: World) -> None:
    world.sim.faults(
        {
            "rows": [
                {"becomes": "expired", "custom_id": "r-001*", "first_times": 1},
                {"becomes": "unparseable", "custom_id": "r-002*"},
                {"becomes": "not_json", "custom_id": "r-003*"},
            ]
        }
    )
    world.run()
    before, calls = world.digests(), len(world.sim.log())
    for folder in ("outcomes", "results"):
        shutil.rmtree(world.store.root / folder)
    with world.open(None, OPENAI_API_KEY="", OPENAI_BASE_URL="http://127.0.0.1:9/") as shell:
        made_again = shell.reparse([DAY])
    assert (len(made_again.shards), list(made_again.landed)) == (3, [DAY])
    assert world.digests() == before
    assert len(world.sim.log()) == calls


def test_lost_raw_bytes_are_said_and_nothing_is_overwritten(world: World) -> None:
    world.run()
    shutil.rmtree(world.store.root / "raw")
    before = world.digests()
    with world.open() as shell, pytest.raises(StoreError, match="from a backup"):
        shell.reparse([DAY])
    assert world.digests() == before


def test_running_everything_again_changes_no_byte_and_sends_nothing(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "custom_id": "r-001*"}]})
    world.run()
    with world.open() as shell:
        shell.report([DAY])
    before, calls = world.digests(), len(world.sim.log())
    with world.open() as shell:
        shell.build([DAY])
        assert shell.submit([DAY]).requests == 0
        assert shell.resend([DAY]).requests == 0
        assert not shell.watch().looked
        assert list(shell.collect([DAY]).landed) == [DAY]
        shell.run([DAY])
        shell.report([DAY])
    assert world.digests() == before
    assert len(world.sim.log()) == calls


@pytest.mark.parametrize("name", ["lines.jsonl", "requests.parquet"])
def test_a_request_file_that_was_deleted_is_built_again_byte_for_byte(
    world: World, name: str
) -> None:
    world.run()
    before = world.digests()
    with world.open() as shell:
        shell.build([DAY])["2026-01-01"].table.with_name(name).unlink()
        shell.build([DAY])
        assert shell.submit([DAY]).requests == 0
    assert world.digests() == before


def test_another_store_holds_the_same_bytes_for_the_same_input(tmp_path: Path) -> None:
    stores = []
    for name in ("one", "two"):
        with made(tmp_path / name, days=[DAY, NEXT]) as world:
            world.send()
            stores.append(world.digests())
    assert stores[0] == stores[1]
    assert any(path.startswith("shards") for path in stores[0])


def test_an_unknown_price_is_null_counted_and_shown(tmp_path: Path) -> None:
    with made(tmp_path, days=[DAY]) as world:
        tuned = world.job(targets=[{"provider": "openai", "model": "ft:gpt-4.1-nano:us:x:1"}])
        world.run(tuned)
        assert {row["cost_usd"] for row in world.results()} == {None}
        assert {row["price_source"] for row in world.results()} == {"unknown"}
        with world.open(tuned) as shell:
            whole = shell.report([DAY]).total
        assert (whole.cost, whole.unknown_cost) == (None, 5)


def test_a_row_that_is_missing_has_an_unknown_cost(world: World) -> None:
    world.sim.faults({"rows": [{"becomes": "missing", "custom_id": "r-001*"}]})
    world.run()
    [missing] = [row for row in world.results() if row["failure"] == "missing"]
    assert (missing["input_tokens"], missing["cost_usd"]) == (None, None)
    with world.open() as shell:
        whole = shell.report([DAY]).total
    assert whole.unknown_cost == 3  # its three attempts
    assert whole.cost is not None


def test_the_key_is_in_no_file_no_log_and_no_message(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="batch_pipeline")
    quoting = f"Incorrect API key provided: {KEY}."
    world.sim.faults(
        {
            "calls": [
                {"do": "fail", "operation": "create", "status": 503, "message": KEY, "times": 1},
                {"do": "fail", "operation": "list", "status": 500, "message": KEY, "times": 1},
                {"do": "fail", "operation": "upload", "status": 429, "message": KEY, "times": 1},
                {"do": "fail", "operation": "content", "status": 401, "message": quoting, "nth": 1},
            ],
            "rows": [{"becomes": "error", "share": 0.5, "first_times": 1}],
        }
    )
    said: list[str] = []
    for _ in range(3):
        try:
            world.run()
        except Exception as error:  # noqa: BLE001 - whatever is said to a person
            said.append(repr(error))
    assert said
    texts = [caplog.text, *said, *(str(vars(record)) for record in caplog.records)]
    with world.open() as shell:
        texts.append(repr(shell.clients.client("openai")))
        texts.append(shell.report([DAY]).to_markdown())
    assert not [text for text in texts if KEY in text]
    files = [path for path in world.store.root.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    # our own intent is in the provider's metadata, and neither prompt nor answer is in a log
    assert "Row 1 is good" not in caplog.text
