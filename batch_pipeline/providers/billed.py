"""What a result line says was billed beside plain tokens, as one JSON object: name -> count."""

from __future__ import annotations

from collections.abc import Mapping


def extras_sql(counts: Mapping[str, str], *, others: str | None = None) -> str:
    """SQL of the JSON text of the *counts* (name -> SQL of a number) that are more than nothing.

    *others* is SQL of a list of STRUCT(k VARCHAR, v BIGINT), for names known only from the line.
    Null where nothing was billed beside tokens.
    """
    entries = ", ".join(
        f"{{'k': '{name}', 'v': TRY_CAST({count} AS BIGINT)}}" for name, count in counts.items()
    )
    every = f"[{entries}]" if others is None else f"list_concat([{entries}], {others})"
    more = f"list_filter({every}, lambda entry: entry.v > 0)"
    # The cheap question first: most rows have none.
    return f"CASE WHEN len({more}) > 0 THEN to_json(map_from_entries({more}))::VARCHAR END"


def counted_sql(names: str, *, known: str) -> str:
    """SQL of `others` for extras_sql: how often each of the list *names* that is not *known* is."""
    strange = f"list_filter({names}, lambda name: name IS NOT NULL AND name NOT IN {known})"
    return (
        f"list_transform(list_sort(list_distinct({strange})), lambda one: "
        f"{{'k': one, 'v': len(list_filter({strange}, lambda name: name = one))::BIGINT}})"
    )


def unread_sql(names: str, *, known: str) -> str:
    """SQL of what an answer holds that is not read: the distinct *names* not *known*, as text."""
    strange = f"list_filter({names}, lambda name: name IS NOT NULL AND name NOT IN {known})"
    return f"nullif(array_to_string(list_sort(list_distinct({strange})), ', '), '')"


EMPTY_WORDS = (
    "CASE WHEN unread IS NULL THEN 'The answer holds nothing; it was billed.' "
    "ELSE 'The answer holds nothing that is read, but: ' || unread || '. See raw.' END"
)
"""SQL of the message of an `empty` row; *unread* names what there is instead."""
