"""The command line: numbers on stdout, one clear message on stderr, an exit code to rely on."""

from __future__ import annotations

import json
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.pipeline import Pipeline
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline_tests.world import DAYS, KEY, World, live, rows

with warnings.catch_warnings():  # typer asks click for names that click means to drop
    warnings.simplefilter("ignore", DeprecationWarning)
    from batch_pipeline.cli.main import main

ROOT = Path(__file__).parents[1]
DAY, NEXT = DAYS[:2]
EXPIRED = {"rows": [{"becomes": "expired", "custom_id": "r-001*", "first_times": 1}]}
REFUSED = {"rows": [{"becomes": "refused", "custom_id": "r-002*"}]}


class Typed:
    """What came of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The one document on stdout."""
        return json.loads(self.out)


Type = Callable[..., Typed]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with live(tmp_path) as one:
        yield one


@pytest.fixture
def typed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Type:
    """Type a command; `JOB` stands for the world's job file."""
    for name, value in world.whole_env.items():
        monkeypatch.setenv(name, value)
    job = world.job_file()

    def command(*args: str) -> Typed:
        with pytest.raises(SystemExit) as ended:
            main([str(job) if arg == "JOB" else arg for arg in args])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert KEY not in said.out + said.err
        return Typed(int(ended.value.code or 0), said.out, said.err)

    return command


def test_the_version_is_said_without_a_job(typed: Type) -> None:
    done = typed("--version")
    assert (done.code, done.out) == (0, f"batch-pipeline {version('batch-pipeline')}\n")


def test_a_run_accounts_for_every_request_and_ends_well(world: World, typed: Type) -> None:
    done = typed("run", "JOB", "--json")
    assert done.code == 0
    assert (done.document["requests"], done.document["succeeded"]) == (5, 5)
    assert done.document["partitions"][DAY]["step"] == "done"
    assert done.document["report"]["simulated"] is True
    again = typed("run", "JOB")
    assert (again.code, len(world.batches)) == (0, 1)
    assert "SIMULATED" in again.out
    assert "5 succeeded" in again.out


def test_failed_rows_are_an_exit_code_of_their_own(world: World, typed: Type) -> None:
    world.sim.faults(REFUSED)
    done = typed("run", "JOB", "--json")
    assert (done.code, done.document["failed"]) == (3, 1)
    assert "1 requests failed for good" in done.err


def test_a_run_without_waiting_sends_and_a_later_one_resumes(world: World, typed: Type) -> None:
    sent = typed("run", "JOB", "--no-wait", "--json")
    assert (sent.code, sent.document["report"]) == (0, None)
    status = typed("status", "JOB", "--json").document
    assert status["shards"][0]["state"] == "submitted"
    assert typed("run", "JOB").code == 0
    assert len(world.batches) == 1


def test_the_status_comes_from_the_ledger_alone(world: World, typed: Type) -> None:
    world.sim.faults({"calls": [{"do": "fail", "operation": "create", "status": 429}]})
    typed("run", "JOB", "--no-wait")
    calls = len(world.sim.log())
    told = typed("status", "JOB")
    assert told.code == 0
    assert DAY in told.out
    assert "(planned): openai: create of a batch" in told.out
    assert len(world.sim.log()) == calls


def test_a_retry_sends_what_is_named(world: World, typed: Type) -> None:
    world.sim.faults(REFUSED)
    typed("run", "JOB")
    world.sim.faults(None)
    assert typed("retry", "JOB", "--json").document["failed"] == 1  # the policy leaves it alone
    assert len(world.batches) == 1
    told = typed("retry", "JOB", "--kind", "refused", "--partition", DAY)
    assert (told.code, len(world.batches)) == (0, 2)
    assert "1 requests sent again." in told.out


def test_a_retry_by_custom_id_or_run_takes_nothing_else(world: World, typed: Type) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "custom_id": "r-00[23]*"}]})
    typed("run", "JOB")
    ids = {row["id"]: row["custom_id"] for row in world.results()}
    [run_id] = {row["run_id"] for row in world.results()}
    world.sim.faults(None)
    assert typed("retry", "JOB", "--custom-id", ids["r/002"]).code == 3
    assert typed("retry", "JOB", "--run", run_id).code == 0  # only r/003 failed last in that run
    assert sum(world.sim.submissions().values()) == 7


def test_expired_rows_go_again_by_themselves(world: World, typed: Type) -> None:
    world.sim.faults(EXPIRED)
    done = typed("run", "JOB", "--json")
    assert (done.code, [s["attempt"] for s in done.document["shards"]]) == (0, [1, 2])


