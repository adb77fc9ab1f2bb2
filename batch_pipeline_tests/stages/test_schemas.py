from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_pipeline.orchestration.column_schema import column_schema
from batch_pipeline.stages.documented import page
from batch_pipeline.stages.results.land_block import FETCHED
from batch_pipeline.stages.schemas import OUTCOMES, RESULTS, Source
from batch_pipeline_tests.stages.result_lines import SCHEMA, Returned, answer, ids

PAGE = Path(__file__).parents[2] / "docs" / "result_columns.md"


@pytest.fixture
def back(tmp_path: Path) -> Returned:
    back = Returned(tmp_path, schema=SCHEMA)
    back.ask(ids(1))
    back.decode(ids(1), [answer("row-0", '{"label": "ham", "count": 1}')])
    back.land(embeddings=True)
    return back


def test_a_landed_file_has_the_columns_of_the_table_in_its_order_with_its_types(
    back: Returned,
) -> None:
    fields = list(pq.read_schema(back.results))
    assert [field.name for field in fields] == ["id", *(one.name for one in RESULTS)]
    types = {field.name: field.type for field in fields}
    assert types["output"] == pa.struct({"label": "string", "count": "int64", "score": "float64"})
    for one in RESULTS:
        assert one.name == "output" or types[one.name] == one.type, one.name


def test_dagster_shows_the_columns_of_a_landed_file_with_the_meanings_of_the_table(
    back: Returned,
) -> None:
    first, *rest = column_schema(back.results, ["id"]).schema.columns
    assert (first.name, first.description) == ("id", "Names the row.")
    assert [(one.name, one.description) for one in rest] == [
        (one.name, one.meaning) for one in RESULTS
    ]


def test_every_column_but_the_price_is_kept_with_the_outcome_it_is_read_from() -> None:
    of_outcomes = [one for one in RESULTS if one.source is not Source.PRICE]
    assert {one.name: one.type for one in of_outcomes}.items() <= {
        field.name: field.type for field in OUTCOMES
    }.items()
    assert {*FETCHED, "custom_id", "content_hash"} == {one.name for one in of_outcomes}


def test_a_column_that_a_decoder_does_not_say_is_null(tmp_path: Path) -> None:
    def terse(_: str) -> str:
        return """SELECT position, line ->> '$.custom_id' AS custom_id, 'succeeded' AS status,
            'yes' AS text FROM lines"""

    back = Returned(tmp_path, codec=terse)
    back.decode(ids(1), [answer("row-0")])
    (row,) = back.rows()
    assert (row["text"], row["failure"], row["model"]) == ("yes", None, "gpt-5-nano")
    assert (row["input_tokens"], row["annotations"], row["embedding"]) == (None, None, None)


def test_the_page_of_columns_is_generated_from_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
