from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.model import FailureKind
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.overrides import Override
from batch_pipeline.providers.mistral.decode import decode_sql as mistral_decode_sql
from batch_pipeline.providers.mistral.record import OCR
from batch_pipeline.stages.results import bounded_tables
from batch_pipeline.stages.results import land as results
from batch_pipeline.stages.results.validate import Judge
from batch_pipeline.stages.schemas import REPEATING, RESULTS
from batch_pipeline_tests.stages.result_lines import (
    ON,
    SCHEMA,
    Returned,
    answer,
    folder,
    ids,
    line,
    not_run,
)

GOOD = '{"label": "ham", "count": 1, "score": null}'
BATCH_COST = Decimal("0.000005600")  # 60 x 0.025 + 40 x 0.0025 + 20 x 0.2 per million
LIVE_COST = Decimal("0.000011200")


@pytest.fixture
def back(tmp_path: Path) -> Returned:
    return Returned(tmp_path, schema=SCHEMA)


def test_results_are_one_row_per_request_in_the_order_of_the_request_table(back: Returned) -> None:
    names = ["row-3", "row-1", "row-2"]
    back.ask(names, rejected={"row-1": "too long"})
    back.decode(["row-2", "row-3"], [answer("row-2", GOOD), answer("row-3", GOOD)])
    landed = back.land()
    rows = back.landed()
    assert [row["custom_id"] for row in rows] == names
    assert [row["id"] for row in rows] == [3, 1, 2]
    assert (landed.requests, landed.succeeded, landed.failed) == (3, 2, 1)
    assert landed.by_kind == {"rejected": 1}
    rejected = rows[1]
    assert (rejected["failure"], rejected["error_message"]) == ("rejected", "too long")
    assert (rejected["provider"], rejected["cost_usd"], rejected["price_source"]) == (None,) * 3


def test_results_have_their_columns_in_order_and_say_their_version(back: Returned) -> None:
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", GOOD)])
    back.land()
    schema = pq.read_schema(back.results)
    assert schema.names == ["id", *(one.name for one in RESULTS if one.name != "embedding")]
    assert schema.metadata[b"batch_pipeline.results"] == b"3"
    assert schema.field("id").type == pa.int32()
    assert schema.field("cost_usd").type == pa.decimal128(18, 9)
    fields = {field.name: field.type for field in schema.field("output").type}
    assert fields == {"label": pa.string(), "count": pa.int64(), "score": pa.float64()}


def test_what_ocr_says_of_a_document_lands_typed_by_the_schema_beside_its_text(
    tmp_path: Path,
) -> None:
    total = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}
    back = Returned(tmp_path, total, OCR, codec=mistral_decode_sql)
    back.ask(ids(2))
    back.decode(ids(2), [scanned("row-0", '{"total": 12.5}'), scanned("row-1", '{"sum": 1}')])
    back.land()
    good, invalid = back.landed()
    assert (good["output"], good["text"]) == ({"total": 12.5}, "# Bill")
    assert json.loads(good["annotations"])["document"] == '{"total": 12.5}'
    assert (invalid["failure"], invalid["text"]) == ("invalid", "# Bill")
    assert invalid["annotations"] is not None


def scanned(custom_id: str, annotation: str) -> bytes:
    pages = [{"index": 0, "markdown": "# Bill", "images": []}]
    return line(custom_id, {"model": "m", "pages": pages, "document_annotation": annotation})


def test_an_answer_lands_typed(back: Returned) -> None:
    back.ask(ids(2))
    back.decode(ids(2), [answer("row-0", GOOD), answer("row-1", "{}")])
    back.land()
    good, invalid = back.landed()
    assert good["output"] == {"label": "ham", "count": 1, "score": None}
    assert (invalid["failure"], invalid["output"], invalid["text"]) == ("invalid", None, "{}")


