"""A row that the simulator itself cannot run fails alone; a start waits for no tokenizer."""

import subprocess
import sys

from anthropic import Anthropic
from mistralai.client import Mistral
from openai import OpenAI

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator import anthropic_requests as anthropics
from batch_pipeline_tests.simulator import lines as openais
from batch_pipeline_tests.simulator import mistral_requests as mistrals

# no validator can be built of it, and the fault asks one whether a marked answer still fits
BROKEN = {
    "type": "object",
    "additionalProperties": False,
    "required": ["a"],
    "properties": {"a": {"type": "string", "pattern": "^["}},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "broken", "schema": BROKEN}}
FAULTS = {"rows": [{"becomes": "line_separators", "custom_id": "bad"}]}


def test_openais_row_that_cannot_be_run_fails_alone(sim: Simulator, client: OpenAI) -> None:
    sim.faults(FAULTS)
    bad = openais.make_line("bad", body=openais.make_body(response_format=FORMAT))
    results = openais.run(sim, client, [*openais.make_lines(2), bad])
    assert set(results.output) == {"row-1", "row-2"}
    assert results.errors["bad"]["response"]["status_code"] == 500
    assert openais.run(sim, client, openais.make_lines(1)).batch.status == "completed"


def test_anthropics_row_that_cannot_be_run_fails_alone(sim: Simulator, claude: Anthropic) -> None:
    sim.faults(FAULTS)
    shape = {"format": {"type": "json_schema", "schema": BROKEN}}
    bad = anthropics.make_request("bad", output_config=shape)
    results = anthropics.run(sim, claude, [*anthropics.make_requests(2), bad])
    assert results.error("bad")["error"]["type"] == "api_error"
    assert results.counts == {"succeeded": 2, "errored": 1}


def test_mistrals_row_that_cannot_be_run_fails_alone(sim: Simulator, mistral: Mistral) -> None:
    sim.faults(FAULTS)
    bad = mistrals.line_of("bad", **mistrals.body_of(response_format=FORMAT))
    results = mistrals.run(sim, mistral, [*mistrals.lines_of(2), bad])
    assert set(results.output) == {"row-1", "row-2"}
    assert results.errors["bad"]["response"]["status_code"] == 500


def test_the_server_starts_without_a_tokenizer_or_any_library_of_the_pipelines() -> None:
    heavy = ["bpe_openai", "dagster", "duckdb", "polars", "pyarrow", "sqlalchemy"]
    script = (
        "import sys, batch_pipeline.simulator.server\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run(  # noqa: S603 - our own interpreter and our own words
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
