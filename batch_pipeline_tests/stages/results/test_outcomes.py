from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.model import Fault, Problem, RemoteStatus
from batch_pipeline.stages.results import outcomes
from batch_pipeline.stages.results.oddities import Oddities, oddities_of
from batch_pipeline.stages.schemas import OUTCOMES
from batch_pipeline_tests.stages.result_lines import (
    CHAT,
    CON,
    ON,
    SCHEMA,
    Returned,
    answer,
    folder,
    hash_of,
    ids,
    line,
    make_observation,
    make_shard,
    not_run,
)

COMPLETED = RemoteStatus.COMPLETED


@pytest.fixture
def back(tmp_path: Path) -> Returned:
    return Returned(tmp_path)


def kinds(back: Returned) -> dict[str, str | None]:
    return {row["custom_id"]: row["failure"] for row in back.rows()}


def test_every_request_has_its_outcome_in_the_shards_own_order(back: Returned) -> None:
    decoded = back.decode(
        ids(3),
        [answer("row-2", "two"), answer("row-0", "zero")],
        [not_run("row-1", "batch_expired")],
    )
    assert [(row["custom_id"], row["text"]) for row in back.rows()] == [
        ("row-0", "zero"),
        ("row-1", None),
        ("row-2", "two"),
    ]
    assert (decoded.requests, decoded.succeeded, decoded.failed) == (3, 2, 1)
    assert decoded.by_failure == {"expired": 1}


def test_an_outcome_says_where_it_comes_from(back: Returned) -> None:
    back.decode(ids(2), [answer("row-0")], observation=make_observation(), attempt=2)
    answered, absent = back.rows()
    assert answered["model"] == "gpt-5-nano-2025-08-07"
    assert absent["model"] == "gpt-5-nano"
    for row in (answered, absent):
        assert row["content_hash"] == hash_of(row["custom_id"])
        assert (row["shard"], row["attempt"], row["provider"]) == ("shard1", 2, "openai")
        assert (row["batch_id"], row["run_id"], row["ended_at"]) == ("batch_shard1", "run1", ON)
    assert pq.read_schema(back.outcomes[0]).equals(OUTCOMES)


def test_the_first_line_of_an_id_counts_and_later_ones_are_counted(back: Returned) -> None:
    decoded = back.decode(
        ids(1), [answer("row-0", "first"), answer("row-0", "second")], [not_run("row-0", "x")]
    )
    assert (back.rows()[0]["text"], decoded.odd.duplicate_lines) == ("first", 2)


def test_a_readable_line_is_preferred_to_an_unreadable_one_of_the_same_id(back: Returned) -> None:
    decoded = back.decode(ids(1), [answer("row-0")[:-9], answer("row-0", "whole")])
    assert (back.rows()[0]["text"], back.rows()[0]["raw"]) == ("whole", None)
    assert (decoded.odd.unreadable_lines, decoded.odd.duplicate_lines) == (1, 1)


def test_lines_of_strangers_are_kept_byte_for_byte_and_counted(back: Returned) -> None:
    stranger, garbage = answer("someone-else"), b'{"oops \xff'
    decoded = back.decode(ids(1), [stranger, answer("row-0"), garbage])
    quarantine = back.path / "shard1.unknown.jsonl"
    assert quarantine.read_bytes() == stranger + b"\n" + garbage + b"\n"
    assert (decoded.odd.unknown_lines, decoded.odd.unreadable_lines, decoded.succeeded) == (2, 1, 1)