def as_before(path: Path, schema: dict[str, Any]) -> None:
    """Write the outcomes again as versions before did: every `output`, by the validator alone."""
    table, verdict = pq.read_table(path), Judge(schema).verdict
    said = [
        msgspec.json.encode(verdict(row["text"])[0]).decode()
        if row["status"] == "succeeded" and row["text"]
        else None
        for row in table.to_pylist()
    ]
    place = table.schema.get_field_index("output")
    table = table.set_column(place, table.schema.field(place), pa.array(said, pa.string()))
    table = table.replace_schema_metadata(None)
    rows = pq.read_metadata(path).row_group(0).num_rows
    groups = (table.slice(start, rows) for start in range(0, table.num_rows, rows))
    bounded_tables.write_groups(path, table.schema, groups, repeating=REPEATING)


ANSWERS = [
    *('{"label":"ham","count":1}', '{"label":"spam","count":2,"score":null}', GOOD, "{}"),
    *('{"count":1,"label":"ham"}', '{"label":"ham","count":1,"count":2}', " null", "null", "{"),
    *('{"label":"ham","count":1.0,"score":1e2}', '{"label":"ham","count":1,"score":-0.0}'),
]


@pytest.mark.parametrize(
    "schema",
    [SCHEMA, {"anyOf": [SCHEMA, {"type": "null"}]}, {}, {**SCHEMA, "minProperties": 2}],
)
def test_results_are_the_same_bytes_from_outcomes_that_say_every_output(
    tmp_path: Path, schema: dict[str, Any]
) -> None:
    back = Returned(tmp_path, schema=schema)
    names = ids(len(ANSWERS) + 3)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    lines = [answer(name, text) for name, text in zip(names, ANSWERS, strict=False)]
    lines.append(answer(names[-3], "", finish="tool_calls", tool_calls=[call]))
    back.ask([*names, "row-99"], rejected={"row-99": "too long"})
    back.decode(names, lines, [not_run(names[-2], "batch_expired")])
    back.land()
    outputs = [row["output"] for row in back.rows()]
    written = back.results.read_bytes()
    as_before(back.outcomes[0], schema)
    assert [row["output"] for row in back.rows()] != outputs
    back.land()
    assert back.results.read_bytes() == written


def test_long_answers_land_in_the_same_blocks_from_outcomes_that_say_every_output(
    back: Returned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_tables, "_BYTES", 4000)
    names = ids(100)
    back.ask(names)
    lines = [answer(name, '{"label":"ham","count":1}') for name in names[:-1]]
    back.decode(names, lines, [not_run(names[-1], "batch_expired")])
    back.land()
    written = back.results.read_bytes()
    assert 1 < pq.read_metadata(back.results).num_row_groups < 50
    as_before(back.outcomes[0], SCHEMA)
    back.land()
    assert back.results.read_bytes() == written


def test_answers_that_nobody_checked_have_no_output(back: Returned) -> None:
    back.ask(ids(1))
    replace(back, schema=None).decode(ids(1), [answer("row-0", "no JSON")])
    assert back.land().succeeded == 1
    (row,) = back.landed()
    assert (row["text"], row["output"]) == ("no JSON", None)


@pytest.mark.parametrize(
    ("schema", "said", "landed"),
    [
        ({"type": "string"}, '"a\\u0000b"', "a\0b"),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2.0, 3e2]", [1, 2, 300]),
        ({"type": "object"}, '{"free": [1, "x"]}', '{"free":[1,"x"]}'),
        ({"type": "integer"}, str(2**63 - 1), 2**63 - 1),
        ({"type": "number"}, str(10**30), 1e30),
        (
            {"type": "object", "properties": {"any": {}, "Sö \"x'": {"type": "string"}}},
            '{"any": "5", "Sö \\"x\'": "y"}',
            {"any": '"5"', "Sö \"x'": "y"},
        ),
    ],
)
def test_any_schema_lands_without_loss(
    tmp_path: Path, schema: dict[str, object], said: str, landed: object
) -> None:
    back = Returned(tmp_path, schema=schema)
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", said)])
    assert back.land().succeeded == 1
    (row,) = back.landed()
    assert (row["output"], row["text"]) == (landed, said)


def test_without_a_schema_there_is_no_output_column(tmp_path: Path) -> None:
    back = Returned(tmp_path)
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", "free text")])
    back.land()
    assert "output" not in pq.read_schema(back.results).names
    assert back.landed()[0]["text"] == "free text"


