"""Rules of targets: what a `when` may say, told from its syntax tree and by DuckDB's own binder."""
# ruff: noqa: S608 - a rule is looked at before it is run; everything else is quoted

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import duckdb

from batch_pipeline.errors import SpecError
from batch_pipeline.stages.requests.suggestions import there_are
from batch_pipeline.stages.sql import identifier

PROMPT_CHARS = "prompt_chars"
"""Characters of the rendered request; a column of the data that has this name wins."""

_Node: TypeAlias = dict[str, Any]
_REFUSED = {
    "SUBQUERY": "it may not look beyond its row: no subquery",
    "WINDOW": "it may not look beyond its row: no window function",
    "STAR": "it has to name its columns: no *",
}
_ROWS = frozenset({"unnest", "unlist"})  # functions that make rows, in no list of functions
_OF_NOW = {"age": 1}  # with so many arguments it counts from today
_NOW = frozenset({"current_time", "current_timestamp", "localtime", "localtimestamp"})
"""Words that need no (), besides functions of the same name."""


@dataclass(frozen=True, slots=True)
class _Functions:
    """DuckDB's functions: how steady each is, its kinds, and what macros stand for."""

    kinds: Mapping[str, frozenset[str]]
    unsteady: frozenset[str]
    macros: Mapping[str, tuple[str, ...]]


class _With(Mapping[str, str]):
    """Columns and what stands beside them; a type is asked for only where it is needed."""

    def __init__(self, columns: Mapping[str, str], own: Mapping[str, str]) -> None:
        self._columns, self._own = columns, own

    def __getitem__(self, name: str) -> str:
        return self._own[name] if name in self._own else self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return chain(self._columns, self._own)

    def __len__(self) -> int:
        return len(self._columns) + len(self._own)


