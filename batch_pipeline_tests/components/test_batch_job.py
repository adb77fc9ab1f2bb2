"""The component: what loads, what is left alone, and where an error points."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from batch_pipeline.components import BatchJobComponent

pytestmark = [
    # Dagster's own loader uses what it calls beta, and pydantic's older names
    pytest.mark.filterwarnings("ignore:.*currently in beta"),
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),
]


@pytest.fixture
def job_file() -> Iterator[tuple[Path, object]]:
    """A scaffolded job file, and the sandbox project that it is in."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(BatchJobComponent, defs_path="fresh_job")
        yield folder / "defs.yaml", sandbox


def loaded(sandbox: object) -> dg.Definitions:
    with sandbox.build_all_defs() as defs:  # type: ignore[attr-defined]
        dg.Definitions.validate_loadable(defs)
        assert isinstance(defs, dg.Definitions)
        return defs


def test_a_scaffolded_job_loads_with_its_resource_and_keeps_its_braces(
    job_file: tuple[Path, object],
) -> None:
    path, sandbox = job_file
    assert "{{ text }}" in path.read_text(encoding="utf-8")
    defs = loaded(sandbox)
    graph = defs.resolve_asset_graph()
    assert {key.path[0] for key in graph.get_all_asset_keys()} == {"fresh_job"}
    page = graph.get(dg.AssetKey(["fresh_job", "requests"])).description or ""
    assert "Summarise in one sentence: {{ text }}" in page
    dataset = graph.get(dg.AssetKey(["fresh_job", "dataset"])).metadata["dagster/uri"]
    assert str(dataset).endswith("/data/fresh_job")
    assert ".." not in str(dataset)


def test_two_jobs_share_the_resource(job_file: tuple[Path, object]) -> None:
    path, sandbox = job_file
    other = path.parent.parent / "other_job"
    other.mkdir()
    text = path.read_text(encoding="utf-8").replace("fresh_job", "other_job")
    (other / "defs.yaml").write_text(text, encoding="utf-8")
    assert {job.name for job in loaded(sandbox).resolve_all_job_defs()} >= {
        "fresh_job_submit",
        "other_job_submit",
    }


@pytest.mark.parametrize(
    ("right", "wrong", "place", "says"),
    [
        ("key: id", "kee: id", ("attributes.dataset.kee", 6), "did you mean 'key'?"),
        ("model: gpt", "modle: gpt", ("attributes.targets.0.modle", 14), "did you mean 'model'?"),
        (
            "provider: openai",
            "provider: openia",
            ("attributes.targets.0.provider", 13),
            "Did you mean 'openai'?",
        ),
        ("kind: none", "kind: dayly", ("attributes.partitions.kind", 8), "'daily'"),
        ("  name: fresh_job\n", "", ("attributes.name", 2), "Field required"),
    ],
)
def test_an_error_names_file_line_path_and_the_nearest_word(
    job_file: tuple[Path, object], right: str, wrong: str, place: tuple[str, int], says: str
) -> None:
    path, sandbox = job_file
    text = path.read_text(encoding="utf-8")
    assert right in text
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(Exception, match="fresh_job") as raised:
        loaded(sandbox)
    said = str(raised.value.__cause__)
    assert f"{place[0]} at {path}:{place[1]}" in said
    assert says in said


def test_a_file_that_is_not_there_is_named_with_its_folder(job_file: tuple[Path, object]) -> None:
    path, sandbox = job_file
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("    prompt: |\n")
    rest = rest.partition("\n")[2]
    path.write_text(f"{head}    prompt_file: gone.md\n{rest}", encoding="utf-8")
    with pytest.raises(Exception, match="fresh_job") as raised:
        loaded(sandbox)
    assert f"{path.parent / 'gone.md'}: cannot be read" in str(raised.value.__cause__)


def test_a_job_file_without_attributes_says_what_is_missing(job_file: tuple[Path, object]) -> None:
    path, sandbox = job_file
    path.write_text("type: batch_pipeline.components.BatchJobComponent\n", encoding="utf-8")
    with pytest.raises(Exception, match="fresh_job") as raised:
        loaded(sandbox)
    assert str(raised.value.__cause__)


def test_the_schema_that_dg_checks_yaml_with_is_the_jobs_own() -> None:
    model = BatchJobComponent.get_model_cls()
    schema = model.model_json_schema()
    assert schema["required"] == ["name", "dataset", "request", "targets"]
    assert schema["additionalProperties"] is False
    assert "anyOf" not in schema["properties"]["targets"]
    assert BatchJobComponent.get_spec().description


def test_the_installed_package_offers_the_component_to_dg() -> None:
    found = entry_points(group="dagster_dg_cli.registry_modules")
    assert "batch_pipeline.components" in {one.value for one in found}


@pytest.mark.parametrize(
    ("right", "wrong", "line", "says"),
    [
        ("Summarise in one sentence: {{ text }}", "{% if text %}", 11, "template line 1"),
        ("key: id", "key: status", 6, "also a column of the request and result tables"),
        ("  request:", "  prices: gone.yaml\n  request:", 9, "cannot be read"),
        ("    prompt: |", "    output_schema: {type: arrray}\n    prompt: |", 10, "'array'?"),
        ("  request:", "  name: twice\n  request:", 9, "'name' is written twice"),
    ],
)
def test_what_a_jobs_end_needs_is_made_when_dagster_loads_it(
    job_file: tuple[Path, object], right: str, wrong: str, line: int, says: str
) -> None:
    path, sandbox = job_file
    text = path.read_text(encoding="utf-8")
    assert right in text
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(Exception, match="fresh_job") as raised:
        loaded(sandbox)
    said = str(raised.value.__cause__)
    assert says in said
    assert f"{path}:{line}: " in said


def test_one_name_in_two_files_is_an_error_that_names_both(job_file: tuple[Path, object]) -> None:
    path, sandbox = job_file
    other = path.parent.parent / "other_job"
    other.mkdir()
    (other / "defs.yaml").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(Exception, match=r"fresh_job|other_job") as raised:
        loaded(sandbox)
    said = str(raised.value.__cause__)
    assert "the job 'fresh_job' is also in" in said
    assert "fresh_job/defs.yaml" in said
    assert "other_job/defs.yaml" in said