def test_embeddings_land_as_vectors(tmp_path: Path) -> None:
    back = Returned(tmp_path, endpoint="/v1/embeddings")
    back.ask(ids(1))
    model = "text-embedding-3-small"
    body = {"model": model, "data": [{"embedding": [1, 2]}], "usage": {"prompt_tokens": 100}}
    back.decode(ids(1), [line("row-0", body)])
    back.land(embeddings=True)
    (row,) = back.landed()
    assert row["embedding"] == [1.0, 2.0]
    assert (row["cost_usd"], row["price_source"]) == (Decimal("0.000001"), "assumed_half")


def vector(custom_id: str, *numbers: float) -> bytes:
    body = {"model": "e", "data": [{"embedding": numbers}], "usage": {"prompt_tokens": 1}}
    return line(custom_id, body)


def test_vectors_of_one_length_land_as_lists_of_that_size(tmp_path: Path) -> None:
    back = Returned(tmp_path, endpoint="/v1/embeddings")
    back.ask(ids(4), rejected={"row-3": "too long"})
    back.decode(ids(3), [vector("row-0", 1, 2), vector("row-2", 3, 4)])
    back.decode(["row-7"], [vector("row-7", 1, 2, 3)], partition="another")
    landed = back.land(embeddings=True)
    assert (landed.succeeded, landed.failed) == (2, 2)
    assert pq.read_schema(back.results).field("embedding").type == pa.list_(pa.float32(), 2)
    assert [row["embedding"] for row in back.landed()] == [[1, 2], None, [3, 4], None]


@pytest.mark.parametrize("block", [1, 1 << 14])
def test_vectors_of_several_lengths_land_as_plain_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(results, "BLOCK_ROWS", block)
    back = Returned(tmp_path, endpoint="/v1/embeddings")
    back.ask(ids(2))
    back.decode(ids(2), [vector("row-0", 1, 2), vector("row-1", 3)])
    assert back.land(embeddings=True).succeeded == 2
    assert pq.read_schema(back.results).field("embedding").type == pa.list_(pa.float32())
    assert [row["embedding"] for row in back.landed()] == [[1, 2], [3]]


def test_without_any_vector_the_column_is_a_plain_list_of_nulls(tmp_path: Path) -> None:
    back = Returned(tmp_path, endpoint="/v1/embeddings")
    back.ask(ids(1))
    back.decode(ids(1), [not_run("row-0", "x")])
    back.land(embeddings=True)
    assert back.landed()[0]["embedding"] is None
    assert pq.read_schema(back.results).field("embedding").type == pa.list_(pa.float32())


def test_tool_calls_land_beside_the_text(back: Returned) -> None:
    back.ask(ids(1))
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    back.decode(ids(1), [answer("row-0", None, finish="tool_calls", tool_calls=[call])])
    assert back.land().succeeded == 1
    (row,) = back.landed()
    assert json.loads(row["tool_calls"])[0]["name"] == "f"
    assert (row["text"], row["output"]) == (None, None)


def test_a_success_beats_a_later_failure_and_else_the_latest_attempt_counts(back: Returned) -> None:
    back.ask(ids(3))
    back.decode(ids(3), [answer("row-0", GOOD)], [not_run("row-1", "batch_expired")], attempt=1)
    back.decode(ids(3), [], [not_run(name, "x") for name in ids(3)], attempt=2)
    back.decode(["row-2"], [answer("row-2", GOOD)], attempt=3)
    landed = back.land()
    assert [(row["failure"], row["attempt"]) for row in back.landed()] == [
        (None, 1),
        ("errored", 2),
        (None, 3),
    ]
    assert landed.retryable == 1


def test_the_latest_of_several_successes_counts(back: Returned) -> None:
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", GOOD)], attempt=2)
    back.decode(ids(1), [answer("row-0", GOOD.replace("1", "2"))], attempt=3)
    back.outcomes.reverse()
    back.land()
    assert back.landed()[0]["output"]["count"] == 2


