"""Every example job is run from its file to its results, and does what its first lines say."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from batch_pipeline.errors import DatasetError, SpecError
from batch_pipeline.pipeline.checking import check
from batch_pipeline.policy.lifecycle import Step
from batch_pipeline.settings import Settings
from batch_pipeline.simulator.limits import Pace
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.example_promises import (
    EXAMPLES,
    FILES,
    PROMISES,
    TICKETS,
    Ran,
    example,
    tickets,
)
from batch_pipeline_tests.world import KEY, World, every_provider
from examples.data import make

TRIO = ("same_job_openai", "same_job_anthropic", "same_job_mistral")


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(speed=0, pace=Pace(seconds_to_complete=5)) as one:
        yield one


@pytest.fixture
def world(sim: Simulator, tmp_path: Path) -> World:
    """A store of its own, before the one simulator of all examples."""
    services = tmp_path / "services.yaml"
    said = (EXAMPLES / "services.yaml").read_text(encoding="utf-8")
    services.write_text(said.replace("http://127.0.0.1:8900", sim.url), encoding="utf-8")
    settings = Settings(
        store=str(tmp_path / "store"), poll_seconds=10, settle_seconds=30, services=str(services)
    )
    env = {**every_provider(sim), "GATEWAY_API_KEY": KEY}
    return World(tmp_path, sim, settings, env, at=datetime.fromtimestamp(sim.now, UTC))


def changed(world: World, name: str, column: str, values: Mapping[int, object]) -> BatchJob:
    """The example over tickets of which the numbered ones have another value in *column*."""
    rows = tickets()
    for number, value in values.items():
        rows[number - 1][column] = value
    path = world.folder / "tickets.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=make.COLUMNS), path)
    return _over(example(name), path)


def _over(job: BatchJob, path: Path) -> BatchJob:
    return job.model_copy(update={"dataset": job.dataset.model_copy(update={"path": str(path)})})


def retargeted(name: str, **target: object) -> BatchJob:
    """The example with its first target changed."""
    document = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    first = {**document["targets"][0], **target}
    document["targets"][0] = {key: value for key, value in first.items() if value is not None}
    return BatchJob.model_validate(document).resolved(FILES[name].parent)


def run(world: World, job: BatchJob) -> Ran:
    """The whole loop; every ticket is accounted for, and each was sent at most once."""
    with world.open(job) as shell:
        ((step, summary),) = shell.run(["all"], run_id="run").values()
        report = json.loads(shell.report(["all"]).to_json())
        shards = shell.shards()
    batches = [world.sim.custom_ids(shard.batch_id or "") for shard in shards]
    rows = {row["id"]: row for row in world.results("all", job.name)}
    assert step is Step.DONE
    assert list(rows) == [row["id"] for row in tickets()]
    assert summary.counts.succeeded + summary.counts.failed == len(rows)
    assert set(Counter(one for batch in batches for one in batch).values()) <= {1}
    folder = world.store.root / "shards" / job.name
    lines = [
        json.loads(line)
        for shard in shards
        for line in (folder / shard.shard_id / "lines.jsonl").read_bytes().split(b"\n")
        if line
    ]
    bodies = [line.get("body") or line["params"] for line in lines]
    return Ran(world, shards, rows, bodies, batches, report)


@pytest.mark.parametrize("name", FILES)
def test_the_example_answers_every_ticket_and_keeps_its_promise(world: World, name: str) -> None:
    ran = run(world, example(name))
    assert set(ran.all("status")) == {"succeeded"}
    PROMISES[name](ran)


def test_every_promise_is_of_an_example_that_is_there() -> None:
    assert set(PROMISES) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_first_lines_say_what_it_shows_and_how_to_run_it(name: str) -> None:
    lines = FILES[name].read_text(encoding="utf-8").split("\n")
    comment = [line for line in lines if line.startswith("#")]
    assert lines[: len(comment)] == comment
    assert f"#     batch-pipeline run examples/jobs/{name}.yaml" in comment
    assert len(comment) >= 3
    assert example(name).name == ("same_job" if name in TRIO else name)


def test_one_job_differs_between_providers_in_provider_and_model_alone() -> None:
    documents = [yaml.safe_load(FILES[name].read_text(encoding="utf-8")) for name in TRIO]
    targets = [document.pop("targets") for document in documents]
    assert documents[0] == documents[1] == documents[2]
    assert [set(target) for (target,) in targets] == [{"provider", "model"}] * 3


def test_the_tickets_are_those_that_the_script_makes() -> None:
    file = pq.ParquetFile(TICKETS)
    assert file.read().equals(make.table())
    if file.metadata.created_by == f"parquet-cpp-arrow version {pa.cpp_version}":
        assert TICKETS.read_bytes() == make.file_bytes()
    assert TICKETS.stat().st_size < 40_000
    assert make.main(["--check"]) == 0


def test_the_simulators_environment_names_the_address_that_simulate_has_by_itself() -> None:
    said = (EXAMPLES / "simulated.env").read_text(encoding="utf-8")
    exported = dict(re.findall(r"(?m)^export (\w+)=(.*)$", said))
    for name in ("OPENAI", "ANTHROPIC", "MISTRAL"):
        assert exported[f"{name}_API_KEY"]
        assert exported[f"{name}_BASE_URL"].startswith("http://127.0.0.1:8900/")
    assert (EXAMPLES.parent / exported["BATCH_PIPELINE_SERVICES"]).is_file()


PICTURE, DOCUMENT = b"\x89PNG\r\n\x1a\n", b"%PDF-1.4"


@pytest.mark.parametrize(
    ("name", "column", "broken"),
    [
        ("vision_bytes", "photo", [None, b"", b"BM6 a bitmap", DOCUMENT]),
        ("vision_base64", "photo_base64", [None, "no base64!", "aGVsbG8=", "iVBORw0KGgo"]),
        ("vision_url", "photo_url", [None, "", "ftp://example/1.png", "photos/1.png"]),
        ("documents", "contract_pdf", [None, PICTURE, b"PDF", b" %PDF-1.4"]),
    ],
)
def test_a_row_with_a_broken_attachment_is_rejected_and_the_others_go(
    world: World, name: str, column: str, broken: list[object]
) -> None:
    job = changed(world, name, column, dict(enumerate(broken, start=1)))
    rejects_the_first(len(broken), run(world, job), column)


def rejects_the_first(number: int, ran: Ran, column: str) -> None:
    """The first rows are rejected for their *column*, were never sent and cost nothing."""
    became = [row["failure"] for row in ran.rows.values()]
    assert became == ["rejected"] * number + [None] * (len(ran.rows) - number)
    for row in list(ran.rows.values())[:number]:
        assert repr(column) in row["error_message"]
        assert row["batch_id"] is None
    assert sum(map(len, ran.batches)) == len(ran.rows) - number


def turns(*said: str | None) -> list[dict[str, str | None]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]


BROKEN_TURNS = [
    None,
    [],
    [{"role": "customer", "content": "It broke."}],
    [{"role": None, "content": "It broke."}],
    turns(None),
    turns("It broke.", "Send it in."),
    [{"role": "system", "content": "Be brief."}],
]


def test_a_row_with_a_broken_conversation_is_rejected_and_the_others_go(world: World) -> None:
    job = changed(world, "conversation", "turns", dict(enumerate(BROKEN_TURNS, start=1)))
    ran = run(world, job)
    rejects_the_first(len(BROKEN_TURNS), ran, "turns")
    assert "'customer'" in ran.rows["T/2026/0003"]["error_message"]


def test_a_row_whose_json_is_no_conversation_is_rejected_and_the_others_go(world: World) -> None:
    broken = [json.dumps(said) for said in BROKEN_TURNS] + ["[{", '{"role": "user"}', "5"]
    values = dict(enumerate(broken, start=1))
    ran = run(world, changed(world, "conversation_json", "turns_json", values))
    rejects_the_first(len(broken), ran, "turns_json")


def test_rows_that_no_target_takes_are_counted_and_named_before_anything_is_sent(
    world: World,
) -> None:
    whole = example("mixed_targets")
    job = whole.model_copy(update={"targets": whole.targets[:-1]})
    calls = len(world.sim.log())
    with pytest.raises(DatasetError, match="T/2026/0003") as caught:
        world.run(job)
    assert "without `when`" in str(caught.value)
    assert re.search(r"\b3 rows\b", str(caught.value))
    assert len(world.sim.log()) == calls


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("temperature_on_anthropic", {"api_version": None}, ["'temperature'", "2023-06-01"]),
        ("temperature_on_anthropic", {"model": "claude-sonnet-5"}, ["any API version"]),
        ("prompt_caching", {"provider": "openai", "model": "gpt-4.1"}, ["'cache'", "by itself"]),
        ("beta_flags", {"provider": "mistral", "model": "mistral-small-latest"}, ["betas"]),
        ("timeout_hours", {"provider": "openai", "model": "gpt-4.1"}, ["24 hours"]),
        ("documents", {"provider": "mistral", "model": "mistral-small-latest"}, ["documents"]),
        ("sampling", {"provider": "anthropic", "model": "claude-haiku-4-5"}, ["'seed'"]),
        ("tool_choice", {"model": "claude-sonnet-5-5"}, ["forces a call while it thinks"]),
        ("thinking", {"provider": "openai", "model": "gpt-5-mini"}, ["reasoning_effort"]),
        ("another_service", {"service": "gatewy"}, ["'gateway'"]),
    ],
)
def test_what_a_provider_or_model_does_not_take_is_refused_when_the_job_loads(
    name: str, target: dict[str, object], words: list[str]
) -> None:
    job = retargeted(name, **target)
    with pytest.raises(SpecError) as caught:
        check(job, Settings(services=str(EXAMPLES / "services.yaml")))
    for word in words:
        assert word in str(caught.value)
