"""Rows that are answered and yet odd: of the account, without an id, empty, billed apart."""

import json
from typing import Any

import pytest
from anthropic import Anthropic
from mistralai.client import Mistral
from openai import OpenAI

from batch_pipeline.simulator.server import Simulator
from batch_pipeline_tests.simulator import anthropic_requests as anthropics
from batch_pipeline_tests.simulator import lines as openais
from batch_pipeline_tests.simulator import mistral_requests as mistrals
from batch_pipeline_tests.simulator.lines import RESPONSES, TRIAGE_FORMAT, Line

PROVIDERS = ("openai", "anthropic", "mistral")


@pytest.fixture
def raw(sim: Simulator, client: OpenAI, claude: Anthropic, mistral: Mistral) -> "Raw":
    return Raw(sim, client, claude, mistral)


class Raw:
    """Runs three rows anywhere, of which row-2 has the fault, and reads the lines as they are."""

    def __init__(self, sim: Simulator, client: OpenAI, claude: Anthropic, mistral: Mistral) -> None:
        self._sim, self._client, self._claude, self._mistral = sim, client, claude, mistral

    def lines(self, provider: str, becomes: str, **rule: object) -> list[bytes]:
        """All result lines, those of the error file last."""
        self._sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2", **rule}]})
        content: bytes = getattr(self, f"_{provider}_lines")()
        return [line for line in content.split(b"\n") if line]

    def row(self, provider: str, becomes: str, **rule: object) -> Line:
        """The line of row-2."""
        found = [json.loads(line) for line in self.lines(provider, becomes, **rule)]
        (line,) = [line for line in found if line["custom_id"] == "row-2"]
        one: Line = line
        return one

    def response(self, becomes: str, **rule: object) -> Line:
        """The body of row-2 at `/v1/responses`."""
        self._sim.faults({"rows": [{"becomes": becomes, "custom_id": "row-2", **rule}]})
        body = {"model": "gpt-5-mini", "input": "The lid broke."}
        lines = [openais.make_line("row-2", url=RESPONSES, body=body)]
        answered = openais.run(self._sim, self._client, lines, RESPONSES)
        made: Line = answered.output["row-2"]["response"]["body"]
        return made

    def _openai_lines(self) -> bytes:
        lines = openais.make_lines(3, response_format=TRIAGE_FORMAT)
        batch = openais.run(self._sim, self._client, lines).batch
        ids = [batch.output_file_id, batch.error_file_id]
        return b"".join(self._client.files.content(name).content for name in ids if name)

    def _anthropic_lines(self) -> bytes:
        shape = {"format": {"type": "json_schema", "schema": anthropics.TRIAGE}}
        requests = anthropics.make_requests(3, output_config=shape)
        batch = anthropics.submit(self._claude, requests)
        self._sim.advance(60)
        return anthropics.read(self._claude, batch.id)

    def _mistral_lines(self) -> bytes:
        job = mistrals.submit(self._mistral, mistrals.lines_of(3, response_format=TRIAGE_FORMAT))
        self._sim.advance(60)
        ended = mistrals.job_of(self._mistral, job)
        ids = [ended.output_file, ended.error_file]
        return b"".join(mistrals.content_of(self._mistral, name) for name in ids if name)


