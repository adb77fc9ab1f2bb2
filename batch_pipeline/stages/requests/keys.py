"""What names a row: its full key as text, its custom_id, and the check that keys are unique."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from batch_pipeline.errors import DatasetError, SpecError
from batch_pipeline.stages.schemas import RESULTS
from batch_pipeline.stages.sql import identifier, literal

REQUEST_COLUMNS = [
    *("partition", "key", "custom_id", "content_hash", "target", "offset", "bytes", "rejected")
]
_BETWEEN = "\x1f"
_SLUG = 40
_DIGEST = 16
_OPAQUE_DIGEST = 32


def check_names(keys: Sequence[str], *, job: str) -> None:
    """SpecError when a key column would collide with a column that every table has."""
    taken = {name.lower() for name in (*(one.name for one in RESULTS), *REQUEST_COLUMNS)}
    for name in keys:
        if name.lower() in taken:
            raise SpecError(
                f"{job}: dataset.key names the column {name!r}, which is also a column of the "
                "request and result tables. Rename it in the dataset, for example to "
                f"{'row_' + name!r}."
            )
    if len({name.lower() for name in keys}) < len(keys):
        raise SpecError(f"{job}: dataset.key names a column twice: {', '.join(keys)}.")


def key_sql(keys: Sequence[str], types: Mapping[str, str]) -> str:
    """The full key as text, null when a part is: the one column's text, or a JSON array."""
    texts = [_text(name, types[name]) for name in keys]
    if len(texts) == 1:
        return texts[0]
    whole = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in keys)
    return f"CASE WHEN {whole} THEN CAST(to_json([{', '.join(texts)}]) AS VARCHAR) END"


def custom_id_sql(key: str, *, scope: str, opaque: bool) -> str:
    """The custom_id of the text expression *key*: a portable slug and a digest, or only that.

    *scope* is `scope_sql` of the row's job and partition.
    """
    digest = f"sha256(concat({scope}, {key}))"
    if opaque:
        return f"left({digest}, {_OPAQUE_DIGEST})"
    slug = f"regexp_replace({key}, '[^A-Za-z0-9_]+', '-', 'g')"
    short = f"rtrim(left(ltrim({slug}, '-'), {_SLUG}), '-')"
    # Trimming costs as much as the rest; most slugs are short and begin and end well.
    clean = f"length({slug}) <= {_SLUG} AND NOT (starts_with({slug}, '-') OR suffix({slug}, '-'))"
    named = f"CASE WHEN {clean} THEN {slug} ELSE {short} END"
    dash = f"CASE WHEN {named} = '' THEN '' ELSE '-' END"
    return f"concat({named}, {dash}, left({digest}, {_DIGEST}))"


def scope_sql(job: str, partition: str | None, *, column: str) -> str:
    """What a digest begins with, as arguments of concat: job and partition, or the *column* of it.

    A literal where all rows are of one partition: it is the same text, and quicker.
    """
    if partition is not None:
        return literal(f"{job}{_BETWEEN}{partition}{_BETWEEN}")
    return f"{literal(job + _BETWEEN)}, {identifier(column)}, {literal(_BETWEEN)}"


def repeated(where: str, keys: Sequence[str], names: Iterable[str]) -> DatasetError:
    """The error for keys that more than one row of a partition has."""
    return DatasetError(
        f"{where}: the key {_named(keys)} is not unique, the first repeated values are "
        f"{', '.join(repr(name) for name in names)}. Every row needs a key of its own: name "
        "another column (or several) in dataset.key."
    )


def missing(where: str, keys: Sequence[str], row: int) -> DatasetError:
    """The error for a row without a key; *row* counts from 1 in the partition."""
    return DatasetError(
        f"{where}: the key {_named(keys)} is null in row {row}. Every row needs a key: fill the "
        "column, take such rows out, or name another column in dataset.key."
    )


def unmatched(where: str, rows: int, names: Iterable[str]) -> DatasetError:
    """The error for rows that no target takes; *names* are the first ones' keys."""
    what, more = (
        ("1 row matches", "its key is")
        if rows == 1
        else (f"{rows:,} rows match", "the first keys are")
    )
    return DatasetError(
        f"{where}: {what} the `when` of no target; {more} "
        f"{', '.join(repr(name) for name in names)}. Add a target without `when` as the last one: "
        "it takes what is left. (A `when` that is null for a row does not match it.)"
    )


def _named(keys: Sequence[str]) -> str:
    return ", ".join(repr(key) for key in keys)


def _text(name: str, kind: str) -> str:
    quoted = identifier(name)
    if kind == "TIMESTAMP WITH TIME ZONE":  # its plain text depends on the session's timezone
        return f"concat(CAST(timezone('UTC', {quoted}) AS VARCHAR), '+00')"
    return f"CAST({quoted} AS VARCHAR)"