def check_rules(
    con: duckdb.DuckDBPyConnection, whens: Mapping[str, str], columns: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """The columns that each target's rule reads, `prompt_chars` among them; needs no data.

    *whens* maps targets to their rules, *columns* names to DuckDB types. A rule is one boolean
    expression over its row alone that gives the same for the same row; else it is a SpecError
    that names the target.
    """
    if not whens:
        return {}
    with closing(con.cursor()) as cursor:
        functions = _functions(cursor)
        own = {} if _is_column(PROMPT_CHARS, columns) else {PROMPT_CHARS: "BIGINT"}
        return {
            target: _checked(cursor, target, rule, _With(columns, own), functions)
            for target, rule in whens.items()
        }


def check_syntax(con: duckdb.DuckDBPyConnection, target: str, rule: str) -> None:
    """SpecError when *rule* is not one expression; needs no columns."""
    try:
        _parsed(con, rule)
    except _Wrong as wrong:
        raise _unusable(target, rule, wrong) from None


def _unusable(target: str, rule: str, why: Exception) -> SpecError:
    return SpecError(
        f"targets: the `when` of {target!r} cannot be used: {why}. The rule is: "
        f"{' '.join(rule.split())!r}."
    )


def _is_column(name: str, columns: Mapping[str, str]) -> bool:
    return name in {column.lower() for column in columns}


def names_in(con: duckdb.DuckDBPyConnection, rule: str) -> frozenset[str]:
    """The names that *rule* takes from the row, as it spells them; nothing of what is no rule."""
    try:
        tree = _parsed(con, rule)
    except _Wrong:
        return frozenset()
    lambdas = [node for node in _nodes(tree) if node["class"] == "LAMBDA"]
    bound = {name for node in lambdas for name in _named(node.get("lhs"))}
    return frozenset(_named(tree)) - bound


def rule_sql(rule: str) -> str:
    """The rule as an expression; its own line, so that a comment at its end ends there."""
    return f"coalesce((\n{rule}\n), false)"


def _checked(
    con: duckdb.DuckDBPyConnection,
    target: str,
    rule: str,
    known: Mapping[str, str],
    functions: _Functions,
) -> frozenset[str]:
    try:
        tree = _parsed(con, rule)
        spelled = {name.lower(): name for name in known}
        _look(con, tree, functions, spelled.keys())
        read = _columns(tree, spelled)
        _bind(con, rule, {name: known[name] for name in read})
    except _Wrong as wrong:
        raise _unusable(target, rule, wrong) from None
    return read


class _Wrong(Exception):  # noqa: N818 - never leaves this file
    """Why a rule cannot be used."""


def _parsed(con: duckdb.DuckDBPyConnection, rule: str) -> _Node:
    """The one expression; whatever else a SELECT could hold is refused by comparison."""
    try:
        rule.encode()
    except UnicodeEncodeError:
        raise _Wrong("it is not Unicode text") from None
    whole, bare = _tree(con, f"SELECT (\n{rule}\n)"), _tree(con, "SELECT (1)")
    if whole.get("error"):
        raise _Wrong(f"{whole.get('error_message', 'it cannot be read')}")
    found: list[_Node] = whole["statements"][0]["node"].pop("select_list", [])
    bare["statements"][0]["node"].pop("select_list")
    if whole != bare or len(found) != 1:
        raise _Wrong("it has to be one expression")
    return found[0]


def _tree(con: duckdb.DuckDBPyConnection, query: str) -> _Node:
    said = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()[0][0]
    tree: _Node = json.loads(said)
    return tree


def _nodes(tree: object) -> Iterator[_Node]:
    """The expressions of a syntax tree, outer ones first."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _look(
    con: duckdb.DuckDBPyConnection,
    tree: _Node,
    functions: _Functions,
    known: Collection[str],
    within: frozenset[str] = frozenset(),
) -> None:
    """Refuse what is no function of the row; macros are looked at as what they stand for."""
    for word in _named(tree):
        if word.lower() in functions.unsteady | _NOW and word.lower() not in known:
            raise _Wrong(f"{word} does not always give the same for the same row")
    for node in _nodes(tree):
        if node["class"] in _REFUSED:
            raise _Wrong(_REFUSED[node["class"]])
        if node["class"] == "FUNCTION":
            name = node["function_name"].lower()
            _check_function(name, len(node.get("arguments", ())), functions)
            for stands_for in () if name in within else functions.macros.get(name, ()):
                inner = _tree(con, f"SELECT ({stands_for})")
                if not inner.get("error"):
                    (meant,) = inner["statements"][0]["node"]["select_list"]
                    _look(con, meant, functions, (), within | {name})


def _check_function(name: str, arguments: int, functions: _Functions) -> None:
    kinds = functions.kinds.get(name, frozenset())
    if name in functions.unsteady or _OF_NOW.get(name) == arguments:
        raise _Wrong(f"{name}() does not always give the same for the same row")
    if kinds & {"aggregate", "window"}:
        raise _Wrong(f"it may not look beyond its row: no aggregate like {name}()")
    if name in _ROWS or (kinds and not kinds & {"scalar", "macro"}):
        raise _Wrong(f"{name}() gives rows, and one value is wanted")


def _columns(tree: _Node, spelled: Mapping[str, str]) -> frozenset[str]:
    """The columns that are read, as the dataset spells them."""
    lambdas = [node for node in _nodes(tree) if node["class"] == "LAMBDA"]
    bound = {name for node in lambdas for name in _named(node.get("lhs"))}
    read: set[str] = set()
    for name in _named(tree):
        if name in spelled.values():
            read.add(name)
        elif name.lower() in spelled:
            read.add(spelled[name.lower()])
        elif name not in bound:
            raise _Wrong(
                f"{name!r} is no column of the dataset.{there_are(name, spelled.values())[:-1]}"
            )
    return frozenset(read)


def _named(tree: object) -> list[str]:
    """The first part of each name: the column, where a name goes on into a struct."""
    return [node["column_names"][0] for node in _nodes(tree) if node["class"] == "COLUMN_REF"]


def _bind(con: duckdb.DuckDBPyConnection, rule: str, known: Mapping[str, str]) -> None:
    row = ", ".join(f"NULL::{kind} AS {identifier(name)}" for name, kind in known.items())
    row = row or "1"
    try:
        bound = con.execute(f"DESCRIBE SELECT (\n{rule}\n) FROM (SELECT {row})").fetchall()
    except duckdb.Error as error:
        raise _Wrong(str(error).partition("\n")[0]) from None
    if bound[0][1] != "BOOLEAN":
        raise _Wrong(f"it gives {bound[0][1]}, and has to give true or false (BOOLEAN)")


def _functions(con: duckdb.DuckDBPyConnection) -> _Functions:
    rows = con.execute(
        "SELECT lower(function_name), function_type, stability, macro_definition "
        "FROM duckdb_functions()"
    ).fetchall()
    kinds: dict[str, set[str]] = {}
    macros: dict[str, list[str]] = {}
    for name, kind, _, stands_for in rows:
        kinds.setdefault(name, set()).add(kind)
        if kind == "macro" and stands_for is not None:
            macros.setdefault(name, []).append(stands_for)
    return _Functions(
        kinds={name: frozenset(each) for name, each in kinds.items()},
        unsteady=frozenset(
            name for name, kind, how, _ in rows if kind == "scalar" and how != "CONSISTENT"
        ),
        macros={name: tuple(each) for name, each in macros.items()},
    )
