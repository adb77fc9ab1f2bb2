"""The Jinja2 that request templates are written in, and rendering a batch of rows with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from jinja2 import StrictUndefined, Template, Undefined, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batch_pipeline.errors import DatasetError, TemplateError
from batch_pipeline.stages.requests.column_types import printable
from batch_pipeline.stages.requests.suggestions import ROW, named_in_template

_TEXT_FILTERS = [
    "capitalize",
    "center",
    "e",
    "escape",
    "forceescape",
    "format",
    "indent",
    "length",
    "count",
    "lower",
    "replace",
    "reverse",
    "string",
    "striptags",
    "title",
    "trim",
    "truncate",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
]
_RANDOM = ("random",)  # equal input has to give equal bytes
_RANDOM_GLOBALS = ("lipsum",)


def environment() -> ImmutableSandboxedEnvironment:
    """Sandboxed Jinja2 in which a null column is no text: "" when printed and in text filters.

    `default` also stands in for null, `tojson` writes plain JSON (no HTML escapes), and what is
    random is left out.
    """
    env = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        finalize=_printed,
        autoescape=False,
    )
    for name in _TEXT_FILTERS:
        env.filters[name] = _of_text(env.filters[name])
    env.filters |= {"default": _default, "d": _default, "tojson": _tojson}
    env.tests["none"] = lambda value: value is None or isinstance(value, _Absent)
    for name in _RANDOM:
        del env.filters[name]
    for name in _RANDOM_GLOBALS:
        del env.globals[name]
    return env


class _Absent(Undefined):
    """A column that the row's file lacks: null to conditions, undefined, and never printed."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _Absent)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = Undefined.__hash__
    __str__ = __iter__ = __len__ = Undefined._fail_with_undefined_error  # noqa: SLF001 - as Jinja's StrictUndefined does it


class _Lacking(UndefinedError):  # noqa: N818 - never leaves this file
    """Why a row of a file that lacks a column cannot be rendered."""


def render(
    template: Template,
    rows: pa.RecordBatch,
    keys: Sequence[str],
    columns: Sequence[str] | None = None,
    absent: Sequence[str] = (),
    *,
    where: str = "",
) -> pa.Array:
    """The template's text for every row; what fails is a TemplateError that names the row's key.

    *absent* are columns that the rows' file lacks: DatasetError, with *where*, if one is printed.
    """
    texts: list[str] = []
    seen = rows.schema.names if columns is None else columns
    by_name = {name: printable(rows[name]).to_pylist() for name in seen}
    lacking = {name: _Absent(_lacks(where, name), name=name, exc=_Lacking) for name in absent}
    for place in range(rows.num_rows):
        row: dict[str, Any] = {name: values[place] for name, values in by_name.items()} | lacking
        try:
            text = template.render(row if ROW in row else {**row, ROW: row})
            text.encode("utf-8")
        except _Lacking as error:
            raise DatasetError(str(error)) from None
        except Exception as error:
            key = [rows[name][place].as_py() for name in keys]
            raise TemplateError(
                f"the row with key {key[0] if len(key) == 1 else key!r} cannot be rendered: "
                f"{type(error).__name__}: {error}. Give the template a case for such rows, or "
                "mend the data."
            ) from error
        texts.append(text)
    return pa.array(texts, pa.string())


def _lacks(where: str, name: str) -> str:
    said = named_in_template(name)
    return (
        f"{where}: there is no column {name!r} in this file, and the template needs it. Give the "
        f"file the column, or say what stands there without it: {{{{ {said} | default('') }}}}."
    )


def _printed(value: object) -> object:
    return "" if value is None else value


def _of_text(filtered: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with null read as no text, where Jinja would work on the word None."""
    if hasattr(filtered, "jinja_pass_arg"):  # Jinja hands these its context or environment first

        def with_context(context: object, value: object, *args: object, **named: object) -> object:
            return filtered(context, _printed(value), *args, **named)

        with_context.jinja_pass_arg = filtered.jinja_pass_arg  # type: ignore[attr-defined]
        return with_context

    def plain(value: object, *args: object, **named: object) -> object:
        return filtered(_printed(value), *args, **named)

    return plain


def _default(value: object, default_value: object = "", boolean: object = False) -> object:  # noqa: FBT002 - Jinja's own signature
    missing = value is None or isinstance(value, Undefined)
    return default_value if missing or (boolean and not value) else value


def _tojson(value: object, indent: int | None = None) -> str:
    plain: Mapping[str, object] | object = _printed_undefined(value)
    return json.dumps(plain, ensure_ascii=False, indent=indent, sort_keys=True, default=str)


def _printed_undefined(value: object) -> object:
    if isinstance(value, Undefined):
        str(value)  # a strict undefined raises with its own message
    return value