def test_a_quarantine_of_an_earlier_run_goes_when_there_are_no_strangers(back: Returned) -> None:
    (back.path / "shard1.unknown.jsonl").write_bytes(b"old\n")
    back.decode(ids(1), [answer("row-0")])
    assert not (back.path / "shard1.unknown.jsonl").exists()


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-9], lambda raw: raw.replace(b"hello", b"\xff")]
)
def test_an_unreadable_line_is_given_to_the_id_that_shows_through(
    back: Returned, spoil: Callable[[bytes], bytes]
) -> None:
    spoiled = spoil(answer("row-0"))
    decoded = back.decode(ids(2), [spoiled, answer("row-1")])
    row = back.rows()[0]
    assert (row["failure"], row["raw"]) == ("unreadable", spoiled.decode("utf-8", "replace"))
    assert "cannot be read" in row["error_message"]
    assert (decoded.odd.unreadable_lines, decoded.odd.unknown_lines) == (1, 0)


def test_an_empty_answer_keeps_its_line_and_is_no_duplicate_of_itself(back: Returned) -> None:
    nothing = answer("row-0", None)
    decoded = back.decode(ids(1), [nothing])
    [row] = back.rows()
    assert (row["failure"], row["raw"]) == ("empty", nothing.decode())
    assert (row["error_code"], row["error_message"][-8:]) == ("reasoning", "See raw.")
    assert (
        decoded.odd.unreadable_lines,
        decoded.odd.duplicate_lines,
        decoded.odd.rows_without_usage,
    ) == (0, 0, 0)


def test_a_known_id_with_an_answer_of_unknown_shape_is_unreadable(back: Returned) -> None:
    odd = line("row-0", {"choices": "none"})
    back.decode(ids(1), [odd])
    assert (back.rows()[0]["failure"], back.rows()[0]["raw"]) == ("unreadable", odd.decode())


def test_blank_lines_are_nothing(back: Returned) -> None:
    blank = [b"", b"   ", b"\r", b" \t   \r"]
    decoded = back.decode(ids(1), [*blank, answer("row-0"), *blank])
    assert (decoded.succeeded, decoded.odd.unreadable_lines, decoded.odd.unknown_lines) == (1, 0, 0)


def test_line_separators_inside_an_answer_do_not_cut_it(back: Returned) -> None:
    text = "a\u2028b\u2029c\u0085d"
    raw = json.dumps({"x": text}, ensure_ascii=False).encode()
    good = answer("row-0", "TEXT").replace(b'"TEXT"', raw[6:-1])
    back.decode(ids(1), [good])
    assert back.rows()[0]["text"] == text


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (RemoteStatus.COMPLETED, "missing", None),
        (RemoteStatus.EXPIRED, "expired", "batch_expired"),
        (RemoteStatus.CANCELLED, "cancelled", "batch_cancelled"),
        (RemoteStatus.FAILED, "withheld", "batch_failed"),
    ],
)
def test_an_absent_request_is_explained_by_the_batch(
    back: Returned, status: RemoteStatus, kind: str, code: str | None
) -> None:
    back.decode(ids(2), [answer("row-1")], observation=make_observation(status))
    absent, answered = back.rows()
    assert (absent["failure"], absent["error_code"]) == (kind, code)
    assert absent["error_message"]
    assert answered["status"] == "succeeded"


def test_without_any_file_or_look_every_request_is_missing(back: Returned) -> None:
    assert back.decode(ids(2)).by_failure == {"missing": 2}


def _of_line(line: int, code: str, message: str) -> Problem:
    return Problem(code, message, line=line, fault=Fault.REQUEST)