def test_an_outcome_of_another_version_of_the_row_is_no_answer(back: Returned) -> None:
    back.ask(ids(1), version=2)
    back.decode(ids(1), [answer("row-0", GOOD)], version=1)
    landed = back.land()
    assert landed.unanswered == 1
    assert not back.results.exists()


def test_a_partition_that_waits_says_how_far_it_is(back: Returned) -> None:
    back.ask(ids(5), rejected={"row-4": "too long"})
    back.decode(ids(3), [answer("row-0", GOOD)], [not_run("row-1", "batch_expired")])
    landed = back.land()
    assert (landed.requests, landed.unanswered, landed.succeeded, landed.failed) == (5, 1, 1, 3)
    assert landed.by_kind == {"expired": 1, "missing": 1, "rejected": 1}
    assert landed.retryable == 2
    assert not back.results.exists()


def test_nothing_is_answered_while_there_are_no_outcomes(back: Returned) -> None:
    back.ask(ids(2))
    assert back.land().unanswered == 2


def test_folders_named_like_columns_add_none(tmp_path: Path) -> None:
    (tmp_path / "id=7" / "partition=x").mkdir(parents=True)
    back = Returned(tmp_path / "id=7" / "partition=x")
    back.ask(ids(2))
    back.decode(ids(2), [answer("row-0"), answer("row-1")])
    with pq.ParquetFile(back.outcomes[0]) as file:
        assert file.read()["partition"].to_pylist() == ["all", "all"]
    assert back.land().succeeded == 2
    with pq.ParquetFile(back.results) as file:
        assert file.read()["id"].to_pylist() == [0, 1]


@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_an_empty_partition_lands_as_an_empty_table_of_full_type(
    tmp_path: Path, schema: dict[str, object] | None
) -> None:
    back = Returned(tmp_path, schema=schema)
    back.ask([])
    landed = back.land()
    assert (landed.requests, landed.unanswered) == (0, 0)
    assert pq.read_table(back.results).num_rows == 0
    assert ("output" in pq.read_schema(back.results).names) == (schema is not None)


def test_a_partition_of_nothing_but_rejected_rows_lands(back: Returned) -> None:
    back.ask(ids(2), rejected=dict.fromkeys(ids(2), "too long"))
    landed = back.land()
    assert (landed.failed, landed.retryable) == (2, 0)


def test_a_rows_cost_is_exact(back: Returned) -> None:
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", GOOD)])
    back.land()
    (row,) = back.landed()
    assert (row["cost_usd"], row["live_cost_usd"]) == (BATCH_COST, LIVE_COST)
    assert row["price_source"] == "batch_price"


def test_unknown_costs_are_null_and_counted_and_unrun_rows_cost_nothing(back: Returned) -> None:
    back.ask(ids(4))
    nameless = json.loads(answer("row-1", GOOD))
    nameless["response"]["body"]["model"] = "model-of-tomorrow"
    back.decode(
        ids(4),
        [answer("row-0", GOOD, usage=None), json.dumps(nameless).encode()],
        [not_run("row-2", "batch_expired")],
    )
    back.land()
    rows = back.landed()
    assert [row["cost_usd"] for row in rows] == [None] * 4
    assert [row["price_source"] for row in rows] == ["batch_price", "unknown", None, "batch_price"]
    assert [row["cost_unknown"] is not None for row in rows] == [True, True, False, True]


def test_tokens_that_contradict_each_other_have_no_cost(back: Returned) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    usage_of_liars = {**usage, "prompt_tokens_details": {"cached_tokens": 6}}
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", GOOD, usage=usage_of_liars)])
    back.land()
    (row,) = back.landed()
    assert (row["cost_usd"], row["cost_unknown"]) == (
        None,
        "the counts of tokens contradict each other",
    )


def test_a_cost_beyond_all_measure_is_unknown_and_no_crash(back: Returned) -> None:
    dear = Override(input=Decimal(10**6), as_of=ON.date(), source="test")
    back.ask(ids(1))
    usage = {"prompt_tokens": 10**11, "completion_tokens": 1}
    back.decode(ids(1), [answer("row-0", GOOD, usage=usage)])
    back.land(priced=Prices(ON, {"gpt-5-nano": dear}))
    (row,) = back.landed()
    assert (row["cost_usd"], row["price_source"]) == (None, "override")
    assert row["cost_unknown"] is not None


