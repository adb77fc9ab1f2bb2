"""`batch-pipeline check`, and what every command says of a job file that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.cli.main import main
from batch_pipeline.errors import SpecError
from batch_pipeline.providers.models import doubt
from batch_pipeline.stages.results.validate import Judge

Check = Callable[..., tuple[int, str, str]]

GOOD = """\
name: triage
dataset:
  path: rows
  key: id
partitions:
  kind: daily
  column: day
  start: "2026-01-01"
request:
  prompt: |
    Sort this.
    {{ body }}
  output_schema:
    type: object
    additionalProperties: false
    required: [mood]
    properties:
      mood: {type: string}
targets:
  - provider: openai
    model: gpt-6-luna
"""
ON = date(2026, 11, 25)


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Check:
    """Write a job file in a folder with a dataset, type a command, and hear what it says."""
    monkeypatch.chdir(tmp_path)
    for name in ("BATCH_PIPELINE_SERVICES", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BATCH_PIPELINE_STORE", str(tmp_path / "store"))
    (tmp_path / "rows").mkdir()
    rows = {"id": ["a"], "body": ["b"], "day": ["2026-01-01"]}
    pq.write_table(pa.table(rows), tmp_path / "rows" / "part.parquet")

    def command(text: str | bytes, *args: str) -> tuple[int, str, str]:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "job.yaml").write_bytes(data)
        with pytest.raises(SystemExit) as ended:
            main([*(args or ("check",)), "job.yaml"])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, said.err

    return command


def but(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


MISTAKES: list[tuple[str | bytes, int, str]] = [
    (but("type: string", "type: strng"), 18, "'strng' is no type (did you mean 'string'?)"),
    (but("type: string", "$ref: '#/$defs/x'"), 18, "'#/$defs/x' leads to nothing"),
    (but("type: string", "$ref: 'http://x.y/z'"), 18, "'http://x.y/z' leads to nothing"),
    (but("type: string", "type: string, pattern: '^['"), 18, '"^[" is not a "regex"'),
    (but("required: [mood]", "required: mood"), 16, 'is not of type "array"'),
    (but("{{ body }}", "{% if body %}"), 12, "template line 2"),
    (but("{{ body }}", "{{ body | shout }}"), 12, "shout"),
    (but("{{ body }}", "{{ bdoy }}"), 12, "Did you mean 'body'?"),
    (but("key: id", "key: idd"), 4, "Did you mean 'id'?"),
    (but("key: id", "key: status"), 4, "also a column of the request and result tables"),
    (but("path: rows", "path: rowz"), 3, "there is nothing here"),
    (but("column: day", "column: dya"), 7, "no column of the data"),
    (but('"2026-01-01"', '"01.01.2026"'), 8, "is like '2026-03-01'"),
    (but('"2026-01-01"', "2026-01-01"), 8, "this is the date 2026-01-01: write it in quotes"),
    (but("kind: daily", "kind: hourly"), 8, "is like '2026-03-01-00:00'"),
    (but("kind: daily", "kind: daily\n  end: '2025-12-31'"), 7, "is before the start"),
    (but("kind: daily", "kind: daily\n  timezone: Europe/Berln"), 7, "mean 'Europe/Berlin'?"),
    (but("kind: daily", "kind: dayly"), 6, "'daily'"),
    (but("name: triage", "name: 1 triage"), 1, "For example 'job_1_triage'"),
    (but("name: triage", "name: 7"), 1, "this is the number 7: write it in quotes"),
    (but("name: triage", "name: triage\nname: other"), 2, "'name' is written twice, first on"),
    (but("  key: id", "  key: id\n  key: id"), 5, "'key' is written twice"),
    (but("name: triage", "nmae: triage"), 1, "did you mean 'name'?"),
    (GOOD + "schedule: {cron: often}\n", 22, "for example `0 6 * * *`"),
    (GOOD + "schedule: {cron: '61 * * * *'}\n", 22, "'61' is no minute"),
    (GOOD + "schedule: {cron: '@daily', timezone: Mars/One}\n", 22, "is no timezone"),
    (GOOD + "prices: gone.yaml\n", 22, "cannot be read"),
    (GOOD + "shard: {max_requests: -1}\n", 22, "greater than or equal to 1"),
    (GOOD + "retry:\n  - errored\n", 22, "this is a list of 1"),
    (GOOD + "retry: null\n", 22, "this is empty"),
    (but("provider: openai", "provider: openia"), 20, "Did you mean 'openai'?"),
    (but("    model: gpt-6-luna\n", ""), 20, "model: Field required"),
    (but("model: gpt-6-luna", "model: gpt-6-luna\n    when: 'id ='"), 22, "the `when` of"),
    (but("model: gpt-6-luna", "model: gpt-6-luna\n    when: 'idd > 1'"), 22, "mean 'id'?"),
    (but("  prompt: |", "  prompt_file: gone.md\n  prompt: |"), 9, "exactly one of"),
    (but("  key: id", "\tkey: id"), 4, "a line begins with a tab"),
    (GOOD + "description: a: b\n", 22, "has to stand in quotes"),
    (GOOD.encode() + b"description: \xff\n", 22, "is not UTF-8 text"),
    ("", 1, "the file is empty"),
    ("- a list\n", 1, "is a mapping with `type` and `attributes`"),
    ("type: batch_pipeline.components.BatchJobComponnt\nattributes: {}\n", 1, "is not known"),
    ("type: batch_pipeline.components.BatchJobComponent\n", 1, "under `attributes`"),
]


@pytest.mark.parametrize(("text", "line", "says"), MISTAKES, ids=[said for _, _, said in MISTAKES])
def test_a_mistake_is_told_with_its_file_and_line(
    check: Check, text: str | bytes, line: int, says: str
) -> None:
    code, out, _ = check(text)
    assert code == 2
    (told,) = [each for each in out.splitlines() if says in each]
    assert told.removeprefix(f"{Path.cwd()}/").startswith(f"job.yaml:{line}: ")


@pytest.mark.parametrize("command", ["run", "status", "report"])
def test_every_command_refuses_a_schema_that_could_judge_no_answer(
    check: Check, tmp_path: Path, command: str
) -> None:
    code, _, err = check(but("type: string", "type: strng"), command)
    assert code == 2
    assert "job.yaml:18: request.output_schema.properties.mood.type" in err
    assert not (tmp_path / "store").exists()


def test_several_mistakes_of_one_file_are_told_at_once(check: Check) -> None:
    text = but("type: string", "type: strng").replace("{{ body }}", "{% if %}")
    code, out, _ = check(text + "prices: gone.yaml\n")
    assert code == 2
    assert [int(line.split(":")[1]) for line in out.splitlines()] == [18, 22, 12]


def test_prices_without_a_date_are_an_error_with_both_files_and_lines(
    check: Check, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text("a:\n  input: 1\n  source: us\nb:\n  output: 1\n")
    code, out, _ = check(GOOD + "prices: p.yaml\n")
    assert code == 2
    assert "p.yaml:1: a.as_of: Field required" in out
    assert "p.yaml:4: b.input: Field required" in out


def test_a_mistake_in_a_file_beside_the_job_names_that_file(check: Check, tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("One.\n\n{{ bdoy }}\n", encoding="utf-8")
    prompt = "  prompt: |\n    Sort this.\n    {{ body }}\n"
    assert "p.md:3: template line 3" in check(but(prompt, "  prompt_file: p.md\n"))[1]
    (tmp_path / "s.yaml").write_text("type: object\nproperties:\n  a:\n    type: strng\n")
    schema = GOOD[GOOD.index("  output_schema") : GOOD.index("targets")]
    assert "s.yaml:4: request.output_schema" in check(but(schema, "  output_schema: s.yaml\n"))[1]


def test_a_job_with_nothing_wrong_is_one_line_and_a_document(check: Check) -> None:
    assert check(GOOD) == (0, "Nothing wrong in 1 jobs.\n", "")
    code, out, _ = check(GOOD, "check", "--json")
    assert (code, json.loads(out)) == (0, {"jobs": ["triage"], "mistakes": [], "warnings": []})


def test_the_dataset_may_be_left_alone(check: Check) -> None:
    assert check(but("path: rows", "path: rowz"), "check", "--no-data")[0] == 0


def test_a_job_name_in_two_files_is_an_error_that_names_both(check: Check, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(GOOD)
    code, out, _ = check(GOOD, "check", "other.yaml")
    assert code == 2
    assert f"{tmp_path}/job.yaml:1: name: the job 'triage' is also in {tmp_path}/other" in out


def test_a_model_that_is_retired_or_unknown_is_a_warning_and_no_error(check: Check) -> None:
    code, out, _ = check(but("gpt-6-luna", "gpt-6-lunna"))
    assert code == 0
    assert "warning: job.yaml:21: triage: the model 'gpt-6-lunna' is not known here" in out
    assert "The nearest known name is 'gpt-6-luna'." in out


@pytest.mark.parametrize(
    ("provider", "model", "says"),
    [
        ("anthropic", "claude-3-5-sonnet-20241022", "retired since 2025-10-28"),
        ("anthropic", "claude-sonet-5", "'claude-sonnet-5'"),
        ("openai", "gpt-4-32k", "retired since 2025-06-06"),
        ("openai", "gtp-5-nano", "'gpt-5-nano'"),
        ("mistral", "codestral-2501", "retired since 2025-11-30"),
        ("mistral", "mistral-smal-latest", "'mistral-small-latest'"),
    ],
)
def test_each_provider_has_models_that_are_over_or_unknown(
    provider: str, model: str, says: str
) -> None:
    assert says in (doubt(provider, model, on=ON) or "")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-2024-08-06"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x"),
        ("openai", "omni-moderation-latest"),
        ("openai", "text-embedding-3-small"),
        ("anthropic", "claude-haiku-4-5-20251001"),
        ("anthropic", "claude-mythos-5"),
        ("mistral", "mistral-ocr-latest"),
        ("mistral", "mistral-moderation-latest"),
        ("mistral", "devstral-latest"),
    ],
)
def test_a_model_that_is_there_is_in_no_doubt(provider: str, model: str) -> None:
    assert doubt(provider, model, on=ON) is None


def test_a_model_is_in_doubt_from_the_day_it_ends() -> None:
    assert doubt("openai", "gpt-5-nano", on=date(2026, 12, 10)) is None
    assert "retired" in (doubt("openai", "gpt-5-nano", on=date(2026, 12, 11)) or "")


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"$ref": "#gone"}, "$ref"),
        ({"$ref": "file:///etc/passwd"}, "$ref"),
        ({"$dynamicRef": "#gone"}, "$dynamicRef"),
        ({"$schema": "http://json-schema.org/draft-99/schema#"}, ""),
        ({"$defs": {"unused": {"$ref": "#/$defs/gone"}}}, "$defs.unused.$ref"),
        ({"if": {"pattern": "("}}, "if.pattern"),
        ({"properties": {"a": 5}}, "properties.a"),
        ({"minLength": -1}, "minLength"),
        ({"anyOf": []}, "anyOf"),
        ({"patternProperties": {"[": {}}}, "patternProperties.["),
    ],
)
def test_a_schema_that_cannot_judge_is_refused_with_the_place(
    schema: dict[str, Any], place: str
) -> None:
    with pytest.raises(SpecError) as caught:
        Judge(schema)
    assert f"request.output_schema{'.' if place else ''}{place} is not" in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"properties": {"a": {"const": {"$ref": "#/gone"}}}},
        {"$defs": {"n": {"properties": {"kids": {"items": {"$ref": "#/$defs/n"}}}}}},
        {"$defs": {"a": {"$anchor": "here"}}, "properties": {"x": {"$ref": "#here"}}},
    ],
)
def test_words_of_json_schema_may_be_names_and_values(schema: dict[str, Any]) -> None:
    Judge(schema)