def test_the_lines_a_refused_batch_names_are_rejected_and_the_others_go_free(
    back: Returned,
) -> None:
    problems = (
        _of_line(2, "mismatched_model", "other model"),
        _of_line(2, "invalid_json_line", "not JSON"),
        _of_line(3, "invalid_json_line", "not JSON"),
    )
    back.decode(ids(3), observation=make_observation(RemoteStatus.FAILED, *problems))
    assert [(r["failure"], r["error_code"], r["error_message"]) for r in back.rows()[1:]] == [
        ("rejected", "mismatched_model", "other model"),
        ("rejected", "invalid_json_line", "not JSON"),
    ]
    free = back.rows()[0]
    assert (free["failure"], free["error_code"]) == ("cancelled", "batch_failed")
    assert "because of line 2, 3;" in free["error_message"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.REQUEST, "rejected"),
        (Fault.ACCOUNT, "withheld"),
        (Fault.PROVIDER, "cancelled"),
        (Fault.UNKNOWN, "withheld"),
    ],
)
@pytest.mark.parametrize("line", [None, 1])
def test_whose_fault_the_problem_of_a_whole_batch_is_decides_what_every_row_becomes(
    back: Returned, fault: Fault, kind: str, line: int | None
) -> None:
    problem = Problem("new", "m", line=line, fault=fault, every_line=True)
    back.decode(ids(2), observation=make_observation(RemoteStatus.FAILED, problem))
    said = {(row["failure"], row["error_code"], row["error_message"]) for row in back.rows()}
    assert said == {(kind, "new", "m")}


def test_requests_are_blamed_only_when_every_problem_is_theirs(back: Returned) -> None:
    theirs, other = (Problem(f.value, "m", fault=f) for f in (Fault.REQUEST, Fault.PROVIDER))
    back.decode(ids(1), observation=make_observation(RemoteStatus.FAILED, theirs, other))
    assert (back.rows()[0]["failure"], back.rows()[0]["error_code"]) == ("cancelled", "provider")


def test_a_line_counts_more_than_the_blame_of_a_failed_batch(back: Returned) -> None:
    named = Problem("invalid_json_line", "not JSON", line=1)
    back.decode(
        ids(3),
        [answer("row-0", "zero")],
        [not_run("row-2", "batch_expired")],
        observation=make_observation(RemoteStatus.FAILED, named),
    )
    assert kinds(back) == {"row-0": None, "row-1": "cancelled", "row-2": "expired"}
    assert back.rows()[0]["text"] == "zero"


@pytest.mark.parametrize(("file", "kind"), [("file", "cancelled"), ("", "rejected")])
def test_a_failed_batch_that_ran_in_part_says_nothing_against_the_rest(
    back: Returned, file: str, kind: str
) -> None:
    failed = make_observation(RemoteStatus.FAILED, Problem("new", "m", fault=Fault.REQUEST))
    back.decode(ids(2), [answer("row-0")], observation=replace(failed, output_file_id=file))
    assert kinds(back) == {"row-0": None, "row-1": kind}
    assert back.rows()[1]["error_message"] == "m"


def test_problems_of_a_completed_batch_are_of_the_lines_they_name(back: Returned) -> None:
    problems = (_of_line(2, "http_400", "bad"), Problem(None, "2 rows failed"))
    back.decode(ids(3), [answer("row-0")], observation=make_observation(COMPLETED, *problems))
    assert kinds(back) == {"row-0": None, "row-1": "rejected", "row-2": "missing"}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


@pytest.mark.parametrize("text", [None, ""])
def test_an_answer_of_tool_calls_alone_is_not_judged(tmp_path: Path, text: str | None) -> None:
    back = Returned(tmp_path, schema=SCHEMA)
    good = '{"label": "ham", "count": 1}'
    decoded = back.decode(
        ids(3),
        [
            answer("row-0", text, finish="tool_calls", tool_calls=[CALL]),
            answer("row-1", "well, I call", finish="tool_calls", tool_calls=[CALL]),
            answer("row-2", good),
        ],
    )
    called, both, said = back.rows()
    assert (called["status"], called["output"]) == ("succeeded", None)
    assert json.loads(called["tool_calls"]) == [{"id": "c", "name": "f", "arguments": '{"a":1}'}]
    assert (both["failure"], both["output"]) == ("invalid", None)
    assert (said["output"], said["tool_calls"]) == ('{"label":"ham","count":1}', None)
    assert decoded.by_failure == {"invalid": 1}


