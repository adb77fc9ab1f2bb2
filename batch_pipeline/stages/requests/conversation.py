"""A column of turns as DuckDB sees it: one shape for lists and JSON text, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from batch_pipeline.errors import TemplateError
from batch_pipeline.stages.sql import identifier, literal, text_value

_PARTS = ("role", "content")
_TEXTS = frozenset({"VARCHAR", "JSON", "BLOB"})  # bytes are read as UTF-8
_SHOWN = 40
_TURN = "batch_pipeline_turn"  # a column of the dataset would win over a lambda's name


def prepared(column: str) -> str:
    """The name of the prepared turns of *column*: a list of role and content, both texts or null.

    The list itself is null where the value is none.
    """
    return identifier(f"turns of {column}")


def prepared_sql(column: str, kind: str) -> str:
    """The expression of `prepared`; TemplateError when a column of that type cannot hold turns."""
    value = text_value(column, kind)
    if kind in _TEXTS:
        wanted = literal('[{"role":"JSON","content":"JSON"}]')
        made = f"TRY(json_transform({value}, {wanted}))"
        texts = (
            f"'{part}': CASE WHEN json_type({_TURN}.{part}) = 'VARCHAR' "
            f"THEN {_TURN}.{part} ->> '$' END"
            for part in _PARTS
        )
    else:
        names = _fields(column, kind)
        made = value
        texts = (f"'{part}': {_TURN}.{identifier(names[part])}" for part in _PARTS)
    return f"list_transform({made}, lambda {_TURN}: {{{', '.join(texts)}}})"


def turns_sql(column: str, *, hoisted: bool) -> str:
    """The turns as JSON objects with commas between them; never none where nothing is wrong."""
    turns = _without_system(column) if hoisted else prepared(column)
    return f"to_json({turns})[2:-2]"


def system_sql(column: str) -> str:
    """The text of the system turns, null where there are none."""
    system = f"list_filter({prepared(column)}, lambda {_TURN}: {_TURN}.role = 'system')"
    contents = f"list_transform({system}, lambda {_TURN}: {_TURN}.content)"
    return f"list_aggregate({contents}, 'string_agg', e'\\n\\n')"


def characters_sql(column: str) -> str:
    """The characters of all turns; what is no turn has none."""
    lengths = f"list_transform({prepared(column)}, lambda {_TURN}: length({_TURN}.content))"
    return f"coalesce(list_sum({lengths}), 0)"


def wrong_sql(column: str, kind: str, roles: Sequence[str], *, hoisted: bool) -> str:
    """Why the row's value is no conversation of *roles* that the user ends; null where it is."""
    turns, value = prepared(column), identifier(column)
    allowed = tuple(dict.fromkeys(["system", *roles] if hoisted else roles))
    named = ", ".join(literal(role) for role in allowed)
    listed = literal(f" (allowed: {', '.join(allowed)})")
    no_role = _first(turns, f"{_TURN}.role IS NOT NULL")
    other_role = _first(turns, f"{_TURN}.role IN ({named})")
    no_text = _first(turns, f"{_TURN}.content IS NOT NULL")
    shown = f"left({turns}[{other_role}].role, {_SHOWN})"
    last = f"({_without_system(column) if hoisted else turns})[-1].role"
    broken = "'is no list of turns'"
    if kind in _TEXTS:
        text = text_value(column, kind)
        broken = f"CASE WHEN json_valid({text}) THEN {broken} ELSE 'is not JSON' END"
    return (
        f"{literal(f'column {column!r}: the conversation ')} || CASE "
        f"WHEN {value} IS NULL THEN 'is null' "
        f"WHEN {turns} IS NULL THEN {broken} "
        f"WHEN len({turns}) = 0 THEN 'has no turns' "
        f"WHEN {no_role} > 0 THEN concat('has no role in turn ', {no_role}) "
        f"WHEN {other_role} > 0 THEN concat('has the role ''', {shown}, ''' in turn ', "
        f"{other_role}, {listed}) "
        f"WHEN {no_text} > 0 THEN concat('has no text in turn ', {no_text}) "
        f"WHEN {last} IS NULL THEN 'has no turn of the user' "
        f"WHEN {last} <> 'user' THEN concat('ends with ''', {last}, ''' and not the user') END"
    )


def _without_system(column: str) -> str:
    return f"list_filter({prepared(column)}, lambda {_TURN}: {_TURN}.role <> 'system')"


def _first(turns: str, holds: str) -> str:
    """The number of the first turn for which it does not hold; null or 0 for none."""
    held = f"list_transform({turns}, lambda {_TURN}: coalesce({holds}, false))"
    return f"list_position({held}, false)"


def _fields(column: str, kind: str) -> dict[str, str]:
    """The struct's own names of role and content."""
    from duckdb.sqltypes import DuckDBPyType  # noqa: PLC0415 - `status` loads this file too

    whole = DuckDBPyType(kind)
    turn = whole.children[0][1] if whole.id in {"list", "array"} else None
    if isinstance(turn, DuckDBPyType) and turn.id == "struct":
        there = {name.lower(): (name, str(of)) for name, of in turn.children}
        if all(there.get(part, ("", ""))[1] == "VARCHAR" for part in _PARTS):
            return {part: there[part][0] for part in _PARTS}
    raise TemplateError(
        f"column {column!r} is {kind}; a conversation is a list of turns with a role and a content "
        "that are text (STRUCT(role VARCHAR, content VARCHAR)[]), or the same as JSON text."
    )
