"""Every neutral feature is, at every endpoint, either in a body that the SDK knows or refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.model import BuiltTarget
from batch_pipeline.providers.capabilities import _WORDS as WORDS
from batch_pipeline.providers.capabilities import FEATURES, features
from batch_pipeline.providers.registry import Registry
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.requests.build import Building, CompiledTarget, build_requests
from batch_pipeline.stages.requests.dataset import open_dataset
from batch_pipeline_tests.contract.cases import CASES, EVERYWHERE, Case, named
from batch_pipeline_tests.contract.client_runner import CON
from batch_pipeline_tests.stages.built_requests import ROOMY

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
ROW: Mapping[str, object] = {
    "text": 'Say "hello".\n\u2028',
    "chat": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "What is it?"},
    ],
    "scan": PNG,
    "scan_at": "https://pictures.example/1.png",
    "paper": b"%PDF-1.7 and so on",
    "paper_at": "https://papers.example/1.pdf",
}
OBJECT = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "sure": {"type": "boolean"}},
    "required": ["label", "sure"],
    "additionalProperties": False,
}
PROMPT = {"prompt": "{{ text }}"}


@dataclass(frozen=True)
class Use:
    """One feature and nothing else, in a job file's words."""

    request: Mapping[str, object] = field(default_factory=lambda: PROMPT)
    target: Mapping[str, object] = field(default_factory=dict)


def said(**parameters: object) -> Use:
    return Use(target={"parameters": parameters})


USES: Mapping[str, Use] = {
    "system": Use({"system": "Be brief, {{ text }}.", **PROMPT}),
    "messages": Use(
        {
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "{{ text }}"},
            ]
        }
    ),
    "conversation": Use({"conversation": "chat"}),
    "image_url": Use({**PROMPT, "images": [{"url": "scan_at"}]}),
    "image_data": Use({**PROMPT, "images": [{"data": "scan"}]}),
    "pdf_url": Use({**PROMPT, "documents": [{"url": "paper_at"}]}),
    "pdf_data": Use({**PROMPT, "documents": [{"data": "paper"}]}),
    "tools": Use(
        {
            **PROMPT,
            "tools": [
                {"name": "note", "description": "Keep it.", "parameters": OBJECT, "strict": True},
                {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
            ],
            "tool_choice": "note",
        }
    ),
    "output_schema": Use({**PROMPT, "output_schema": OBJECT}),
    "betas": Use(target={"betas": ["output-300k-2026-03-24"]}),
    "timeout_hours": Use(target={"timeout_hours": 48}),
    "api_version": Use(target={"api_version": "2023-06-01"}),
    "max_output_tokens": said(max_output_tokens=64),
    "temperature": said(temperature=0.5),
    "top_p": said(top_p=0.9),
    "stop": said(stop=["END", "\n\n"]),
    "seed": said(seed=7),
    "reasoning_effort": said(reasoning_effort="high"),
    "thinking": said(thinking="adaptive"),
    "thinking_tokens": said(thinking_tokens=2000),
    "cache": said(cache="1h"),
    "dimensions": said(dimensions=256),
}
OF_THE_BATCH = {"betas", "timeout_hours", "api_version"}
TAKEN = [
    (case, endpoint, name)
    for case, endpoint in EVERYWHERE
    for name in FEATURES
    if name in case.codec.capabilities.takes[endpoint]
]
REFUSED = [
    (case, endpoint, name)
    for case, endpoint in EVERYWHERE
    for name in FEATURES
    if name not in case.codec.capabilities.takes[endpoint]
]


def test_every_feature_there_is_has_an_example_of_it_alone() -> None:
    assert set(USES) == set(FEATURES)
    for name, use in USES.items():
        job = made(CASES[0], CASES[0].endpoint, use)
        found = set(features(job.request, job.targets[0]))
        assert found == {name}


