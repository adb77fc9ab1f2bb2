from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Template

from batch_pipeline.errors import TemplateError
from batch_pipeline.model import Hole, Tree
from batch_pipeline.stages.requests.sandbox import environment, render
from batch_pipeline.stages.requests.template import Compiled, compile_body, compile_template
from batch_pipeline_tests.stages.built_requests import connected

KINDS = {"id": "BIGINT", "text": "VARCHAR", "n": "BIGINT", "yes": "BOOLEAN", "day": "DATE"}
SCHEMA = pa.schema(
    {"id": pa.int64(), "text": pa.string(), "n": pa.int64(), "yes": pa.bool_(), "day": pa.date32()}
)
ODD = st.text(
    st.one_of(
        st.sampled_from(
            " \t\n\r\x00\x0b\x1c\x1f\x7f\x85\xa0\u2028\u3000\"\\/'{}%abß🤦\U0001f3fc\u200d"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=24,
)
ROW = st.fixed_dictionaries(
    {
        "text": st.none() | ODD,
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "yes": st.none() | st.booleans(),
        "day": st.none() | st.dates(),
    }
)
WITH_TWIN = [
    "{{ text }}",
    "a{{ text }}'b\"\\\n{{ n }}",
    "{{ yes }} {{ day }}",
    "{{ text|trim }}",
    "{{ text|trim(' ab') }}",
    "{{ n|trim('1') }}",
    "{{ text|replace('a', 'it''s') }}".replace("''", "\\'"),
    "{{ text|replace('\n', ' ')|trim|length }}",
    "{{ n|replace('1', 'one') }}",
    "{{ text|default('nothing') }}",
    "{{ text|trim|default('nothing') }}",
    "{{ n|d('none')|trim }}",
    "{{ day|d('') }}",
    "{{ text|length }}{{ text|count }}",
    "{{ text|truncate(6) }}",
    "{{ text|truncate(6, true, '…', 0) }}",
    "{{ text|truncate(length=5, end='', leeway=2) }}",
    "{{ text|string }}{{ yes|string }}",
    "{{ text|truncate(5, killwords=True)|trim }}{# a comment #}",
]
BY_JINJA = [
    "{% if text %}{{ text|upper }}{% else %}-{% endif %}",
    "{% for x in [1, 2] %}{{ x }}{{ text }}{% endfor %}",
    "{{ text[:3] if text }}",
    "{{ text|tojson }}",
    "{{ text ~ n }}",
    "{{ n|default(3) }}",
    "{{ text|replace('', '-') }}",
    "{{ text|replace('a', 'b', 1) }}",
    "{{ text|trim('') }}",
    "{{ text|default('x', true) }}",
    "{{ text|replace(text, 'x') if text }}",
    "{{ text|truncate(*[9]) }}",
    "{{ 'x'|upper }}{{ text }}",
    "{{ n|wordcount }}",
    "{{ text|indent }}",
    "{{ [text]|join }}",
    "{{ text|lower|trim }}",
]


def compiled(source: str) -> Compiled:
    return compile_template(source, KINDS, env=environment())


def queried(columns: str, table: pa.Table) -> list[tuple[str, ...]]:
    with connected(threads=1) as con:
        con.register("t", table)
        return con.execute(f"SELECT {columns} FROM t ORDER BY id").fetchall()  # noqa: S608 - ours


@cache
def parsed(source: str) -> Template:
    return environment().from_string(source)


def by_jinja(source: str, row: Mapping[str, object]) -> str:
    batch = pa.RecordBatch.from_pylist([{"id": 1, **row}], SCHEMA)
    return str(render(parsed(source), batch, ["id"])[0].as_py())


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=8))
def test_every_twin_gives_the_text_that_jinja_gives(rows: list[dict[str, object]]) -> None:
    table = pa.Table.from_pylist([{"id": n, **row} for n, row in enumerate(rows)], SCHEMA)
    columns = [compiled(source).sql or "" for source in WITH_TWIN]
    found = queried(", ".join(columns), table)
    for row, texts in zip(rows, found, strict=True):
        assert list(texts) == [by_jinja(source, row) for source in WITH_TWIN]


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=8), ODD)
def test_the_json_of_a_body_reads_back_as_what_jinja_renders(
    rows: list[dict[str, object]], fixed: str
) -> None:
    tree: Tree = {"a": fixed, fixed: [Hole("x {{ text }}"), {"n": 1.5, "t": True}], "e": [{}, []]}
    skeleton = compile_body(tree, KINDS)
    texts = [each.sql or "" for each in skeleton.templates]
    table = pa.Table.from_pylist([{"id": n, **row} for n, row in enumerate(rows)], SCHEMA)
    found = queried(skeleton.sql(texts), table)
    for row, (body,) in zip(rows, found, strict=True):
        hole = by_jinja("x {{ text }}", row)
        want = {"a": fixed, fixed: [hole, {"n": 1.5, "t": True}], "e": [{}, []]}
        assert json.loads(body) == want
        assert "\n" not in body