def error_in(line: Line) -> Line:
    """Status and error of an error row, whoever wrote it."""
    if "result" in line:
        error: Line = line["result"]["error"]["error"]
        return error
    body: Any = line["response"]["body"]
    found = json.loads(body) if isinstance(body, str) else body["error"]
    return {"status": line["response"]["status_code"], **found}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_an_error_of_the_account_has_words_of_its_own(raw: Raw, provider: str, status: int) -> None:
    told = error_in(raw.row(provider, "error", status=status))
    kinds = {401: "authentication", 402: "billing", 403: "permission", 404: "not_found"}
    if provider == "anthropic":
        assert told["type"] == f"{kinds[status]}_error"
    else:
        assert told["status"] == status
    assert told["message"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_errors_words_can_be_given(raw: Raw, provider: str) -> None:
    words = {"type": "insufficient_quota", "message": "You exceeded your current quota."}
    told = error_in(raw.row(provider, "error", status=429, code="insufficient_quota", **words))
    assert {name: told[name] for name in words} == words
    assert told.get("code", "insufficient_quota") == "insufficient_quota"


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        ("openai", {"status": 400, "code": "billing_hard_limit_reached"}),
        ("anthropic", {"type": "invalid_request_error"}),
        ("mistral", {"status": 402}),
    ],
)
def test_an_account_without_money_is_told_so_row_by_row(
    raw: Raw, provider: str, says: Line
) -> None:
    told = error_in(raw.row(provider, "no_credit"))
    assert says.items() <= told.items()
    if provider == "anthropic":
        assert told["message"].startswith("Your credit balance is too low")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_may_come_without_its_id(raw: Raw, provider: str) -> None:
    found = [json.loads(line)["custom_id"] for line in raw.lines(provider, "null_id")]
    assert sorted(found, key=str) == [None, "row-1", "row-3"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error_line_may_come_before_the_answer(raw: Raw, provider: str) -> None:
    lines = [line for line in raw.lines(provider, "error_first", status=503) if b"row-2" in line]
    failed, answered = map(json.loads, lines)
    assert error_in(failed)["message"]
    assert "sentiment" in json.dumps(answered)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_half_a_surrogate_pair_may_stand_in_an_answer(raw: Raw, provider: str) -> None:
    (line,) = [line for line in raw.lines(provider, "lone_surrogate") if b"row-2" in line]
    assert line.count(rb"\ud83d") == 1
    assert "\\ud83d" in json.dumps(json.loads(line))


def said_by(provider: str, line: Line) -> Any:  # noqa: ANN401 - each provider's own shape
    """What stands where the answer should."""
    if provider == "anthropic":
        assert line["result"]["message"]["stop_reason"] == "end_turn"
        return line["result"]["message"]["content"]
    (choice,) = line["response"]["body"]["choices"]
    assert choice["finish_reason"] == "stop"
    return choice["message"]["content"]


@pytest.mark.parametrize(
    ("provider", "empty", "thoughts", "unread"),
    [
        ("openai", None, None, None),
        ("anthropic", [], ["thinking"], ["server_tool_use", "container_upload"]),
        ("mistral", None, ["thinking"], ["tool_file"]),
    ],
)
def test_an_answer_may_hold_nothing_or_nothing_that_is_read(
    raw: Raw, provider: str, empty: object, thoughts: object, unread: object
) -> None:
    def kinds(becomes: str) -> object:
        said = said_by(provider, raw.row(provider, becomes))
        return [part["type"] for part in said] if isinstance(said, list) else said

    assert kinds("empty") == empty
    assert kinds("reasoning_only") == thoughts
    assert kinds("unknown_items") == unread


def test_a_response_may_hold_nothing_or_nothing_that_is_read(raw: Raw) -> None:
    kinds = {
        becomes: [item["type"] for item in raw.response(becomes)["output"]]
        for becomes in ("empty", "reasoning_only", "unknown_items")
    }
    assert kinds == {
        "empty": [],
        "reasoning_only": ["reasoning"],
        "unknown_items": ["computer_call", "mcp_approval_request", "image_generation_call"],
    }


def test_a_response_may_say_something_before_its_answer(raw: Raw) -> None:
    said = [item for item in raw.response("commentary")["output"] if item["type"] == "message"]
    assert [item.get("phase") for item in said] == ["commentary", "final_answer"]


def test_searches_are_counted_beside_the_tokens(raw: Raw) -> None:
    body = raw.response("web_search")
    assert body["tool_usage"]["web_search"]["num_requests"] == 2
    assert [item["type"] for item in body["output"]].count("web_search_call") == 2
    message = raw.row("anthropic", "web_search")["result"]["message"]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 2
    assert [block["type"] for block in message["content"]][-1] == "text"


def test_an_answer_may_say_that_it_was_served_outside_the_batch_tier(raw: Raw) -> None:
    assert raw.row("openai", "standard_tier")["response"]["body"]["service_tier"] == "default"
    assert raw.response("standard_tier")["service_tier"] == "default"
    message = raw.row("anthropic", "standard_tier")["result"]["message"]
    assert message["usage"]["service_tier"] == "standard"
    usage = raw.row("mistral", "standard_tier")["response"]["body"]["usage"]
    assert usage["service_tier"] == "standard"


def test_an_answer_may_be_edited_at_will(raw: Raw) -> None:
    edit = {"usage": {"audio_seconds": 7}, "model": "another", "id": None}
    for provider in PROVIDERS:
        line = raw.row(provider, "edited", edit=edit)
        told = line["result"]["message"] if "result" in line else line["response"]["body"]
        assert told["usage"]["audio_seconds"] == 7
        assert len(told["usage"]) > 3
        assert (told["model"], "id" in told) == ("another", False)