def test_an_answer_is_checked_against_the_schema_and_keeps_its_text(tmp_path: Path) -> None:
    back = Returned(tmp_path, schema=SCHEMA)
    good, bad = '{"label": "ham", "count": 1}', '{"label": "ham"}'
    decoded = back.decode(
        ids(4),
        [answer("row-0", good), answer("row-1", bad), answer("row-2", "{", finish="length")],
    )
    valid, invalid, truncated, missing = back.rows()
    assert (valid["status"], valid["output"]) == ("succeeded", '{"label":"ham","count":1}')
    assert (invalid["status"], invalid["failure"]) == ("failed", "invalid")
    assert (invalid["text"], invalid["output"], invalid["input_tokens"]) == (bad, None, 100)
    assert invalid["error_message"] == '$: "count" is a required property'
    assert (truncated["failure"], missing["failure"]) == ("truncated", "missing")
    assert decoded.by_failure == {"invalid": 1, "missing": 1, "truncated": 1}


def test_a_checked_document_is_written_compactly_with_one_value_per_key(tmp_path: Path) -> None:
    back = Returned(tmp_path, schema=SCHEMA)
    back.decode(ids(1), [answer("row-0", '{"label": "spam",\n "label": "ham", "count": 1}')])
    assert back.rows()[0]["output"] == '{"label":"ham","count":1}'


def test_a_document_that_is_written_compactly_already_is_not_kept_twice(tmp_path: Path) -> None:
    back = Returned(tmp_path, schema=SCHEMA)
    good = '{"label":"ham","count":1}'
    back.decode(ids(2), [answer("row-0", good), answer("row-1", f" {good}")])
    assert [row["output"] for row in back.rows()] == [None, good]


def test_null_is_a_document_like_any_other(tmp_path: Path) -> None:
    back = Returned(tmp_path, schema={"type": ["string", "null"]})
    back.decode(ids(2), [answer("row-0", " null"), answer("row-1", ' "a\\nb"')])
    assert [row["output"] for row in back.rows()] == ["null", '"a\\nb"']


def test_answered_rows_without_a_token_count_are_counted(back: Returned) -> None:
    decoded = back.decode(
        ids(3), [answer("row-0", usage=None), answer("row-1")], [not_run("row-2", "batch_expired")]
    )
    assert decoded.odd.rows_without_usage == 1


def test_an_embedding_comes_back_as_a_vector(tmp_path: Path) -> None:
    back = Returned(tmp_path, endpoint="/v1/embeddings")
    body = {"model": "e", "data": [{"embedding": [0.5, 2]}], "usage": {"prompt_tokens": 2}}
    back.decode(ids(1), [line("row-0", body)])
    assert back.rows()[0]["embedding"] == [0.5, 2.0]


def test_many_lines_are_written_in_small_row_groups(back: Returned) -> None:
    names = ids(10_000)
    back.decode(names, [answer(name) for name in reversed(names)])
    groups = pq.ParquetFile(back.outcomes[0]).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [8192, 1808]
    assert list(kinds(back)) == names


def test_more_unreadable_lines_than_are_looked_at_at_once(back: Returned) -> None:
    names = ids(2_100)
    decoded = back.decode(names, [answer(name)[:-1] for name in names])
    assert decoded.by_failure == {"unreadable": 2_100}


def test_a_stage_leaves_nothing_on_the_connection(back: Returned) -> None:
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0")])
    back.land()
    assert CON.execute("SHOW TABLES").fetchall() == []


def test_a_failed_decode_leaves_the_old_outcomes_and_no_scraps(back: Returned) -> None:
    back.decode(ids(1), [answer("row-0")])
    before = back.outcomes[0].read_bytes()
    with pytest.raises(duckdb.Error, match="nonsense"):
        outcomes.decode_shard(
            CON,
            shard=make_shard(),
            requests=back.path / "shard1.requests.parquet",
            files=[(back.path / "shard1.output.jsonl", "output")],
            decode_sql="SELECT nonsense FROM lines",
            schema=None,
            observation=None,
            into=back.outcomes[0],
        )
    assert back.outcomes[0].read_bytes() == before
    assert not list(back.path.glob(".*"))


