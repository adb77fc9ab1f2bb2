"""Cells of a request body as DuckDB expressions: JSON from one column, or why a row has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batch_pipeline.errors import TemplateError
from batch_pipeline.model import Cell, Form
from batch_pipeline.stages.requests import conversation
from batch_pipeline.stages.requests.expressions import column_expression
from batch_pipeline.stages.requests.suggestions import there_are
from batch_pipeline.stages.sql import identifier, literal

_MAGIC = (
    ("image/png", "89504E470D0A1A0A%"),
    ("image/jpeg", "FFD8FF%"),
    ("image/gif", "474946383761%"),
    ("image/gif", "474946383961%"),
    ("image/webp", "52494646________57454250%"),
    ("application/pdf", "255044462D%"),
)
"""How files begin, in hex; `_` is any digit and `%` the rest."""
_HEAD_BYTES = 18
_HEAD_TEXT = 24  # base64 of that many bytes
_BASE64 = "[A-Za-z0-9+/]+={0,2}"
_URL = r"(?i:https?)://[^\x00-\x20/?#]+[^\x00-\x20]*"
_MEDIA = {
    "image": ("an image", "PNG, JPEG, GIF or WebP image"),
    "pdf": ("a PDF", "PDF"),
    None: ("data", "PNG, JPEG, GIF or WebP image and no PDF"),
}
_IS_MEDIA = {"image": "LIKE 'image/%'", "pdf": "= 'application/pdf'", None: "IS NOT NULL"}


@dataclass(frozen=True, slots=True)
class CellText:
    """A cell over its column: *sql* is JSON to splice in where *wrong*, a reason, is null.

    Both see the columns that *prepared* names, expressions over the row's own.
    """

    column: str
    sql: str
    wrong: str | None = None
    prepared: tuple[tuple[str, str], ...] = ()


def compile_cell(cell: Cell, columns: Mapping[str, str]) -> CellText:
    """Compile *cell* over *columns* (name -> DuckDB type).

    Raises TemplateError for a column that is not there, or of a type that the form cannot read.
    """
    if cell.column not in columns:
        raise TemplateError(
            f"the request takes a {cell.form.value} from {cell.column!r}, which is no column of "
            f"the dataset.{there_are(cell.column, columns)}"
        )
    kind = columns[cell.column]
    match cell.form:
        case Form.LINK:
            return _link(cell, kind)
        case Form.TEXT:
            return _text(cell, columns)
        case Form.TURNS | Form.SYSTEM:
            return _turns(cell, kind)
        case Form.BASE64 | Form.DATA_URL | Form.MEDIA_TYPE:
            return _data(cell, kind)


def _link(cell: Cell, kind: str) -> CellText:
    _must_be(cell, kind, ("VARCHAR",), "an http(s) URL is text (VARCHAR)")
    value = identifier(cell.column)
    is_url = f"regexp_full_match({value}, {literal(_URL)})"
    checks = [
        (f"{value} IS NULL", "null is no URL"),
        (f"NOT {is_url}", "this is no http(s) URL"),
    ]
    return CellText(cell.column, f"to_json({value})", _reason(cell, *checks))


def _text(cell: Cell, columns: Mapping[str, str]) -> CellText:
    found = column_expression(cell.column, columns)
    if found is None:
        raise TemplateError(
            f"column {cell.column!r} is {columns[cell.column]} and cannot be taken as text. "
            "Convert it in the dataset."
        )
    null = f"{identifier(cell.column)} IS NULL"
    garbled = (f"{found.sql} IS NULL", "the bytes are no UTF-8 text")
    wrong = _reason(cell, (null, "null is no text"), garbled)
    return CellText(cell.column, f"to_json({found.text})", wrong)


def _turns(cell: Cell, kind: str) -> CellText:
    """SYSTEM alone judges nothing: the TURNS of its column do."""
    column = cell.column
    prepared = ((conversation.prepared(column), conversation.prepared_sql(column, kind)),)
    if cell.form is Form.SYSTEM:
        text = f"to_json({conversation.system_sql(column)})"
        return CellText(column, text, prepared=prepared)
    wrong = conversation.wrong_sql(column, kind, cell.roles, hoisted=cell.hoisted)
    text = conversation.turns_sql(column, hoisted=cell.hoisted)
    return CellText(column, text, wrong, prepared)


def _data(cell: Cell, kind: str) -> CellText:
    what, named = _MEDIA[cell.media]
    _must_be(cell, kind, ("BLOB", "VARCHAR"), f"{what} is bytes (BLOB) or base64 text (VARCHAR)")
    value, is_blob = identifier(cell.column), kind == "BLOB"
    size = f"octet_length({value})" if is_blob else f"strlen({value})"
    media = _media_type(value, is_blob=is_blob)
    checks = [
        (f"{value} IS NULL", f"null is not {what}"),
        (f"{size} = 0", f"what is empty is not {what}"),
    ]
    if not is_blob:
        whole = f"{size} % 4 = 0 AND regexp_full_match({value}, {literal(_BASE64)})"
        checks.append((f"NOT ({whole})", "the text is not base64"))
    if cell.form is not Form.BASE64 or cell.media is not None:
        is_media = f"coalesce({media} {_IS_MEDIA[cell.media]}, false)"
        checks.append((f"NOT {is_media}", f"the data is no {named}"))
    data = f"to_base64({value})" if is_blob else value
    texts = {
        Form.BASE64: f"""concat('"', {data}, '"')""",
        Form.MEDIA_TYPE: f"""concat('"', {media}, '"')""",
        Form.DATA_URL: f"""concat('"data:', {media}, ';base64,', {data}, '"')""",
    }
    return CellText(cell.column, texts[cell.form], _reason(cell, *checks))


def _media_type(value: str, *, is_blob: bool) -> str:
    """The media type by how the data begins, null for none that we know."""
    head = f"{value}[1:{_HEAD_BYTES}]"
    if not is_blob:
        head = f"TRY(from_base64(left({value}, {_HEAD_TEXT})))"
    cases = (f"WHEN hex({head}) LIKE '{begin}' THEN '{media}'" for media, begin in _MAGIC)
    return f"CASE {' '.join(cases)} END"


def _reason(cell: Cell, *checks: tuple[str, str]) -> str:
    """The first of the (condition, reason) that holds; null for none."""
    cases = (f"WHEN {when} THEN {literal(reason)}" for when, reason in checks)
    return f"{literal(f'column {cell.column!r}: ')} || CASE {' '.join(cases)} END"


def _must_be(cell: Cell, kind: str, kinds: tuple[str, ...], what: str) -> None:
    if kind not in kinds:
        raise TemplateError(
            f"column {cell.column!r} is {kind}; {what}. Name another column, or convert it in the "
            "dataset."
        )
