"""docs/requests.md is true: its table, its YAML and its examples are what the code takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_pipeline.catalog import OURS
from batch_pipeline.pipeline.checking import check
from batch_pipeline.providers.capabilities import FEATURES
from batch_pipeline.providers.registry import Registry
from batch_pipeline.request import Parameters, Request
from batch_pipeline.settings import Settings
from batch_pipeline.spec import BatchJob, Target
from batch_pipeline_tests.example_promises import EXAMPLES, FILES

PAGE = (Path(__file__).parent.parent / "docs" / "requests.md").read_text(encoding="utf-8")
SNIPPETS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE)
]
USUAL: dict[str, Any] = {
    "name": "snippet",
    "dataset": {"path": "data/tickets.parquet", "key": "id"},
    "targets": [{"provider": "openai", "model": "gpt-4.1-mini"}],
}


def test_the_table_says_what_each_endpoint_takes() -> None:
    registry = Registry()
    known = [registry.codec(name).capabilities for name in OURS]
    taken = [one.takes[endpoint] for one in known for endpoint in one.endpoints]
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| (.*) \|$", PAGE))
    assert tuple(rows) == FEATURES
    for feature, cells in rows.items():
        said = [cell.strip() == "yes" for cell in f"{cells} ".split("|")]
        assert said == [feature in endpoint for endpoint in taken], feature


@pytest.mark.parametrize("said", SNIPPETS, ids=lambda said: " ".join(said["request"]))
def test_each_yaml_is_a_request_that_its_targets_take(said: dict[str, Any]) -> None:
    job = BatchJob.model_validate({**USUAL, **said}).resolved(EXAMPLES / "jobs")
    check(job, Settings())


def test_every_key_of_a_request_and_of_a_target_is_explained() -> None:
    for model in (Request, Parameters, Target):
        for name in model.model_fields.keys() - {"prompt_file", "provider", "endpoint", "model"}:
            assert re.search(rf"\b{name}\b", PAGE), name


def test_every_example_is_linked() -> None:
    assert set(re.findall(r"examples/jobs/(\w+)\.yaml\)", PAGE)) == set(FILES)