@pytest.mark.parametrize("source", WITH_TWIN)
def test_what_has_a_twin_needs_no_python(source: str) -> None:
    assert compiled(source).jinja is None


@pytest.mark.parametrize("source", BY_JINJA)
def test_what_has_no_exact_twin_is_left_to_jinja(source: str) -> None:
    assert compiled(source).sql is None
    assert compiled(source).jinja is not None


@pytest.mark.parametrize(
    "source",
    ["{{ n|truncate(5) }}", "{{ text|truncate(1) }}", "{{ n|length }}", "{{ text|trim(1) }}"],
)
def test_a_filter_that_may_fail_is_left_to_jinja(source: str) -> None:
    assert compiled(source).jinja is not None


def test_a_template_without_columns_is_fixed_text() -> None:
    assert compiled("Say 'hi'.\n\n{# quietly #}").fixed == "Say 'hi'.\n\n"
    assert compile_body({"input": Hole('a "b"')}, {}).parts == ('{"input":"a \\"b\\""}',)


def test_only_the_columns_that_are_used_are_named() -> None:
    assert compiled("{{ text }}{% if n %}x{% endif %}").columns == ("text", "n")


def test_null_prints_as_nothing_and_is_no_text_for_filters() -> None:
    row: dict[str, object] = {"text": None, "n": None, "yes": None, "day": None}
    assert by_jinja("[{{ text }}{{ text|upper }}{{ text|wordcount }}{{ n|d('-') }}]", row) == "[0-]"
    assert (
        by_jinja("{{ text is none }}{{ text|d('x', true) }}{{ ''|d('y', true) }}", row) == "Truexy"
    )
    assert by_jinja("{{ [text]|tojson }}{{ {'b': day, 'a': 'ß<'}|tojson(indent=1) }}", row) == (
        '[null]{\n "a": "ß<",\n "b": null\n}'
    )


def test_an_unknown_column_is_named_with_its_line_and_the_nearest() -> None:
    message = r"template line 2: 'txt' is no column.*mean 'text'.*id, text, n.*\{\{ txt \}\}"
    with pytest.raises(TemplateError, match=message):
        compiled("Hello\n{{ txt }}")
    with pytest.raises(TemplateError, match=r"'zzzz' is no column of the dataset\. There are"):
        compiled("{% if zzzz %}{% endif %}")


def test_a_syntax_error_is_named_with_its_line() -> None:
    with pytest.raises(TemplateError, match=r"template line 3: .*'\{\{ text \|\| \}\}'"):
        compiled("a\nb\n{{ text || }}")
    with pytest.raises(TemplateError, match="template line 1: No filter named 'nope'"):
        compiled("{{ text|nope }}")
    with pytest.raises(TemplateError, match="not Unicode text"):
        compiled("\ud800")


@pytest.mark.parametrize("source", ["{{ lipsum() }}", "{{ [1, 2]|random }}"])
def test_what_is_random_is_not_there(source: str) -> None:
    with pytest.raises(TemplateError, match=r"lipsum|random"):
        compiled(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ text.x }}",
        "{{ text.__class__.__mro__ }}",
        "{{ 1 / 0 }}{{ text }}",
        "{{ '\\ud800' }}",
        "{{ text.x|tojson }}",
    ],
)
def test_a_row_that_cannot_be_rendered_is_named_by_its_key(source: str) -> None:
    batch = pa.RecordBatch.from_pylist([{"id": 17, "text": "a"}], SCHEMA)
    with pytest.raises(TemplateError, match="the row with key 17 cannot be rendered"):
        render(environment().from_string(source), batch, ["id"])
    with pytest.raises(TemplateError, match=r"the row with key \[17, 'a'\] cannot"):
        render(environment().from_string(source), batch, ["id", "text"])
