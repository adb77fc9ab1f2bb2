"""SQL that finds the code and the words of an error, however a provider or a gateway wraps it."""

from __future__ import annotations

from collections.abc import Sequence

CONTENT_FILTER = (
    "('content_filter', 'content_policy_violation', 'ResponsibleAIPolicyViolation', "
    "'moderation_blocked')"
)
"""SQL list of the codes of an answer that a filter withheld: refused, and billed perhaps."""


def given(name: str) -> str:
    """Whether JSON says something: null, false, 0, "", {} and [] are nothing."""
    return (
        f"({name} IS NOT NULL AND {name}::VARCHAR NOT IN ('null','false','0','\"\"','{{}}','[]'))"
    )


def unwrapped(name: str) -> str:
    """The innermost error object of the JSON *name*: {error: {error: {…}}}, or JSON in a text."""
    return _once(_once(name))


def _once(name: str) -> str:
    quoted = f"TRY(json({name} ->> '$'))"
    return f"""CASE
        WHEN json_type({name}) = 'VARCHAR' AND starts_with(ltrim({name} ->> '$'), '{{')
            AND json_valid({name} ->> '$') THEN {quoted}
        WHEN json_type({name} -> 'error') = 'OBJECT' THEN {name} -> 'error'
        ELSE {name} END"""


def member(name: str, key: str) -> str:
    """A member of the JSON *name* as text; null where it is empty or not there."""
    return f"nullif({name} ->> '{key}', '')"


def code(name: str) -> str:
    """The code of an unwrapped error, else its type."""
    return f"coalesce({member(name, 'code')}, {member(name, 'type')})"


def words(name: str) -> str:
    """A text as it stands, anything else that is there as its JSON."""
    text = f"CASE WHEN json_type({name}) = 'VARCHAR' THEN {name} ->> '$' ELSE {name}::VARCHAR END"
    return f"CASE WHEN {given(name)} THEN {text} END"


def message(name: str) -> str:
    """The words of an unwrapped error: its message, its detail, or itself where it is a text."""
    itself = f"(CASE WHEN json_type({name}) IN ('VARCHAR', 'ARRAY') THEN {name} END)"
    places = [f"({name} -> '$.message.detail')", f"({name} -> 'message')", f"({name} -> 'detail')"]
    return f"coalesce({', '.join(words(place) for place in [*places, itself])})"


def first(of_one: str, problems: Sequence[str]) -> str:
    """SQL of the first that is not null of *of_one*, an expression over `one`, of the problems.

    A lambda is planned once: spelled out for each, planning takes half as long again.
    """
    every = f"list_transform([{', '.join(problems)}], lambda one: {of_one})"
    return f"list_filter({every}, lambda found: found IS NOT NULL)[1]"
