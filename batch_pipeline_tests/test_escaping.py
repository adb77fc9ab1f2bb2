"""Whatever a dataset, a provider or a model says is text wherever it is shown: nothing acts."""

from __future__ import annotations

import io
import logging
import re
from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from rich.table import Table

from batch_pipeline.cli.bills import show_report
from batch_pipeline.cli.output import PlainFormatter
from batch_pipeline.cli.terminal import cell, say
from batch_pipeline.errors import StoreError
from batch_pipeline.escaping import fenced, line, markdown, plain
from batch_pipeline.stages.bill.attempts import BillLine
from batch_pipeline.stages.bill.report import CostReport

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = (
    *("[/]", "[red]x", "[link=http://evil.example]x[/link]", ":warning:", "\\[/]", "\x1b[31mred"),
    *("\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\", "\x9b2J", "\x9d0;title\x9c", "a\rb"),
    *("a\b\b", "\x07", "\x00", "\ud83d", "\u202egnp.exe", "\u2066x\u2069", "\u200bx", "\ufeff"),
    *("a|b", "\\|x|", "`code`", "``x", "a\nb", "\n\n# Title", "# x", "- x", "1. x", "> x", "==="),
    *("![x](http://evil.example/?q=1)", "[a](javascript:alert(1))", "[a]: http://x.example", "<b>"),
    *("<img src=x onerror=alert(1)>", "<http://auto.example>", "http://auto.example", "&lt;b&gt;"),
    *("www.auto.example", "mail@auto.example", "<!-- x", "_x_", "**x**", "~~x~~", "\u2028", "```"),
    *("~~~", "    x", "[^1]", "x" * 300, "\U000e0041", "[x][a]", "\\", "\\\\`", "$x$"),
)
hostile = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=12), min_size=1, max_size=4).map(
    "".join
)
ACTS = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def on_a_terminal(show: Callable[[Console], None]) -> str:
    """What is written to a terminal of great width, with rich's own colours left out."""
    out = Console(
        file=io.StringIO(),
        width=30_000,
        force_terminal=True,
        color_system=None,
        legacy_windows=False,
    )
    show(out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def read(text: str) -> tuple[str, set[str]]:
    """The visible text of Markdown, and the kinds of everything in it."""
    texts, kinds = [], set[str]()
    for token in READER.parse(text):
        kinds.add(token.type)
        for child in token.children or []:
            kinds.add(child.type)
            texts.append(child.content)
    return "".join(texts).replace("\u2060", ""), kinds


PLAIN = {"text", "text_special", "inline", "paragraph_open", "paragraph_close"}
A_TABLE = {
    f"{part}_{end}"
    for part in ("table", "thead", "tbody", "tr", "th", "td")
    for end in ("open", "close")
} | {"inline", "text", "text_special"}


@given(hostile)
@example("".join(HOSTILE))
def test_on_a_terminal_a_text_is_seen_and_nothing_in_it_is_obeyed(text: str) -> None:
    table = Table(box=None)
    table.add_column("name", no_wrap=True)
    table.add_row(cell(text))
    for shown in (
        on_a_terminal(lambda out: say(out, line(text))),
        on_a_terminal(lambda out: out.print(table)),
    ):
        assert not ACTS.search(shown)
        assert line(text).strip() in shown


@given(hostile)
@example("".join(HOSTILE))
def test_in_markdown_a_text_is_seen_and_makes_no_link_picture_html_or_block(text: str) -> None:
    shown, kinds = read(markdown(text))
    assert kinds <= PLAIN
    assert shown == line(text).strip()
    assert not ACTS.search(markdown(text))
    row = f"| a | b |\n|---|---|\n| {markdown(text)} | end |"
    shown, kinds = read(row)
    assert kinds <= A_TABLE
    assert shown == f"ab{line(text).strip()}end"
    assert not re.search(r"://|www\.|@\w", markdown(text), re.IGNORECASE)


@given(hostile)
@example("x\n```\n![x](http://evil.example)\n````")
def test_a_fence_holds_whatever_is_in_it(text: str) -> None:
    tokens = READER.parse(f"{fenced(text, 'jinja')}\n\nafter")
    assert [one.type for one in tokens] == [
        "fence",
        *("paragraph_open", "inline", "paragraph_close"),
    ]
    assert tokens[0].content == plain(text) + "\n"


@given(hostile)
def test_an_error_and_a_log_line_say_what_they_quote_and_no_more(text: str) -> None:
    said = str(StoreError(f"{text} is not there"))
    assert said == f"{plain(text)} is not there"
    record = logging.LogRecord("x", logging.WARNING, "", 0, "provider: %s", (text,), None)
    logged = PlainFormatter().format(record)
    for one in (said, logged):
        assert not ACTS.search(one.replace("\t", ""))
        one.encode()


@given(hostile, hostile)
@example("[/]", "[/]")
def test_a_report_shows_partitions_and_models_as_they_are_named(partition: str, model: str) -> None:
    one = BillLine(partition, "openai", model, requests=1, succeeded=1)
    report = CostReport("moods", (one,), prices_on=date(2026, 1, 1), simulated=True)
    shown = on_a_terminal(lambda out: show_report(out, report))
    assert not ACTS.search(shown)
    assert line(partition).strip() in shown
    assert line(model).strip() in shown
    text, kinds = read(report.to_markdown())
    assert not kinds & {"link_open", "image", "html_inline", "html_block", "code_inline"}
    assert line(partition).strip() in text
    report.to_markdown().encode()
    report.to_json().encode("ascii")


def test_ordinary_text_stays_as_it_is() -> None:
    family = "👨\u200d👩\u200d👧 naïve Straße 2026-01-01 review_triage gpt-4.1-nano"
    assert plain(family) == line(family) == markdown(family) == family
    assert plain("two\nlines\tand a tab") == "two\nlines\tand a tab"


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("\x1b", "\\x1b"),
        ("\u202e", "\\u202e"),
        ("\ud83d", "\\ud83d"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, spelled: str) -> None:
    assert plain(text) == spelled
