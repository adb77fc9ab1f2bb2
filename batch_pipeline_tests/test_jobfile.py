"""Job files: what loads, and what the person hears when it does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from batch_pipeline import jobfile
from batch_pipeline.catalog import OURS
from batch_pipeline.errors import SpecError, UsageError
from batch_pipeline.spec import BatchJob, Canary, Partitions


class Verdict(BaseModel):
    mood: str


def job(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML as people write it
    return {
        "name": "triage",
        "dataset": {"path": "rows", "key": "id"},
        "request": {"prompt": "Sort: {{ body }}"},
        "targets": [{"provider": "openai", "model": "gpt-5-nano"}],
        **changes,
    }


def written(folder: Path, document: object) -> Path:
    path = folder / "defs.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def component(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    return {"type": jobfile.COMPONENT, "attributes": job(**changes)}


def test_a_component_file_and_its_bare_attributes_are_the_same_job(tmp_path: Path) -> None:
    bare = jobfile.load_jobs(written(tmp_path, job()))
    assert bare == jobfile.load_jobs(written(tmp_path, component()))
    assert bare == [BatchJob.model_validate(job()).resolved(tmp_path)]


def test_components_of_other_types_are_left_to_dagster(tmp_path: Path) -> None:
    assert (
        jobfile.load_jobs(written(tmp_path, {"type": "dagster.Something", "attributes": {}})) == []
    )


def test_templates_are_taken_as_they_are(tmp_path: Path) -> None:
    (loaded,) = jobfile.load_jobs(written(tmp_path, component()))
    assert loaded.request.turns[0].content == "Sort: {{ body }}"


def test_prompt_system_and_schema_may_sit_beside_the_job_file(tmp_path: Path) -> None:
    (tmp_path / "prompt.md").write_text("Read {{ body }}", encoding="utf-8")
    (tmp_path / "system.md").write_text("Be brief.", encoding="utf-8")
    (tmp_path / "schema.yaml").write_text("type: object", encoding="utf-8")
    request = {
        "prompt_file": "prompt.md",
        "system_file": "system.md",
        "output_schema": "schema.yaml",
    }
    (loaded,) = jobfile.load_jobs(written(tmp_path, job(request=request)))
    assert [turn.content for turn in loaded.request.turns] == ["Be brief.", "Read {{ body }}"]
    assert loaded.request.json_schema == {"type": "object"}
    assert loaded.resolved(Path("/elsewhere")) == loaded


def test_a_pydantic_model_is_an_output_schema() -> None:
    said = job(request={"prompt": "x", "output_schema": f"{__name__}:Verdict"})
    schema = BatchJob.model_validate(said).resolved(Path()).request.json_schema
    assert schema is not None
    assert schema["properties"] == {"mood": {"title": "Mood", "type": "string"}}


def test_paths_start_at_the_job_file_and_urls_stay(tmp_path: Path) -> None:
    (loaded,) = jobfile.load_jobs(written(tmp_path, job(prices="prices.yaml")))
    assert loaded.dataset.path == str(tmp_path / "rows")
    assert loaded.prices == str(tmp_path / "prices.yaml")
    far = job(dataset={"path": "s3://bucket/rows", "key": ["a", "b"]})
    assert BatchJob.model_validate(far).resolved(tmp_path).dataset.path == "s3://bucket/rows"


BAD: list[tuple[dict[str, Any], str]] = [
    (job(datset={}), "datset: unknown key 'datset'; did you mean 'dataset'?"),
    (job(zzz=1), "zzz: unknown key 'zzz'; known keys: name, description"),
    (job(dataset={"path": "x", "key": "id", "pat": 1}), "dataset.pat: unknown key 'pat'"),
    (job(name="a/b"), "name: "),
    (job(name="../b"), "name: "),
    (job(targets=[]), "targets: "),
    (job(targets=[{"provider": "openia", "model": "m"}]), "Did you mean 'openai'?"),
    (job(targets=[{"provider": "openai", "model": "m", "endpoint": "/v1/chat"}]), "endpoint"),
    (job(targets=job()["targets"] * 2), "has no `when` and takes every row"),
    (job(targets=[{**job()["targets"][0], "when": "true"}] * 2), "two targets are named"),
    (
        job(targets=[{"provider": "anthropic", "model": "m", "endpoint": "/v1/responses"}]),
        "endpoint of anthropic",
    ),
    (
        job(
            targets=[
                {"provider": "openai", "model": "m", "when": "true"},
                {"provider": "openai", "model": "e", "endpoint": "/v1/embeddings"},
            ]
        ),
        "do not go into one results table",
    ),
    (job(canary=0), "canary.requests"),
    (job(backfill={}), "backfill.max_partitions_per_run: Field required"),
    (
        job(backfill={"max_partitions_per_run": 0}),
        "backfill.max_partitions_per_run: Input should be greater than or equal to 1",
    ),
    (job(backfill={"max_partitions_per_run": "many"}), "backfill.max_partitions_per_run: "),
    (job(backfill={"per_run": 5}), "backfill.per_run: unknown key 'per_run'"),
    (job(backfill=5), "backfill: lines of `key: value` are wanted here"),
    (job(canary={"rows": 5}), "canary.rows: unknown key 'rows'"),
    (job(request={"prompt": "a", "images": [{}]}), "name one column"),
    (job(request={"conversation": "c", "images": [{"url": "u"}]}), "belong to a `prompt`"),
    (job(request={"prompt": "a", "tool_choice": "auto"}), "needs `tools`"),
    (
        job(request={"prompt": "a", "tools": [{"name": "f"}], "tool_choice": "g"}),
        "'g' is not one of auto, none, required, f",
    ),
    (job(request={"prompt": "a", "tools": [{"name": "f"}] * 2}), "names a tool twice"),
    (job(request={}), "exactly one of"),
    (job(request={"prompt": "a", "messages": [{"role": "user", "content": "b"}]}), "exactly one"),
    (job(request={"prompt": "a", "system": "b", "system_file": "c"}), "are one thing"),
    (job(request={"messages": [{"role": "boss", "content": "b"}]}), "request.messages.0.role"),
    (job(partitions={"kind": "daily"}), "need `column`"),
    (job(partitions={"kind": "daily", "column": "d"}), "need `start`"),
    (job(partitions={"kind": "static", "column": "d"}), "need `values`"),
    (job(partitions={"kind": "static", "column": "d", "values": ["a", "a"]}), "twice"),
    (job(retry={"max_attempts": 0}), "retry.max_attempts"),
    (job(retry={"kinds": ["rejected"]}), "never sent again"),
    (job(retry={"kinds": ["tired"]}), "retry.kinds.0"),
    (job(schedule={"cron": "often"}), "schedule.cron"),
    (job(shard={"max_requests": 0}), "shard.max_requests"),
    (job(max_failed_ratio=2), "max_failed_ratio"),
]


@pytest.mark.parametrize(("document", "heard"), BAD, ids=[heard for _, heard in BAD])
def test_a_wrong_key_or_value_is_named_with_file_line_and_path(
    tmp_path: Path, document: dict[str, Any], heard: str
) -> None:
    path = written(tmp_path, {"type": jobfile.COMPONENT, "attributes": document})
    with pytest.raises(SpecError) as caught:
        jobfile.load_jobs(path)
    assert heard in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")
    line = int(str(caught.value).removeprefix(f"{path}:").split(":")[0])
    assert 1 <= line <= len(path.read_text(encoding="utf-8").splitlines())


def test_the_line_is_the_line_of_the_wrong_key(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text("name: x\ndataset:\n  path: p\n  kee: id\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"defs\.yaml:4: dataset\.kee: .*'key'"):
        jobfile.load_jobs(path)


@pytest.mark.parametrize(
    ("text", "heard"),
    [("a: [", "not YAML"), ("- 1", "is a mapping"), ("\x00", "not YAML")],
)
def test_a_file_that_is_no_job_file_is_one_clear_message(
    tmp_path: Path, text: str, heard: str
) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=heard):
        jobfile.load_jobs(path)


@pytest.mark.parametrize(
    ("name", "text", "heard"),
    [
        ("missing.json", None, "cannot be read"),
        ("broken.json", "{", "broken.json:1: not JSON"),
        ("broken.yaml", "a: [", "broken.yaml:1: not YAML"),
        ("list.json", "[]", "is an object"),
    ],
)
def test_a_schema_file_that_is_none_is_named(
    tmp_path: Path, name: str, text: str | None, heard: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    said = BatchJob.model_validate(job(request={"prompt": "x", "output_schema": name}))
    with pytest.raises(SpecError, match=re.escape(heard)):
        said.resolved(tmp_path)


@pytest.mark.parametrize("reference", ["nowhere.at_all:Model", "json:Nothing", "json:loads"])
def test_a_schema_reference_that_is_no_model_is_named(reference: str) -> None:
    said = BatchJob.model_validate(job(request={"prompt": "x", "output_schema": reference}))
    with pytest.raises(SpecError, match="output_schema"):
        said.resolved(Path())


def test_a_schema_is_asked_for_only_after_it_was_read() -> None:
    said = BatchJob.model_validate(job(request={"prompt": "x", "output_schema": "s.json"}))
    with pytest.raises(SpecError, match="resolved first"):
        _ = said.request.json_schema


def test_a_job_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    assert jobfile.load_job("review_triage").name == "review_triage"
    path = written(tmp_path, job())
    assert jobfile.load_job(str(path)).name == "triage"
    assert jobfile.load_job(path) == jobfile.load_jobs(str(path))[0]


def test_an_unknown_job_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'review_triage'"):
        jobfile.load_job("review_triag")
    with pytest.raises(UsageError, match=r"known jobs: .*review_triage"):
        jobfile.load_job("zzz")


def test_a_file_with_two_jobs_is_not_one_job(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(yaml.safe_dump_all([job(), job(name="other")]), encoding="utf-8")
    with pytest.raises(UsageError, match="holds 2 jobs"):
        jobfile.load_job(str(path))


def test_the_defs_folder_of_the_project_we_stand_in_is_searched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "their_code" / "defs" / "triage"
    folder.mkdir(parents=True)
    (tmp_path / "their_code" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg.project]\nroot_module = "their_code"\n', encoding="utf-8"
    )
    written(folder, component())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert jobfile.load_job("triage").dataset.path == str(folder / "rows")


def test_the_targets_parameters_stand_over_the_requests() -> None:
    said = job(
        request={"prompt": "x", "parameters": {"seed": 1, "temperature": 0.5, "extra": {"a": 1}}},
        targets=[
            {
                "provider": "openai",
                "model": "m",
                "parameters": {"seed": 2, "extra": {"b": 2}},
            }
        ],
    )
    made = BatchJob.model_validate(said)
    merged = made.parameters(made.targets[0])
    assert (merged.seed, merged.temperature, merged.extra) == (2, 0.5, {"a": 1, "b": 2})


def test_the_version_changes_with_the_request_and_with_nothing_else() -> None:
    one = BatchJob.model_validate(job())
    assert one.version == BatchJob.model_validate(job(description="other")).version
    assert one.version != BatchJob.model_validate(job(request={"prompt": "other"})).version


def test_a_number_is_enough_to_ask_for_a_canary() -> None:
    assert BatchJob.model_validate(job(canary=20)).canary == Canary(requests=20)


def test_a_target_means_its_providers_way_to_chat_and_is_named_after_its_model() -> None:
    targets = [{"provider": name, "model": "m"} for name in OURS]
    made = [BatchJob.model_validate(job(targets=[target])).targets[0] for target in targets]
    assert [target.endpoint for target in made] == [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/chat/completions",
    ]
    assert [target.name for target in made] == ["openai/m", "anthropic/m", "mistral/m"]


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("hourly", "%Y-%m-%d"),
        ("hourly", "%H:%M"),
        ("daily", "%Y-%m"),
        ("daily", "%d"),
        ("weekly", "%Y-%m"),
        ("monthly", "%Y"),
        ("monthly", "%m"),
        ("hourly", "%Y-%m-%d-%I"),
    ],
)
def test_a_format_that_gives_two_partitions_one_name_is_refused(kind: str, pattern: str) -> None:
    said = {"kind": kind, "column": "at", "start": "2026-01-01", "format": pattern}
    with pytest.raises(ValidationError, match=f"gives two {kind} partitions one name"):
        Partitions.model_validate(said)
