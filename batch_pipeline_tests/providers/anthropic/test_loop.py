"""Bodies of the codec through the simulated API and back: two readings agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batch_pipeline.providers.anthropic.codec import AnthropicCodec
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.providers.anthropic.factories import (
    filled,
    make_anthropic,
    make_claude_shard,
)

WIRE = AnthropicCodec()
LONG = "You sort letters by what they are about. " * 200
TOOL = {"name": "look_up", "parameters": {"properties": {"word": {"type": "string"}}}}
LABEL = {
    "type": "object",
    "properties": {"label": {"enum": ["a", "b"]}, "sure": {"type": ["number", "null"]}},
    "required": ["label", "sure"],
}


@pytest.fixture(scope="module")
def long_lived() -> Iterator[Simulator]:
    with Simulator(speed=0) as simulator:
        yield simulator


def answered(
    sim: Simulator,
    folder: Path,
    request: Mapping[str, object],
    *,
    model: str = "claude-sonnet-4-6",
    api_version: str | None = None,
    **parameters: object,
) -> list[dict[str, Any]]:
    """Two requests of the job, with examples in its leaves, sent, run, fetched and decoded."""
    target = {"provider": "anthropic", "model": model, "api_version": api_version}
    job = BatchJob.model_validate(
        {
            "name": "sort",
            "dataset": {"path": "x", "key": "id"},
            "request": {**request, "parameters": parameters},
            "targets": [target],
        }
    )
    envelope, body = WIRE.envelope("/v1/messages"), filled(WIRE.body(job, job.targets[0]))
    around = (envelope.before_id, envelope.before_body, json.dumps(body), envelope.after_body)
    (folder / "lines").write_text(
        "".join(f'{around[0]}"row-{n}"{around[1]}{around[2]}{around[3]}' for n in range(2))
    )
    client = make_anthropic(sim.urls["anthropic"])
    shard = make_claude_shard(options=WIRE.options(job, job.targets[0]))
    made = client.create(shard, folder / "lines", file_id=None)
    sim.advance(60)
    client.download(made.batch_id, folder / "out")
    return decoded((folder / "out").read_text("utf-8"))


def decoded(text: str) -> list[dict[str, Any]]:
    lines = [line for line in text.split("\n") if line]
    query = (
        "WITH lines AS (SELECT unnest($lines) AS line, 'output' AS source, "  # noqa: S608 - ours
        f"0 AS position) SELECT * FROM ({WIRE.decode_sql('/v1/messages')}) ORDER BY custom_id"
    )
    result = duckdb.connect().execute(query, {"lines": lines})
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@pytest.mark.parametrize(
    ("request_", "options"),
    [
        ({"system": "Be brief.", "prompt": "{{ x }}"}, {"max_output_tokens": 64, "stop": ["END"]}),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                       {"role": "user", "content": "{{ c }}"}]}, {}),
        ({"conversation": "chat"}, {"model": "claude-haiku-4-5"}),
        ({"prompt": "{{ x }}", "images": [{"data": "a"}, {"url": "b"}]}, {}),
        ({"prompt": "{{ x }}", "documents": [{"url": "b"}]}, {"reasoning_effort": "max"}),
        ({"prompt": "{{ x }}"}, {"temperature": 0.2, "api_version": "2023-06-01"}),
        ({"prompt": "{{ x }}"}, {"model": "claude-opus-5", "thinking": "off"}),
        ({"prompt": "{{ x }}"}, {"extra": {"metadata": {"user_id": "u"}}}),
    ],
)  # fmt: skip
def test_what_the_codec_writes_is_answered(
    long_lived: Simulator,
    tmp_path: Path,
    request_: dict[str, object],
    options: dict[str, Any],
) -> None:
    rows = answered(long_lived, tmp_path, request_, **options)
    assert [row["custom_id"] for row in rows] == ["row-0", "row-1"]
    for row in rows:
        assert (row["status"], row["error_message"]) == ("succeeded", None)
        assert row["text"]
        assert row["input_tokens"] > 0
        assert row["output_tokens"] > 0


def test_a_schema_shapes_the_answer(long_lived: Simulator, tmp_path: Path) -> None:
    for row in answered(long_lived, tmp_path, {"prompt": "{{ x }}", "output_schema": LABEL}):
        assert json.loads(row["text"]).keys() == {"label", "sure"}


def test_a_forced_call_comes_back_as_a_call(long_lived: Simulator, tmp_path: Path) -> None:
    request = {"prompt": "{{ x }}", "tools": [{**TOOL, "strict": True}], "tool_choice": "look_up"}
    for row in answered(long_lived, tmp_path, request):
        (call,) = json.loads(row["tool_calls"])
        assert (call["name"], row["text"], row["finish_reason"]) == ("look_up", None, "tool_use")
        assert isinstance(json.loads(call["arguments"]), dict)


def test_a_common_beginning_is_written_once_and_read_after(
    long_lived: Simulator, tmp_path: Path
) -> None:
    request = {"system": LONG, "prompt": "{{ x }}", "tools": [TOOL]}
    first, second = answered(long_lived, tmp_path, request, cache="1h")
    assert first["cache_write_tokens"] > 1000
    assert second["cached_input_tokens"] == first["cache_write_tokens"]
    assert second["input_tokens"] == first["input_tokens"]


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("claude-sonnet-4-6", {"thinking": "adaptive"}),
        ("claude-haiku-4-5", {"thinking_tokens": 1024}),
    ],
)
def test_thinking_is_counted_and_not_part_of_the_text(
    long_lived: Simulator, tmp_path: Path, model: str, parameters: dict[str, object]
) -> None:
    for row in answered(long_lived, tmp_path, {"prompt": "x"}, model=model, **parameters):  # type: ignore[arg-type]
        assert row["status"] == "succeeded"
        assert 0 < row["reasoning_tokens"] < row["output_tokens"]


@pytest.mark.parametrize(
    ("becomes", "failure"),
    [
        ("refused", "refused"),
        ("truncated", "truncated"),
        ("context_exceeded", "truncated"),
        ("unknown_type", "unreadable"),
        ("expired", "expired"),
        ("cancelled", "cancelled"),
        ("error", "errored"),
        ("line_separators", None),
    ],
)
def test_whatever_becomes_of_a_row_is_read(
    long_lived: Simulator, tmp_path: Path, becomes: str, failure: str | None
) -> None:
    long_lived.faults({"rows": [{"becomes": becomes, "custom_id": "row-0"}]})
    spoilt, good = answered(long_lived, tmp_path, {"prompt": "{{ x }}"})
    long_lived.faults({})
    assert (spoilt["failure"], good["failure"]) == (failure, None)
    if failure in {"refused", "truncated", None}:
        assert spoilt["input_tokens"] == good["input_tokens"]