def test_long_prompts_are_priced_by_their_tier(back: Returned) -> None:
    row = json.loads(answer("row-0", GOOD))
    row["response"]["body"]["model"] = "gpt-5.4"
    row["response"]["body"]["usage"] = {"prompt_tokens": 272_000, "completion_tokens": 0}
    longer = json.loads(json.dumps(row))
    longer["custom_id"] = "row-1"
    longer["response"]["body"]["usage"]["prompt_tokens"] += 1
    back.ask(ids(2))
    back.decode(ids(2), [json.dumps(row).encode(), json.dumps(longer).encode()])
    back.land()
    assert [row["cost_usd"] for row in back.landed()] == [Decimal("0.34"), Decimal("0.6800025")]


def test_which_failures_are_retryable_is_the_callers_rule(back: Returned) -> None:
    back.ask(ids(2))
    back.decode(ids(2), [answer("row-0", "{}")], [not_run("row-1", "batch_expired")], attempt=2)
    assert back.land(retried_kinds=[FailureKind.INVALID]).retryable == 1
    assert back.land(retried_kinds=[FailureKind.EXPIRED], max_attempts=2).retryable == 0
    assert back.land(retried_kinds=[]).retryable == 0


def test_many_blocks_and_scattered_retries_keep_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "BLOCK_ROWS", 7)
    monkeypatch.setattr(results, "_PLACED_AT_ONCE", 30)
    back = Returned(tmp_path)
    names = ids(100)
    back.ask(names, rejected={"row-50": "too long"})
    sent = [name for name in names if name != "row-50"]
    back.decode(sent[:60], [answer(name, f"1 {name}") for name in sent[:60:2]])
    back.decode(sent[60:], [answer(name, f"1 {name}") for name in sent[60:]])
    back.decode(sent[1:60:2], [answer(name, f"2 {name}") for name in sent[1:60:2]], attempt=2)
    assert back.land().succeeded == 99
    rows = back.landed()
    assert [row["custom_id"] for row in rows] == names
    assert all(row["text"] is None or row["text"].endswith(row["custom_id"]) for row in rows)


def test_every_block_has_the_costs_of_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "BLOCK_ROWS", 7)
    back = Returned(tmp_path)
    names = ids(20)
    back.ask(names)
    usages = [{"prompt_tokens": 1000 * n, "completion_tokens": n} for n in range(20)]
    back.decode(names, [answer(name, usage=usages[n]) for n, name in enumerate(names)])
    back.land()
    each = Decimal("0.000025") + Decimal("0.0000002")  # a row's 1000 and 1 tokens
    assert [row["cost_usd"] for row in back.landed()] == [each * n for n in range(20)]


@settings(max_examples=10, deadline=None)
@given(
    attempts=st.lists(st.lists(st.sampled_from(ids(6)), unique=True, min_size=1), max_size=4),
    good=st.sets(st.sampled_from(ids(6))),
    rejected=st.sets(st.sampled_from(ids(6))),
)
def test_landing_conserves_requests_and_gives_equal_bytes_for_equal_outcomes(
    attempts: list[list[str]], good: set[str], rejected: set[str]
) -> None:
    with folder() as path:
        back = Returned(path, schema=SCHEMA)
        back.ask(ids(6), rejected=dict.fromkeys(rejected, "too long"))
        for number, names in enumerate(attempts, start=1):
            back.decode(names, [answer(n, GOOD) for n in names if n in good], attempt=number)
        landed = back.land()
        sent = {name for names in attempts for name in names} | rejected
        assert landed.unanswered == len(set(ids(6)) - sent)
        assert landed.succeeded + landed.failed + landed.unanswered == 6
        if landed.unanswered:
            assert not back.results.exists()
            return
        assert [row["custom_id"] for row in back.landed()] == ids(6)
        written = back.results.read_bytes()
        back.land()
        assert back.results.read_bytes() == written