def made(case: Case, endpoint: str, use: Use, name: str = "") -> BatchJob:
    besides = case.with_feature.get(name, {}) if name else {}
    parameters = [each.get("parameters", {}) for each in (besides, use.target)]
    target = {**use.target, **besides, "parameters": {**parameters[0], **parameters[1]}}  # type: ignore[dict-item]
    request = dict(use.request)
    if name == "cache":
        request["system"] = "Be brief."
    if endpoint.endswith("/ocr") and name:  # it reads one document and nothing else
        request.pop("prompt", None)
        if not {"images", "documents"} & set(request):
            request["documents"] = [{"url": "paper_at"}]
    return BatchJob.model_validate(
        {
            "name": "features",
            "dataset": {"path": "unused", "key": "id"},
            "request": request,
            "targets": [{**case.target(endpoint), **target}],
        }
    )


@cache
def bodies(case_number: int, endpoint: str) -> dict[str, dict[str, Any]]:
    """The body of one row for each feature taken, and without any (""): built in one go."""
    case = CASES[case_number]
    taken = ["", *(name for one, where, name in TAKEN if (one, where) == (case, endpoint))]
    jobs = {name: made(case, endpoint, USES.get(name, Use()), name or "-") for name in taken}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([{"id": name, **ROW} for name in taken]), path)
        job = (
            jobs[""]
            .resolved(Path(folder))
            .model_copy(update={"dataset": jobs[""].dataset.model_copy(update={"path": str(path)})})
        )
        into = Path(folder) / "out"
        into.mkdir()
        done = build_requests(
            CON,
            job=job,
            targets=[compiled(case, name, one) for name, one in jobs.items()],
            partitions={
                "all": Building(open_dataset(job.dataset, job.partitions).select("all"), into)
            },
        )["all"]
        assert done.rejected == 0
        lines = [line for file in into.glob("*.jsonl") for line in file.read_bytes().splitlines()]
        names = {row["custom_id"]: row["id"] for row in pq.read_table(done.table).to_pylist()}
    found = [json.loads(line) for line in lines]
    return {names[one["custom_id"]]: one[case.around] for one in found}


def compiled(case: Case, name: str, job: BatchJob) -> CompiledTarget:
    """One feature's row goes to a target that has it; the codec is asked as the pipeline does."""
    (target,) = job.targets
    Registry().check(job, target)
    where = BuiltTarget(name or "plain", case.provider, target.model, target.endpoint)
    codec = case.codec
    return CompiledTarget(
        target=where,
        when=f"id = '{name}'",
        body=codec.body(job, target),
        envelope=codec.envelope(target.endpoint),
        limits=ROOMY,
    )


@pytest.mark.parametrize(("case", "endpoint", "name"), TAKEN, indirect=["case"], ids=named)
def test_a_feature_that_is_taken_is_in_a_body_that_the_sdk_knows(
    case: Case, endpoint: str, name: str
) -> None:
    built = bodies(CASES.index(case), endpoint)
    body, plain = built[name], built[""]
    assert case.as_the_sdk_reads(endpoint, "row-1", body) == body
    job = made(case, endpoint, USES[name], name)
    options = case.codec.options(job, job.targets[0])
    assert (
        set(options) == {name} & OF_THE_BATCH | set(case.with_feature.get(name, {})) & OF_THE_BATCH
    )
    if name not in OF_THE_BATCH and not (endpoint.endswith("/ocr") and name == "pdf_url"):
        assert body != plain


@pytest.mark.parametrize(("case", "endpoint", "name"), REFUSED, indirect=["case"], ids=named)
def test_a_feature_that_is_not_taken_is_refused_by_its_name_before_anything_is_sent(
    case: Case, endpoint: str, name: str
) -> None:
    job = made(case, endpoint, USES[name])
    with pytest.raises(SpecError) as caught:
        Registry().check(job, job.targets[0])
    message = str(caught.value)
    assert f"{case.provider} {endpoint} does not take" in message
    assert WORDS.get(name, f"the parameter {name!r}") in message
    told = case.codec.capabilities.notes.get(name)
    assert message.endswith(told or "choose another endpoint.")
