"""Whose fault a problem is: the table in Python, and the same table in the decoding query."""

from __future__ import annotations

import duckdb
import pytest

from batch_pipeline.model import Fault, Remedy
from batch_pipeline.providers.anthropic import facts as anthropic_facts
from batch_pipeline.providers.faults import Faults
from batch_pipeline.providers.mistral import facts as mistral_facts
from batch_pipeline.providers.openai import facts as openai_facts

TABLES = {
    "openai": openai_facts.FAULTS,
    "anthropic": anthropic_facts.FAULTS,
    "mistral": mistral_facts.FAULTS,
}
CASES = [
    ("insufficient_quota", "You exceeded your current quota.", 429, Fault.ACCOUNT),
    ("billing_hard_limit_reached", "Billing hard limit has been reached", 400, Fault.ACCOUNT),
    ("invalid_request_error", "Your credit balance is too low to access it.", None, Fault.ACCOUNT),
    (
        "invalid_request_error",
        "You have reached your specified API usage limits.",
        400,
        Fault.ACCOUNT,
    ),
    ("invalid_request_error", "Incorrect API key provided: <key>", 401, Fault.ACCOUNT),
    (None, "The model `gpt-9` does not exist or you do not have access to it.", 404, Fault.ACCOUNT),
    (None, "Payment required", 402, Fault.ACCOUNT),
    (None, "Invalid model: magic", 400, Fault.ACCOUNT),
    (None, "Forbidden", 403, Fault.ACCOUNT),
    (None, "File file-1 not found", 404, Fault.REQUEST),
    (None, "The prompt was flagged for violence", 403, Fault.REQUEST),
    (None, "Temperature must be below 2", 400, Fault.REQUEST),
    ("invalid_request_error", "messages: too short", None, Fault.REQUEST),
    ("rate_limit_exceeded", "Too many", 429, Fault.PROVIDER),
    (None, "Conflict", 409, Fault.PROVIDER),
    (None, "", 0, Fault.PROVIDER),
    (None, "Oops", 503, Fault.PROVIDER),
    (None, "The server had an error", None, Fault.PROVIDER),
    ("something_new", "Nobody knows", None, Fault.UNKNOWN),
    (None, "", 302, Fault.UNKNOWN),
]


@pytest.mark.parametrize(("code", "words", "status", "fault"), CASES)
def test_codes_words_and_status_say_whose_fault_it_is(
    code: str | None, words: str, status: int | None, fault: Fault
) -> None:
    assert openai_facts.FAULTS.of(code, words, status=status) is fault


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_query_judges_as_the_table_does(table: Faults) -> None:
    codes = sorted(table.account | table.provider | table.request | table.usual)
    cases = [*((c, w, s) for c, w, s, _ in CASES), *((code, "because", None) for code in codes)]
    judged = table.sql(code="code", kind="NULL", words="words", status="status")
    values = ", ".join(["(?, ?, ?::INTEGER)"] * len(cases))
    query = f"SELECT {judged} FROM (VALUES {values}) AS cases(code, words, status)"  # noqa: S608 - ours
    found = duckdb.execute(query, [value for case in cases for value in case]).fetchall()
    assert [one for (one,) in found] == [table.of(c, w, status=s).value for c, w, s in cases]


@pytest.mark.parametrize(
    ("code", "message", "param", "fault", "remedy"),
    [
        (
            "token_limit_exceeded",
            "Enqueued token limit reached.",
            None,
            Fault.PROVIDER,
            Remedy.ROOM,
        ),
        (
            "new",
            "Enqueued request limit reached for m; try again.",
            None,
            Fault.PROVIDER,
            Remedy.ROOM,
        ),
        ("invalid_request", "No such file.", "file_id", Fault.PROVIDER, Remedy.UPLOAD),
        ("new", "Cannot find file file-1.", None, Fault.PROVIDER, Remedy.UPLOAD),
        ("billing_not_active", "No.", None, Fault.ACCOUNT, Remedy.CREDIT),
        ("model_not_found", "No.", "body.model", Fault.ACCOUNT, None),
        ("invalid_request", "No model.", "body.model", Fault.REQUEST, None),
        ("too_many_requests", "51,000 lines.", None, Fault.REQUEST, None),
        ("empty_file", "No lines.", None, Fault.REQUEST, None),
        ("invalid_request", "No.", None, Fault.UNKNOWN, None),
        ("something_new", "No.", None, Fault.UNKNOWN, None),
        (None, "(no message)", None, Fault.UNKNOWN, None),
        ("server_error", "Oops.", None, Fault.PROVIDER, None),
    ],
)
def test_the_problem_of_a_whole_batch_says_whose_fault_it_is_and_what_mends_it(
    code: str | None, message: str, param: str | None, fault: Fault, remedy: Remedy | None
) -> None:
    found = openai_facts.sorted_problem(code=code, message=message, line=None, param=param)
    assert (found.code, found.message, found.fault, found.remedy) == (code, message, fault, remedy)


@pytest.mark.parametrize("code", ["model_not_found", "invalid_url", "streaming_unsupported"])
def test_what_the_job_decides_for_all_rows_is_about_all_of_them(code: str) -> None:
    one = openai_facts.sorted_problem(code=code, message="No.", line=1, param=None)
    assert one.is_about_all


def test_a_line_that_is_wrong_by_itself_is_about_that_line() -> None:
    for code in ("invalid_json_line", "something_new"):
        assert not openai_facts.sorted_problem(
            code=code, message="No.", line=7, param=None
        ).is_about_all
