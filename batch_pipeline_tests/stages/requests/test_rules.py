"""What a target's `when` may say: one true or false of its row, the same whenever it is asked."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from batch_pipeline.errors import SpecError
from batch_pipeline.stages.requests.rules import check_rules
from batch_pipeline_tests.stages.built_requests import connected

KINDS = {
    "lang": "VARCHAR",
    "Stars": "INTEGER",
    "day": "DATE",
    "tags": "VARCHAR[]",
    "meta": 'STRUCT("kind" VARCHAR, "score" DOUBLE)',
    "mood": "ENUM('a', 'b')",
    "nothing": '"NULL"',
    "two words": "BLOB",
}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with connected(threads=1) as con:
        yield con


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        ("lang = 'de'", {"lang"}),
        ("LANG LIKE 'd%' AND stars > 5 -- the good ones", {"lang", "Stars"}),
        ("prompt_chars BETWEEN 10 AND 20", {"prompt_chars"}),
        ("lang IN ('de', 'fr') OR meta.score >= 0.5", {"lang", "meta"}),
        ("day >= DATE '2026-01-01' AND year(day) < 2027", {"day"}),
        ("len(list_filter(tags, lambda tag: tag = lang)) > 0", {"tags", "lang"}),
        ("[tag FOR tag IN tags IF tag <> 'x'] = []", {"tags"}),
        ("nullif(lang, '') IS NULL", {"lang"}),
        ("CASE WHEN Stars % 2 = 0 THEN true ELSE lang ~ 'x.*' END", {"Stars", "lang"}),
        (
            "mood = 'a' AND nothing IS NULL AND octet_length(\"two words\") > 3",
            {"mood", "nothing", "two words"},
        ),
        ("hash(lang) % 10 = 3", {"lang"}),
        ("TRY(CAST(lang AS INTEGER)) = 5", {"lang"}),
        ("true", set()),
    ],
)
def test_a_rule_may_ask_anything_of_its_row(
    con: duckdb.DuckDBPyConnection, rule: str, read: set[str]
) -> None:
    assert check_rules(con, {"t": rule}, KINDS) == {"t": read}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "has to give true or false"),
        ("-- nothing", "has to give true or false"),
        ("lang =", "syntax error"),
        ("lang = 'de", "unterminated"),
        ("lang = 'de'; DROP TABLE x", "syntax error"),
        ("true) , (false", "has to be one expression"),
        ("true) FROM range(3) WHERE (true", "has to be one expression"),
        ("true) UNION SELECT (false", "has to be one expression"),
        ("true) ORDER BY (1", "has to be one expression"),
        ("true) LIMIT (1", "has to be one expression"),
        ("lang", "gives VARCHAR, and has to give true or false"),
        ("Stars + 1", "gives INTEGER, and"),
        ("NULL", "has to give true or false"),
        ("lnag = 'de'", r"'lnag' is no column of the dataset\. Did you mean 'lang'\? There are: "),
        ("rows.lang = 'de'", "'rows' is no column"),
        ("\"rendered template 0\" = 'x'", "is no column"),
        ("meta.knd = 'x'", "knd"),
        ("lang + day > 3", "No function matches"),
        ("nope(lang)", "nope does not exist"),
        ("EXISTS (SELECT 1)", "no subquery"),
        ("lang = (SELECT max(lang) FROM 'x.parquet')", "no subquery"),
        ("lang = ANY (tags)", "no subquery"),
        ("count(*) > 1", r"no aggregate like count_star\(\)"),
        ("max(Stars) > 1", r"no aggregate like max\(\)"),
        ("geomean(Stars) > 1", r"no aggregate like avg\(\)"),
        ("row_number() OVER () < 9", "no window function"),
        ("*", "name its columns"),
        ("COLUMNS('lang') = 'de'", "name its columns"),
        ("lang = $1", "has to be one expression"),
        ("unnest(tags) = 'x'", r"unnest\(\) gives rows"),
        ("generate_subscripts(tags, 1) = 1", "gives rows"),
        ("read_text('x') = 'y'", r"read_text\(\) gives rows"),
        ("read_csv('x') = 'y'", r"read_csv\(\) gives rows"),
        ("random() < 0.5", r"random\(\) does not always give the same"),
        ("RANDOM() < 0.5", r"random\(\) does not always"),
        ("lang = uuid()", r"uuid\(\) does not always"),
        ("day < now()", r"now\(\) does not always"),
        ("day < today()", r"today\(\) does not always"),
        ("day < current_date", "current_date does not always"),
        ("day < CURRENT_TIMESTAMP", "does not always"),
        ("ago(INTERVAL 1 DAY) > day", "current_timestamp|ago"),
        ("age(day::TIMESTAMP) > INTERVAL 1 DAY", r"age\(\) does not always"),
        ("nextval('s') = 1", r"nextval\(\) does not always"),
        ("getvariable('x') = 1", r"getvariable\(\) does not always"),
        ("list_filter(tags, lambda t: random() > 0.5) = []", r"random\(\) does not always"),
        ("lang = '\ud800'", "Unicode"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named_with_the_reason(
    con: duckdb.DuckDBPyConnection, rule: str, reason: str
) -> None:
    with pytest.raises(SpecError, match=rf"(?s)the `when` of 'cheap' cannot be used: .*{reason}"):
        check_rules(con, {"fine": "true", "cheap": rule}, KINDS)


def test_a_column_named_prompt_chars_is_the_datasets_own(con: duckdb.DuckDBPyConnection) -> None:
    rule, kinds = "prompt_chars = 'x'", {"Prompt_Chars": "VARCHAR"}
    assert check_rules(con, {"t": rule}, kinds) == {"t": {"Prompt_Chars"}}


def test_nothing_to_check_is_nothing(con: duckdb.DuckDBPyConnection) -> None:
    assert check_rules(con, {}, KINDS) == {}