def test_partitions_are_named_or_a_range(world: World, typed: Type) -> None:
    world.write_rows({NEXT: rows(2)})
    one = typed("run", "JOB", "--partition", NEXT, "--json").document
    assert list(one["partitions"]) == [NEXT]
    both = typed("run", "JOB", "--from", DAY, "--to", NEXT, "--json").document
    assert both["requests"] == 7
    report = typed("report", "JOB", "--from", NEXT, "--json").document
    assert report["total"]["requests"] == 2
    assert "$" in typed("report", "JOB").out
    assert world.sendings == {1}


def test_cancel_takes_back_and_says_what(world: World, typed: Type) -> None:
    world.sim.faults({"batches": [{"do": "stall", "after": 0.4, "nth": 1}]})
    typed("run", "JOB", "--no-wait")
    stopped = typed("cancel", "JOB", "--json")
    assert len(stopped.document["cancelled"]) == 1
    assert "0 shards" not in typed("cancel", "JOB").out
    world.sim.advance(30)
    done = typed("run", "JOB", "--json")
    assert (done.code, done.document["succeeded"]) == (0, 5)


def test_a_cancel_that_is_refused_says_why_and_fails(world: World, typed: Type) -> None:
    world.sim.faults({"batches": [{"do": "stick", "at": "in_progress"}]})
    typed("run", "JOB", "--no-wait")
    refusal = {"do": "fail", "operation": "cancel", "status": 400, "message": "No [way]."}
    world.sim.faults({"calls": [refusal]})
    told = typed("cancel", "JOB")
    assert told.code == 1
    assert "NOT stopped. The provider refused to stop it" in told.out
    assert "No [way]." in told.out
    assert "0 shards asked to stop, 0 taken back, 1 not stopped" in told.out
    assert "No [way]." in typed("status", "JOB").out
    said = typed("cancel", "JOB", "--json")
    assert (said.code, said.document["cancelled"]) == (1, [])
    assert "No [way]." in next(iter(said.document["refused"].values()))
    world.sim.faults(None)
    assert typed("cancel", "JOB").code == 0
    assert "No [way]." not in typed("status", "JOB").out


def test_status_says_what_is_missed_and_when_answers_run_out(world: World, typed: Type) -> None:
    typed("run", "JOB", "--no-wait")
    world.sim.advance(30)
    with world.open() as shell:
        shell.watch()
        [shard] = shell.shards()
        assert shard.remote is not None
        long_ago, soon = (world.now() + timedelta(days=days) for days in (-29, 1))
        old = replace(shard.remote, ended_at=long_ago, results_until=soon)
        shell.records.ledger.observe(str(shard.account), [old], now=world.now())
    assert "WARNING: Fetch the answers that wait now" in typed("status", "JOB").out
    [partition] = typed("status", "JOB", "--json").document["partitions"].values()
    assert partition["results_run_out"] is True
    world.sim.faults({"calls": [{"do": "fail", "operation": "content", "status": 404}]})
    with world.open() as shell:
        shell.collect([DAY])
    assert "has not found the file of its answers, since" in typed("status", "JOB").out
    [told] = typed("status", "JOB", "--json").document["shards"]
    assert (told["missed"], told["missed since"] is None) == ("answers", False)