NAMES = ids(5)
SPOILED = st.sampled_from(
    [b"", b"\xff", b"{}", b"null", b'{"custom_id": 5}', b'"custom_id": "row-1"', b"[" * 50]
)
WHOLE = st.builds(answer, st.sampled_from([*NAMES, "stranger"]), st.text(max_size=5))
CUT = st.builds(lambda raw, at: raw[:at], WHOLE, st.integers(0, 300))
FAILED = st.builds(
    not_run, st.sampled_from(NAMES), st.sampled_from(["batch_expired", "batch_cancelled", "x"])
)
LINES = st.lists(WHOLE | CUT | FAILED | SPOILED, max_size=12)


@settings(max_examples=15, deadline=None)
@given(output=LINES, error=LINES, status=st.sampled_from(RemoteStatus))
def test_whatever_comes_back_every_request_has_exactly_one_outcome(
    output: list[bytes], error: list[bytes], status: RemoteStatus
) -> None:
    with folder() as path:
        back = Returned(path, schema=SCHEMA)
        decoded = back.decode(NAMES, output, error, observation=make_observation(status))
        first = back.outcomes[0].read_bytes()
        rows = back.rows()
        back.outcomes.clear()
        again = back.decode(NAMES, output, error, observation=make_observation(status))
        assert (again, back.outcomes[0].read_bytes()) == (decoded, first)
    assert [row["custom_id"] for row in rows] == NAMES
    assert all((row["status"] == "failed") == (row["failure"] is not None) for row in rows)
    assert decoded.requests == decoded.succeeded + decoded.failed == len(NAMES)
    lines = [raw for raw in (*output, *error) if raw.strip()]
    answered = sum(row["failure"] != "missing" for row in rows)
    if status is RemoteStatus.COMPLETED:
        assert answered + decoded.odd.duplicate_lines + decoded.odd.unknown_lines == len(lines)


@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_never_a_crash(data: bytes) -> None:
    with folder() as path:
        back = Returned(path)
        assert back.decode(NAMES, [data]).requests == len(NAMES)


@pytest.mark.parametrize("endpoint", [CHAT, "/v1/responses", "/v1/embeddings"])
def test_equal_files_give_equal_bytes(tmp_path: Path, endpoint: str) -> None:
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        back = Returned(tmp_path / name, endpoint=endpoint)
        back.decode(ids(300), [answer(i) for i in reversed(ids(299))], [not_run("row-299", "x")])
        digests.add(hashlib.sha256(back.outcomes[0].read_bytes()).hexdigest())
    assert len(digests) == 1


def test_what_is_odd_in_result_files_is_kept_with_the_outcomes_and_lands(back: Returned) -> None:
    back.ask(ids(2))
    none = answer("row-1", usage=None)
    lines = [answer("row-0"), answer("row-0"), answer("stranger"), b"{broken", none]
    decoded = back.decode(ids(2), lines)
    assert decoded.odd == Oddities(1, 2, 1, 1)
    assert oddities_of(back.outcomes) == back.land().odd == decoded.odd
    assert decoded.odd.told() == (
        "1 duplicate lines, 2 unknown lines, 1 unreadable lines, 1 rows without usage"
    )


def test_outcomes_of_ordinary_files_keep_no_counts_and_lost_ones_are_passed_over(
    back: Returned, tmp_path: Path
) -> None:
    back.decode(ids(1), [answer("row-0")])
    assert pq.read_schema(back.outcomes[0]).metadata is None
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    back.decode(ids(1), [answer("row-0"), answer("row-0")])
    lost = [tmp_path / "gone.parquet", tmp_path / "damaged.parquet"]
    assert oddities_of([*back.outcomes, *lost]) == Oddities(duplicate_lines=1)
