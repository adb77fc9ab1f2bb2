"""Jinja2 expressions as DuckDB expressions with exactly the same text, for those that have one.

Every one here is compared with Jinja2 over odd text by a property test. What cannot be equal is
left out: `upper` and `lower` differ on non-ASCII letters, floats print differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from jinja2 import nodes

from batch_pipeline.stages.requests.suggestions import ROW
from batch_pipeline.stages.sql import identifier, literal, utf8_text

_INTEGERS = frozenset(
    [
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
    ]
)
_SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())  # what strip() takes
_TRUNCATE = {"length": 255, "killwords": False, "end": "...", "leeway": 5}


@dataclass(frozen=True, slots=True)
class Expression:
    """A DuckDB expression, null where the column is, and the type of value it stands for."""

    sql: str
    kind: Literal["text", "printed", "integer", "boolean", "date"]  # printed: text, or else a value

    @property
    def text(self) -> str:
        """The value as Python prints it, null where it is null."""
        if self.kind in {"text", "printed"}:
            return self.sql
        if self.kind == "boolean":
            return f"CASE {self.sql} WHEN true THEN 'True' WHEN false THEN 'False' END"
        return f"CAST({self.sql} AS VARCHAR)"

    @property
    def filled(self) -> str:
        """The value as a text filter sees it: null is no text."""
        return f"coalesce({self.text}, '')"


def expression_of(node: nodes.Node, columns: Mapping[str, str]) -> Expression | None:
    """The expression of *node*, or None when it has none; *columns* maps names to DuckDB types."""
    if isinstance(node, nodes.Name):
        return column_expression(node.name, columns)
    if isinstance(node, nodes.Getitem | nodes.Getattr):
        name = None if ROW in columns else row_name(node)
        return None if name is None else column_expression(name, columns)
    if not isinstance(node, nodes.Filter) or node.node is None:
        return None
    inner, arguments = expression_of(node.node, columns), _arguments(node)
    if inner is None or arguments is None or node.name not in _FILTERS:
        return None
    try:
        return _FILTERS[node.name](inner, *arguments[0], **arguments[1])
    except TypeError:  # arguments the filter does not take: Jinja says so better
        return None


def row_name(node: nodes.Node) -> str | None:
    """The column that `row["name"]` or `row.name` says; None for anything else."""
    if not isinstance(node, nodes.Getitem | nodes.Getattr):
        return None
    if not (isinstance(node.node, nodes.Name) and node.node.name == ROW):
        return None
    if isinstance(node, nodes.Getattr):
        return None if hasattr(dict, node.attr) else str(node.attr)
    by = node.arg
    return by.value if isinstance(by, nodes.Const) and isinstance(by.value, str) else None


def column_expression(name: str, columns: Mapping[str, str]) -> Expression | None:
    """The expression of a column as it stands."""
    if columns.get(name) == "BLOB":
        return Expression(utf8_text(identifier(name)), "text")
    kind = _kind(columns.get(name, ""))
    return None if kind is None else Expression(identifier(name), kind)


def _kind(duckdb_type: str) -> Literal["text", "integer", "boolean", "date"] | None:
    if duckdb_type in _INTEGERS:
        return "integer"
    known: dict[str, Literal["text", "boolean", "date"]]
    known = {"VARCHAR": "text", "BOOLEAN": "boolean", "DATE": "date"}
    return known.get(duckdb_type)


def _arguments(node: nodes.Filter) -> tuple[list[object], dict[str, object]] | None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        return None
    try:
        given = [argument.as_const() for argument in node.args]
        named = {str(pair.key): pair.value.as_const() for pair in node.kwargs}
    except nodes.Impossible:
        return None
    return given, named


def _trim(of: Expression, chars: object = None) -> Expression | None:
    if chars is not None and (not isinstance(chars, str) or not chars):
        return None
    return Expression(f"trim({of.filled}, {literal(_SPACES if chars is None else chars)})", "text")


def _replace(of: Expression, old: object, new: object) -> Expression | None:
    if not isinstance(old, str) or not isinstance(new, str) or not old:
        return None
    return Expression(f"replace({of.filled}, {literal(old)}, {literal(new)})", "text")


def _default(of: Expression, default_value: object = "") -> Expression | None:
    if not isinstance(default_value, str):
        return None
    kind: Literal["text", "printed"] = "text" if of.kind == "text" else "printed"
    return Expression(f"coalesce({of.text}, {literal(default_value)})", kind)


def _length(of: Expression) -> Expression | None:
    if of.kind != "text":
        return None  # len() of a number is an error, and the row's to tell
    return Expression(f"coalesce(length({of.sql}), 0)", "integer")


def _truncate(of: Expression, *given: object, **named: object) -> Expression | None:
    said = dict(zip(_TRUNCATE, given, strict=False)) | named
    if of.kind != "text" or len(given) > len(_TRUNCATE) or not said.keys() <= _TRUNCATE.keys():
        return None
    size, kill, end, leeway = {**_TRUNCATE, **said}.values()
    if not (type(size) is int and type(leeway) is int and isinstance(end, str)):
        return None
    room = size - len(end)
    if room < 0 or leeway < 0:
        return None  # Jinja asserts
    head = f"substring({of.filled}, 1, {room})"
    if not kill:
        head = f"regexp_replace({head}, ' [^ ]*$', '')"
    return Expression(
        f"CASE WHEN length({of.filled}) <= {size + leeway} THEN {of.filled} "
        f"ELSE concat({head}, {literal(end)}) END",
        "text",
    )


def _string(of: Expression) -> Expression:
    return Expression(of.filled, "text")


_FILTERS: Mapping[str, Callable[..., Expression | None]] = {
    "trim": _trim,
    "replace": _replace,
    "default": _default,
    "d": _default,
    "length": _length,
    "count": _length,
    "truncate": _truncate,
    "string": _string,
}
