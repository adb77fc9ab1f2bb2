"""Batches that do not end, cancels that come to nothing, files with marks."""

import codecs

import pytest
from anthropic import Anthropic
from mistralai.client import Mistral
from openai import OpenAI

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator import anthropic_requests as anthropics
from batch_pipeline_tests.simulator import mistral_requests as mistrals
from batch_pipeline_tests.simulator.lines import make_lines, run, submit

DAY = 86_400


@pytest.mark.parametrize("stage", ["validating", "in_progress", "finalizing"])
def test_a_batch_may_stay_where_it_is_past_its_window(
    sim: Simulator, client: OpenAI, stage: str
) -> None:
    sim.faults({"batches": [{"do": "stick", "at": stage, "seconds": 3 * DAY}]})
    batch = submit(client, make_lines(2))
    sim.advance(2 * DAY)
    assert client.batches.retrieve(batch.id).status == stage
    sim.advance(2 * DAY)
    assert not client.batches.retrieve(batch.id).status.startswith(stage)


def test_a_batch_may_be_cancelling_for_ever(
    sim: Simulator, client: OpenAI, claude: Anthropic, mistral: Mistral
) -> None:
    sim.faults({"batches": [{"do": "stick", "at": "cancelling"}]})
    batch = submit(client, make_lines(2))
    message_batch = anthropics.submit(claude, anthropics.make_requests(2))
    job = mistrals.submit(mistral, mistrals.lines_of(2))
    sim.advance(2)
    client.batches.cancel(batch.id)
    claude.messages.batches.cancel(message_batch.id)
    mistral.batch.jobs.cancel(job_id=job.id)
    sim.advance(30 * DAY)
    assert client.batches.retrieve(batch.id).status == "cancelling"
    still = claude.messages.batches.retrieve(message_batch.id)
    assert still.processing_status == "canceling"
    assert mistrals.job_of(mistral, job).status == "CANCELLATION_REQUESTED"


def test_anthropics_and_mistrals_batches_may_stick_while_they_are_put_together(
    sim: Simulator, claude: Anthropic, mistral: Mistral
) -> None:
    sim.faults({"batches": [{"do": "stick", "at": "finalizing"}]})
    batch = anthropics.submit(claude, anthropics.make_requests(2))
    job = mistrals.submit(mistral, mistrals.lines_of(2))
    sim.advance(3 * DAY)
    assert claude.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    assert mistrals.job_of(mistral, job).status == "RUNNING"


def test_a_cancel_may_be_taken_and_ignored(
    sim: Simulator, client: OpenAI, claude: Anthropic, mistral: Mistral
) -> None:
    sim.faults({"batches": [{"do": "ignore_cancels"}]})
    batch = submit(client, make_lines(2))
    message_batch = anthropics.submit(claude, anthropics.make_requests(2))
    job = mistrals.submit(mistral, mistrals.lines_of(2))
    assert client.batches.cancel(batch.id).status == "validating"
    unmoved = claude.messages.batches.cancel(message_batch.id)
    assert unmoved.processing_status == "in_progress"
    assert mistral.batch.jobs.cancel(job_id=job.id).status == "QUEUED"
    sim.advance(60)
    assert client.batches.retrieve(batch.id).status == "completed"
    ended = claude.messages.batches.retrieve(message_batch.id)
    assert ended.request_counts.succeeded == 2
    assert mistrals.job_of(mistral, job).status == "SUCCESS"


def test_result_files_may_begin_with_a_byte_order_mark(
    sim: Simulator, client: OpenAI, claude: Anthropic, mistral: Mistral
) -> None:
    sim.faults({"batches": [{"do": "byte_order_mark"}]})
    openai_id = submit(client, make_lines(2)).id
    anthropic_id = anthropics.submit(claude, anthropics.make_requests(2)).id
    job = mistrals.submit(mistral, mistrals.lines_of(2))
    sim.advance(60)
    file_id = client.batches.retrieve(openai_id).output_file_id or ""
    contents = [
        client.files.content(file_id).content,
        anthropics.read(claude, anthropic_id),
        mistrals.content_of(mistral, mistrals.job_of(mistral, job).output_file),
    ]
    for content in contents:
        assert content.startswith(codecs.BOM_UTF8 + b"{")
        assert content.count(b'"custom_id"') == 2
    assert client.files.retrieve(file_id).bytes == len(contents[0])


def test_a_whole_batch_may_fail_by_a_code_that_names_no_line(
    sim: Simulator, client: OpenAI
) -> None:
    flaw = {"code": "invalid_request", "message": "Cannot find file.", "param": "file_id"}
    sim.faults({"batches": [{"do": "invalidate", **flaw}]})
    errors = run(sim, client, make_lines(1)).batch.errors
    assert errors is not None
    assert [error.model_dump() for error in errors.data or []] == [flaw | {"line": None}]