def test_reparse_needs_no_key(world: World, typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    typed("run", "JOB")
    before = world.digests()
    monkeypatch.delenv("OPENAI_API_KEY")
    for path in (world.store.root / "outcomes").rglob("*.parquet"):
        path.unlink()
    assert typed("reparse", "JOB", "--json").document["partitions"] == [DAY]
    assert "1 shards read again" in typed("reparse", "JOB").out
    assert {k: v for k, v in world.digests().items() if "report" not in k} == {
        k: v for k, v in before.items() if "report" not in k
    }


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "no_such_job"], "there is no job 'no_such_job'"),
        (["run", "no/such/file.yaml"], "cannot be read"),
        (["run", "JOB", "--partition", "2030-01-01"], "has no files"),
        (["run", "JOB", "--partition", DAY, "--from", DAY], "use one"),
        (["run", "JOB", "--from", "2030-01-01"], "no partition from"),
        (["status", "JOB"], "no partition was built yet"),
        (["report", "JOB", "--partition", DAY], "was never built"),
        (["run", "JOB", "--bad-option"], "No such option"),
        (["retry", "JOB", "--kind", "sulking"], "sulking"),
        (["explode", "JOB"], "No such command"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(
    world: World, typed: Type, args: list[str], words: str
) -> None:
    told = typed(*args)
    assert (told.code, told.out) == (2, "")
    assert words in " ".join(told.err.replace("│", " ").split())
    assert not world.sim.log()


def test_a_bad_job_file_is_named_with_its_line(world: World, typed: Type) -> None:
    path = world.folder / "bad.yaml"
    path.write_text("name: moods\ndatset: {path: rows, key: id}\n")
    told = typed("run", str(path))
    assert told.code == 2
    assert f"{path}:2: datset: unknown key 'datset'; did you mean 'dataset'?" in told.err


@pytest.mark.parametrize("key", ["", "sk-invalid-but-long-enough"])
def test_a_key_that_does_not_work_is_an_error_and_keeps_what_was_built(
    world: World, typed: Type, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    told = typed("run", "JOB", "--json")
    assert (told.code, told.out) == (1, "")
    assert "OPENAI_API_KEY" in told.err
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert typed("run", "JOB").code == 0
    assert world.sendings == {1}


def test_an_unknown_model_is_said_in_the_providers_words(world: World, typed: Type) -> None:
    world.job_file(targets=[{"provider": "openai", "model": "gpt-nonesuch"}])
    told = typed("run", "JOB")
    assert told.code == 1
    assert "model_not_found" in told.err
    assert typed("status", "JOB", "--json").document["failed"] == 5


def test_what_the_account_stops_is_one_sentence_and_status_says_it_too(
    world: World, typed: Type
) -> None:
    world.job_file()
    world.sim.faults({"rows": [{"becomes": "no_credit"}]})
    told = typed("run", "JOB")
    assert told.code == 1
    assert "Billing hard limit has been reached" in told.err
    assert "`batch-pipeline run moods` sends them again" in told.err
    assert "Billing hard limit has been reached" in typed("status", "JOB").out
    document = typed("status", "JOB", "--json").document
    assert document["partitions"][DAY]["step"] == "blocked"
    assert document["partitions"][DAY]["holds"] == ["account", "account"]
    assert "Billing hard limit" in document["holds"][0]
    world.sim.faults(None)
    assert typed("run", "JOB").code == 0


def test_answers_that_nobody_can_match_are_said_with_their_file_and_retry_pays_again(
    world: World, typed: Type
) -> None:
    world.job_file()
    world.sim.faults({"rows": [{"becomes": "null_id"}]})
    told = typed("run", "JOB")
    assert told.code == 1
    assert ".unknown.jsonl" in told.err
    assert ".unknown.jsonl" in typed("status", "JOB").out
    world.sim.faults(None)
    assert typed("retry", "JOB").code == 0
    assert set(world.became().values()) == {"succeeded"}


def test_release_lets_a_job_go_on_that_two_bad_batches_stopped(world: World, typed: Type) -> None:
    world.job_file()
    world.sim.faults({"rows": [{"becomes": "error"}]})
    assert "Two batches in a row failed alike" in typed("run", "JOB").err
    world.sim.faults(None)
    assert "Released. Two batches in a row" in typed("release", "JOB").out
    assert typed("status", "JOB", "--json").document["partitions"][DAY]["step"] == "retry"
    assert typed("release", "JOB").code == 2


def test_a_retry_of_rejected_rows_says_that_they_are_the_same_requests(
    world: World, typed: Type
) -> None:
    world.write_rows({DAY: [*rows(2), {"id": "long", "body": "x" * 2000}]})
    world.job_file(shard={"max_bytes": 1500})
    world.sim.faults({"rows": [{"becomes": "error", "status": 400, "custom_id": "r-001*"}]})
    assert typed("run", "JOB").code == 3
    world.sim.faults(None)
    told = typed("retry", "JOB", "--kind", "rejected")
    assert "1 requests sent again." in told.out
    assert "They are the same requests as before" in told.out
    assert "1 rows were rejected before sending" in told.out
    assert list(world.became().values()) == ["succeeded", "succeeded", "rejected"]


def test_answers_that_are_not_found_are_waited_for_until_a_person_gives_them_up(
    world: World, typed: Type
) -> None:
    typed("run", "JOB", "--no-wait")
    world.sim.advance(30)
    with world.open() as shell:
        shell.watch()
        remote = shell.shards()[0].remote
        assert remote is not None
        shell.clients.client("openai").delete_file(str(remote.output_file_id))
    hours = iter(range(100))  # of looking in vain
    with Pipeline.open(
        world.job(),
        env=world.env,
        settings=world.settings,
        now=lambda: world.now() + timedelta(hours=next(hours)),
    ) as shell:
        while shell.steps()[DAY][0] is not Step.BLOCKED:
            shell.collect([DAY])
            world.sim.advance(3600)
    told = typed("run", "JOB")
    assert told.code == 1
    assert f"{DAY} is blocked: " in told.err
    assert "retry --lost" in told.err
    assert "retry --lost" in typed("status", "JOB").out
    assert len(world.batches) == 1
    assert typed("retry", "JOB", "--lost", "--json").document["succeeded"] == 5


def test_names_that_look_like_markup_are_shown_as_they_are(
    world: World, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    names = ["[/]", "[red]x", "\x1b[31mred", "a|![x](http://e)"]
    table = pa.table({"id": [f"r{n}" for n in range(4)], "body": ["good"] * 4, "who": names})
    pq.write_table(table, world.folder / "named.parquet")
    world.job_file(
        dataset={"path": str(world.folder / "named.parquet"), "key": "id"},
        partitions={"kind": "static", "column": "who", "values": names},
    )
    for command in (["run"], ["status"], ["report"], ["run", "--partition", "[/]"]):
        told = typed(command[0], "JOB", *command[1:])
        assert (told.code, "\x1b" in told.out + told.err) == (0, False)
        assert "[/]" in told.out
    shown = typed("report", "JOB").out
    assert all(name in shown for name in ("[red]x", "\\x1b[31mr", "a|![x]"))
    document = typed("status", "JOB", "--json").document
    assert sorted(document["partitions"]) == sorted(names)
    page = (world.store.root / "reports" / "moods" / "report.md").read_text(encoding="utf-8")
    assert "\x1b" not in page
    assert "![" not in page


def test_a_held_canary_is_shown_with_its_reason_and_released_by_hand(
    world: World, typed: Type
) -> None:
    world.sim.faults({"rows": [{"becomes": "refused", "regex": "."}]})
    job = str(world.job_file(canary=2, targets=[{"provider": "openai", "model": "gpt-5-nano"}]))
    assert "blocked" in typed("run", job).err
    told = typed("status", job).out
    assert f"held {DAY}: canary: 2 of the first 2 requests failed (2 refused)" in told
    assert "3 rows wait for the canary" in told
    assert typed("status", job, "--json").document["partitions"][DAY]["deferred"] == 3
    world.sim.faults(None)
    assert typed("release", job, "--json").document["verdict"] == "released"
    assert typed("run", job).code == 3  # the two that were refused
    assert len(world.batches) == 2
    assert "no canary" in typed("release", job).err


def test_what_a_provider_takes_and_allows_can_be_asked(typed: Type) -> None:
    known = typed("providers", "anthropic", "--json").document["anthropic"]
    assert known["endpoints"]["/v1/messages"]["requests"] == 100_000
    assert "seed" not in known["endpoints"]["/v1/messages"]["takes"]
    every = typed("providers")
    assert every.code == 0
    assert all(name in every.out for name in ("OpenAI", "Anthropic", "Mistral"))
    wrong = typed("providers", "mistrall")
    assert (wrong.code, "Did you mean 'mistral'?" in wrong.err) == (2, True)


def test_an_interrupt_that_comes_out_as_another_error_is_still_one(
    typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB, interrupted in a query, says so in an error of its own."""
    partitions = Pipeline.partitions

    def interrupted(self: Pipeline) -> list[str]:
        with self.runtime.duckdb() as con:
            con.interrupt()
            con.execute("SELECT 1")
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with self.runtime.duckdb() as con:
            con.execute("SELECT broken")
        return partitions(self)

    monkeypatch.setattr(Pipeline, "partitions", interrupted)
    told = typed("run", "JOB")
    assert told.code == 130
    assert "the same command goes on from here" in told.err


def test_odd_lines_are_told_by_run_and_status_and_for_scripts(world: World, typed: Type) -> None:
    world.job_file()
    world.sim.faults({"rows": [{"becomes": "duplicate", "custom_id": "r-001*"}]})
    assert "Result files held: 1 duplicate lines." in typed("run", "JOB").out
    assert "Result files held: 1 duplicate lines." in typed("status", "JOB").out
    counted = typed("status", "JOB", "--json").document["oddities"]
    assert (counted["duplicate_lines"], counted["unknown_lines"]) == (1, 0)
    document = typed("run", "JOB", "--json").document
    assert document["oddities"] == document["report"]["oddities"] == counted
