"""Cells of a request body, compared with plain Python; a value that cannot be costs its row."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_pipeline.errors import TemplateError
from batch_pipeline.model import Cell, Form, Hole, Limits, Tree
from batch_pipeline.stages.requests.build import RequestsBuilt
from batch_pipeline.stages.requests.line_files import line_files
from batch_pipeline.stages.requests.template import compile_body
from batch_pipeline_tests.stages.built_requests import build, connected, make_job, write
from batch_pipeline_tests.stages.result_lines import folder

MAGIC = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x01\x02\x03\x04WEBP",
    "application/pdf": b"%PDF-",
}
TURN = pa.struct({"content": pa.string(), "name": pa.int32(), "role": pa.string()})


def made(
    root: Path, columns: Mapping[str, object], body: Mapping[str, Tree], limit: int = 10**6
) -> tuple[list[Any], list[str | None], RequestsBuilt]:
    """The bodies of the lines, and of every row why it has none."""
    count = pa.table(dict(columns)).num_rows
    write(root / "in" / "x.parquet", {"id": list(range(count)), **columns}, row_group_size=5)
    job, body = make_job(root / "in", prompt="x"), {"model": "a model", "in": body}
    with connected() as con:
        built = build(con, job, root / "out", body=body, limits=Limits(99, limit))
    lines = b"".join(path.read_bytes() for path in line_files(root / "out")).split(b"\n")[:-1]
    reasons = pq.read_table(built.table)["rejected"].to_pylist()
    return [json.loads(line)["body"]["in"] for line in lines], reasons, built


def media_of(data: bytes) -> str | None:
    return next((kind for kind, begin in MAGIC.items() if re.match(_pattern(begin), data)), None)


def _pattern(begin: bytes) -> bytes:
    escaped = re.escape(begin).replace(re.escape(b"\x01\x02\x03\x04"), b"(?s:....)")
    return escaped.replace(b"GIF89a", b"GIF8[79]a")


BEGINNINGS = st.sampled_from([*MAGIC.values(), b"GIF87a", b"RIFF", b"%PDF", b"\x89PN", b""])
DATA = st.none() | st.builds(lambda begin, rest: begin + rest, BEGINNINGS, st.binary(max_size=20))
SPOILED = st.sampled_from(["", " ", "a", "aaa", "=", "====", "a===", "iVBO Rw0K", "aaaa\n", "é___"])
BASE64 = DATA.map(lambda data: None if data is None else base64.b64encode(data).decode()) | SPOILED


def decoded(text: str | None) -> bytes | None:
    """The bytes of base64 text; None when it is none."""
    if text is None or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text) or len(text) % 4:
        return None
    return base64.b64decode(text)


@settings(max_examples=12, deadline=None)
@given(st.lists(DATA, min_size=1, max_size=30), st.data(), st.sampled_from(["image", "pdf"]))
def test_data_is_sent_with_its_type_or_rejected_as_plain_python_says(
    data: list[bytes | None], texts: st.DataObject, asks: str
) -> None:
    said = texts.draw(st.lists(BASE64, min_size=len(data), max_size=len(data)))
    for column, values in (("blob", data), ("text", [decoded(text) for text in said])):
        body: dict[str, Tree] = {
            "url": Cell(column, Form.DATA_URL, media=asks),
            "parts": [
                {"data": Cell(column, Form.BASE64, media=asks)},
                Cell(column, Form.MEDIA_TYPE, media=asks),
            ],
        }
        wanted = []
        for value in values:
            kind = media_of(value or b"")
            if value and kind and (kind == "application/pdf") == (asks == "pdf"):
                coded = base64.b64encode(value).decode()
                wanted.append(
                    {"url": f"data:{kind};base64,{coded}", "parts": [{"data": coded}, kind]}
                )
        columns = {"blob": pa.array(data, pa.binary()), "text": pa.array(said, pa.string())}
        with folder() as root:
            bodies, reasons, built = made(root, columns, body)
        assert [_canonical(each) for each in bodies] == [_canonical(each) for each in wanted]
        assert built.rejected == len(data) - len(wanted) == sum(why is not None for why in reasons)


def _canonical(body: Any) -> Any:  # noqa: ANN401 - JSON
    """Base64 may spell its last bits differently; the bytes are what counts."""
    head, _, data = body["url"].partition(",")
    assert body["parts"][0]["data"] == data
    return head, base64.b64decode(data), body["parts"][1]


PNG = MAGIC["image/png"]


@pytest.mark.parametrize(
    ("value", "media", "reason"),
    [
        (None, "image", "column 'x': null is not an image"),
        (b"", "image", "column 'x': what is empty is not an image"),
        (b"BM..", "image", "column 'x': the data is no PNG, JPEG, GIF or WebP image"),
        (PNG, "pdf", "column 'x': the data is no PDF"),
        (b"BM..", None, "column 'x': the data is no PNG, JPEG, GIF or WebP image and no PDF"),
        ("no base64", "pdf", "column 'x': the text is not base64"),
        ("data:image/png;base64,aaaa", "image", "column 'x': the text is not base64"),
        ("", "pdf", "column 'x': what is empty is not a PDF"),
    ],
)
def test_a_reason_names_the_column_and_what_is_wrong(
    tmp_path: Path, value: bytes | str | None, media: str | None, reason: str
) -> None:
    good = base64.b64encode(PNG if media != "pdf" else b"%PDF-1.7").decode()
    kind = pa.string() if isinstance(value, str) else pa.binary()
    values = [value, good if isinstance(value, str) else base64.b64decode(good)]
    body = {"x": Cell("x", Form.DATA_URL, media=media)}
    bodies, reasons, built = made(tmp_path, {"x": pa.array(values, kind)}, body)
    assert reasons == [reason, None]
    assert len(bodies) == built.requests - built.rejected == 1


def test_a_rejected_row_without_a_line_has_neither_place_nor_size_nor_hash(tmp_path: Path) -> None:
    columns = {"x": [None, "http://a", "http://" + "b" * 900]}
    _, reasons, built = made(tmp_path, columns, {"x": Cell("x", Form.LINK)}, limit=500)
    rows = pq.read_table(built.table).to_pylist()
    facts = [(row["offset"], row["bytes"] is None, row["content_hash"] is None) for row in rows]
    assert facts == [(None, True, True), (0, False, False), (None, False, False)]
    assert reasons[0] == "column 'x': null is no URL"
    assert "over the limit" in str(reasons[2])
    assert (built.requests, built.rejected, built.by_target) == (3, 2, {"openai/m": 1})


def test_bytes_without_a_known_type_may_be_sent_as_they_are(tmp_path: Path) -> None:
    body = {"x": Cell("x", Form.BASE64)}
    bodies, reasons, _ = made(tmp_path, {"x": [b"\x00\xff", None]}, body)
    assert bodies == [{"x": "AP8="}]
    assert reasons[1] == "column 'x': null is not data"


GOOD_LINKS = ["http://a", "HTTPS://x.example/a?b#c", 'https://é.example/ü"\\']
BAD_LINKS = [
    *("ftp://x", "http://", "http:///path", "https://x/a b", "https://x/\n", " https://x", "x.png"),
    *("", None),
]


def test_a_link_is_an_http_url(tmp_path: Path) -> None:
    columns = {"x": [*GOOD_LINKS, *BAD_LINKS]}
    bodies, reasons, _ = made(tmp_path, columns, {"x": [Cell("x", Form.LINK, media="image")]})
    assert bodies == [{"x": [link]} for link in GOOD_LINKS]
    wrong = ["column 'x': this is no http(s) URL"] * (len(BAD_LINKS) - 1)
    assert reasons == [None] * len(GOOD_LINKS) + [*wrong, "column 'x': null is no URL"]


def test_a_value_as_text_is_what_a_template_prints(tmp_path: Path) -> None:
    names = ("text", "number", "yes")
    columns = {"text": ['a"\n', None], "number": [5, 6], "yes": [True, False]}
    bodies, reasons, _ = made(tmp_path, columns, {name: Cell(name, Form.TEXT) for name in names})
    assert bodies == [{"text": 'a"\n', "number": "5", "yes": "True"}]
    assert reasons[1] == "column 'text': null is no text"


ROLES = st.sampled_from(["system", "user", "assistant", "user", "tool", ""])
ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TURNS = st.none() | st.lists(
    st.none()
    | st.fixed_dictionaries(
        {"role": st.none() | ROLES, "content": st.none() | ODD, "name": st.none() | st.just(7)}
    ),
    max_size=4,
)


def conversation(turns: Sequence[Mapping[str, Any] | None] | None, *, hoisted: bool) -> Any:  # noqa: ANN401 - JSON
    """What is sent of it: the turns and the system text; None when it cannot be."""
    if not turns or any(turn is None or turn["content"] is None for turn in turns):
        return None
    said = [{"role": turn["role"], "content": turn["content"]} for turn in turns if turn]
    if any(turn["role"] not in {"system", "user", "assistant"} for turn in said):
        return None
    system = [turn["content"] for turn in said if turn["role"] == "system"]
    if hoisted:
        said = [turn for turn in said if turn["role"] != "system"]
    if not said or said[-1]["role"] != "user":
        return None
    return said, "\n\n".join(system) if system else None


@settings(max_examples=12, deadline=None)
@given(rows=st.lists(TURNS, min_size=1, max_size=40), hoisted=st.booleans())
def test_a_conversation_is_spliced_in_alike_from_lists_and_from_json(
    *, rows: list[Any], hoisted: bool
) -> None:
    texts = [None if turns is None else json.dumps(turns) for turns in rows]
    columns = {"list": pa.array(rows, pa.list_(TURN)), "json": pa.array(texts, pa.string())}
    wanted = [conversation(turns, hoisted=hoisted) for turns in rows]
    contents = []
    for column in columns:
        first: dict[str, Tree] = {"role": "assistant", "content": Hole("{{ id }}")}
        cell = Cell(column, Form.TURNS, hoisted=hoisted)
        body: dict[str, Tree] = {"messages": [first, cell, {"last": True}], "n": 1}
        if hoisted:
            body = {"system": Cell(column, Form.SYSTEM), **body}
        with folder() as root:
            bodies, reasons, built = made(root, columns, body)
            contents.append(built.lines.read_bytes())
        assert [why is None for why in reasons] == [each is not None for each in wanted]
        sent = [each for each in wanted if each is not None]
        assert [each["messages"][1:-1] for each in bodies] == [turns for turns, _ in sent]
        assert all(each["messages"][-1] == {"last": True} for each in bodies)
        if hoisted:
            assert [each.get("system") for each in bodies] == [system for _, system in sent]
    assert contents[0] == contents[1]


WRONG: list[tuple[str | None, str]] = [
    (None, "is null"),
    ("", "is not JSON"),
    ("[{]", "is not JSON"),
    ('"\\ud800"', "is not JSON"),
    ("{}", "is no list of turns"),
    ("null", "is no list of turns"),
    ("[]", "has no turns"),
    ("[5]", "has no role in turn 1"),
    ('[{"role":"user","content":"a"},null]', "has no role in turn 2"),
    ('[{"role":5,"content":"a"}]', "has no role in turn 1"),
    (
        '[{"role":"x\'","content":"a"}]',
        "has the role 'x'' in turn 1 (allowed: system, user, assistant)",
    ),
    ('[{"role":"user","content":["a"]}]', "has no text in turn 1"),
    ('[{"role":"user"}]', "has no text in turn 1"),
    ('[{"role":"user","content":NaN}]', "has no text in turn 1"),
    (
        '[{"role":"user","content":"a"},{"role":"assistant","content":""}]',
        "ends with 'assistant' and not the user",
    ),
]


def test_what_is_wrong_with_a_conversation_is_said(tmp_path: Path) -> None:
    good = '[{"role": "user", "content": "a\\u0000b", "extra": {"x": [1]}}]'
    columns = {"chat": [*(text for text, _ in WRONG), good]}
    bodies, reasons, _ = made(tmp_path, columns, {"m": [Cell("chat", Form.TURNS)]})
    wanted = [f"column 'chat': the conversation {reason}" for _, reason in WRONG]
    assert reasons == [*wanted, None]
    assert bodies == [{"m": [{"role": "user", "content": "a\0b"}]}]


def test_a_conversation_of_system_turns_alone_has_nobody_to_answer(tmp_path: Path) -> None:
    chat = [[{"role": "system", "content": "s"}]]
    cell = Cell("chat", Form.TURNS, roles=("user",), hoisted=True)
    _, reasons, _ = made(tmp_path, {"chat": chat}, {"m": [cell]})
    assert reasons == ["column 'chat': the conversation has no turn of the user"]


@pytest.mark.parametrize("names", [("s", "a", "b"), ("a", "s", "b"), ("a", "b", "s"), ("s",)])
def test_a_member_that_a_row_lacks_leaves_no_comma(tmp_path: Path, names: Sequence[str]) -> None:
    chat = [
        [{"role": "system", "content": "S"}, {"role": "user", "content": "u"}],
        [{"role": "user", "content": "u"}],
    ]
    body: dict[str, Tree] = {n: Cell("chat", Form.SYSTEM) if n == "s" else n for n in names}
    bodies, _, _ = made(tmp_path, {"chat": chat}, body)
    said = [{name: "S" if name == "s" else name for name in names} for _ in chat]
    del said[1]["s"]
    assert [list(each.items()) for each in bodies] == [list(each.items()) for each in said]


KINDS = {
    "blob": "BLOB",
    "text": "VARCHAR",
    "number": "INTEGER",
    "turns": 'STRUCT("role" VARCHAR, "content" VARCHAR)[]',
    "parts": 'STRUCT("role" VARCHAR, "content" STRUCT("text" VARCHAR)[])[]',
    "nameless": 'STRUCT("who" VARCHAR, "content" VARCHAR)[]',
    "texts": "VARCHAR[]",
}


@pytest.mark.parametrize(
    ("column", "form", "reason"),
    [
        ("blob", Form.LINK, "column 'blob' is BLOB; an http.* is text"),
        ("number", Form.DATA_URL, "column 'number' is INTEGER; an image is bytes"),
        ("turns", Form.TEXT, "cannot be taken as text"),
        ("parts", Form.TURNS, "a conversation is a list of turns with a role and a content"),
        ("nameless", Form.TURNS, "a conversation is a list"),
        ("texts", Form.SYSTEM, "a conversation is a list"),
        ("number", Form.TURNS, "column 'number' is INTEGER; a conversation"),
        ("txt", Form.LINK, "takes a link from 'txt', which is no column.*mean 'text'"),
    ],
)
def test_a_column_that_cannot_fill_a_cell_is_an_error_at_once(
    column: str, form: Form, reason: str
) -> None:
    with pytest.raises(TemplateError, match=reason):
        compile_body({"x": Cell(column, form, media="image")}, KINDS)


@pytest.mark.parametrize(
    "name", ["turn", "role", "content", 'it\'s "odd"', "key 0", "rejected", "line"]
)
def test_a_column_may_have_any_name(tmp_path: Path, name: str) -> None:
    chat = [[{"role": "user", "content": "a"}], None]
    body: dict[str, Tree] = {"s": Cell(name, Form.SYSTEM), "m": [Cell(name, Form.TURNS)]}
    bodies, reasons, _ = made(tmp_path, {name: chat}, body)
    assert bodies == [{"m": [{"role": "user", "content": "a"}]}]
    assert reasons[1] == f"column {name!r}: the conversation is null"
