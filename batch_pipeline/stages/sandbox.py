"""The Jinja2 that request templates are written in, and rendering a batch of rows with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from jinja2 import StrictUndefined, Template, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batch_pipeline.errors import TemplateError

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
    for name in _RANDOM:
        del env.filters[name]
    for name in _RANDOM_GLOBALS:
        del env.globals[name]
    return env


def render(template: Template, rows: pa.RecordBatch, keys: Sequence[str]) -> pa.Array:
    """The template's text for every row; what fails is a TemplateError that names the row's key."""
    texts: list[str] = []
    for row in rows.to_pylist():
        try:
            text = template.render(row)
            text.encode("utf-8")
        except Exception as error:
            key = [row[name] for name in keys]
            raise TemplateError(
                f"the row with key {key[0] if len(key) == 1 else key!r} cannot be rendered: "
                f"{type(error).__name__}: {error}. Give the template a case for such rows, or "
                "mend the data."
            ) from error
        texts.append(text)
    return pa.array(texts, pa.string())


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
