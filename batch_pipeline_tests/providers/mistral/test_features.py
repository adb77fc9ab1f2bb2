"""What the codec writes is what Mistral's upload takes, and its answers are read: two readings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batch_pipeline.providers.mistral.codec import MistralCodec
from batch_pipeline.simulator.server import Simulator
from batch_pipeline.spec import BatchJob
from batch_pipeline_tests.providers.factories import NO_LINES
from batch_pipeline_tests.providers.mistral.factories import make_client, make_shard
from batch_pipeline_tests.providers.mistral.jobs import (
    CHAT,
    EMBEDDINGS,
    LABEL,
    MODERATIONS,
    OCR,
    PROMPT,
    WEATHER,
    body,
    filled,
    make,
)

TOOLS = {**PROMPT, "tools": [WEATHER], "tool_choice": "weather"}


def answered(sim: Simulator, job: BatchJob, folder: Path) -> dict[str, Any]:
    """What the one row of *job* is answered, as the columns that are not null."""
    client, codec, (target,) = make_client(sim.urls["mistral"]), MistralCodec(), job.targets
    around, lines, raw = codec.envelope(target.endpoint), folder / "in", folder / "out"
    native = json.dumps(filled(body(job)))
    lines.write_text(f'{around.before_id}"row-0"{around.before_body}{native}{around.after_body}')
    shard = make_shard(model=target.model, endpoint=target.endpoint)
    made = client.create(shard, NO_LINES, file_id=client.upload(lines, name="s-1"))
    sim.advance(60)
    done = client.retrieve(made.batch_id)
    client.download(done.output_file_id or done.error_file_id or "", raw)
    line = "SELECT $line::VARCHAR AS line, 'output' AS source, 0 AS position"
    query = f"WITH lines AS ({line}) SELECT * FROM ({codec.decode_sql(target.endpoint)})"  # noqa: S608 - ours
    found = duckdb.connect().execute(query, {"line": raw.read_text(encoding="utf-8")})
    names = [column[0] for column in found.description]
    (row,) = found.fetchall()
    return {name: value for name, value in zip(names, row, strict=True) if value is not None}


@pytest.mark.parametrize(
    "job",
    [
        make(),
        make(max_output_tokens=50, temperature=1.5, top_p=0.9, stop=["END"], seed=7),
        make(request={"system": "Be brief.", "conversation": "chat"}),
        make(request={**PROMPT, "documents": [{"url": "paper"}]}),
        make(request={**PROMPT, "images": [{"data": "scan"}]}),
        make(reasoning_effort="high"),
    ],
)
def test_what_is_asked_in_a_chat_is_taken_and_answered(
    sim: Simulator, job: BatchJob, tmp_path: Path
) -> None:
    row = answered(sim, job, tmp_path)
    assert (row["custom_id"], row.get("failure")) == ("row-0", None)
    assert row["text"]
    assert (row["input_tokens"] > 0, row["output_tokens"] > 0) == (True, True)


def test_thoughts_stay_out_of_the_text(sim: Simulator, tmp_path: Path) -> None:
    row = answered(sim, make(reasoning_effort="high"), tmp_path)
    sent = (tmp_path / "out").read_text(encoding="utf-8")
    assert '"thinking"' in sent
    assert "thinking" not in row["text"]


def test_a_schema_is_answered_with_json_of_it(sim: Simulator, tmp_path: Path) -> None:
    row = answered(sim, make(request={**PROMPT, "output_schema": LABEL}), tmp_path)
    assert json.loads(row["text"]).keys() == {"label"}


def test_a_tool_that_has_to_be_called_is_called(sim: Simulator, tmp_path: Path) -> None:
    row = answered(sim, make(request=TOOLS), tmp_path)
    (call,) = json.loads(row["tool_calls"])
    assert (call["name"], "text" in row) == ("weather", False)
    assert json.loads(call["arguments"]).keys() == {"label"}


def test_a_text_becomes_a_vector_of_the_length_asked_for(sim: Simulator, tmp_path: Path) -> None:
    job = make(EMBEDDINGS, target={"model": "codestral-embed"}, dimensions=8)
    row = answered(sim, job, tmp_path)
    assert (row.get("failure"), len(row["embedding"]), row["output_tokens"]) == (None, 8, 0)


def test_a_text_is_moderated(sim: Simulator, tmp_path: Path) -> None:
    row = answered(sim, make(MODERATIONS, target={"model": "mistral-moderation-latest"}), tmp_path)
    assert json.loads(row["text"]).keys() >= {"categories", "category_scores"}


@pytest.mark.parametrize("attached", [{"documents": [{"url": "d"}]}, {"images": [{"data": "i"}]}])
def test_a_document_is_read(sim: Simulator, tmp_path: Path, attached: dict[str, object]) -> None:
    job = make(OCR, request=attached, target={"model": "mistral-ocr-latest"})
    row = answered(sim, job, tmp_path)
    assert row.get("failure") is None
    assert row["text"]


def test_an_image_that_cannot_be_fetched_is_a_rejected_row_with_mistral_s_code(
    sim: Simulator, tmp_path: Path
) -> None:
    job = make(CHAT, request={**PROMPT, "images": [{"url": "host.invalid"}]})
    row = answered(sim, job, tmp_path)
    assert (row["failure"], row["error_code"]) == ("rejected", "3310")
    assert "could not be fetched" in row["error_message"]
