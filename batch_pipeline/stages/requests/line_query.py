"""The one query that makes partitions' rows into request lines, with what else is told of a row.

It is built in layers, each a SELECT over the one below; a layer that nothing needs is left out.
"""
# ruff: noqa: S608 - names and texts are quoted, and rules have been checked

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import duckdb
import numpy as np
import pyarrow as pa

from batch_pipeline.model import Envelope
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.requests.keys import custom_id_sql, key_sql, scope_sql
from batch_pipeline.stages.requests.prompt_chars import PromptChars, prompt_chars
from batch_pipeline.stages.requests.reading import Selection
from batch_pipeline.stages.requests.rows import NUMBER, PARTITION, VIEW, Rows
from batch_pipeline.stages.requests.rules import PROMPT_CHARS, check_rules, rule_sql
from batch_pipeline.stages.requests.targets import CompiledTarget
from batch_pipeline.stages.requests.template import Skeleton, compile_body
from batch_pipeline.stages.requests.used_columns import (
    Used,
    check_types,
    key_types,
    used_columns,
)
from batch_pipeline.stages.sql import identifier, literal

KEY_HASH, TARGET, REJECTED = "hash", "target", "rejected"
# Computed columns stand beside the dataset's own, so their names are none that one would have.
_TARGET, _REJECTED = (identifier(f"batch_pipeline: {name}") for name in ("target", "reason"))


@dataclass(frozen=True, slots=True)
class LineQuery:
    """The rows to read, and a query over those of each run of files with equal columns.

    *partitions* are their names, by number. They yield the key columns, then key, custom_id, line
    and KEY_HASH, of 64 bits; then TARGET, the number of a target, if there are rules (null: none
    matched), and REJECTED if there are cells: why the row has no line.
    """

    partitions: Sequence[str]
    runs: Sequence[Run]

    def batches(
        self, con: duckdb.DuckDBPyConnection, where: str
    ) -> Generator[tuple[int, pa.RecordBatch]]:
        """The batches of each partition in turn, with its number; the first of each is empty."""
        begun = -1
        for run in self.runs:
            with closing(run.rows.query(con, run.sql, where=where)) as made:
                empty = next(made)
                for number, batch in chain.from_iterable(map(_by_partition, made)):
                    yield from ((new, empty) for new in range(begun + 1, number + 1))
                    begun = max(begun, number)
                    yield number, batch
                last = run.rows.selections[-1][0]
                yield from ((new, empty) for new in range(begun + 1, last + 1))
                begun = last

    def repeated(
        self, con: duckdb.DuckDBPyConnection, number: int, hashes: Sequence[int], where: str
    ) -> list[str]:
        """Keys of a partition with one of *hashes* that more than one row has, sorted."""
        times: Counter[str] = Counter()
        for run in self.runs:
            mine = [one for one in run.rows.selections if one[0] == number]
            query = (
                f"SELECT key, count(*) FROM (SELECT {run.key} AS key FROM {identifier(VIEW)}) "
                f"WHERE hash(key) IN ({', '.join(map(str, hashes))}) GROUP BY key"
            )
            rows = Rows(mine, run.rows.keys, ())
            for batch in rows.query(con, query, where=where) if mine else ():
                times.update(dict(zip(*(c.to_pylist() for c in batch.columns), strict=True)))
        return sorted(key for key, count in times.items() if count > 1)


def _by_partition(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each partition in *batch*, which has them one after the other."""
    if NUMBER not in batch.schema.names:
        yield 0, batch
        return
    numbers = batch[NUMBER].to_numpy()
    edges = np.flatnonzero(np.diff(numbers, prepend=-1, append=-1)).tolist()
    for first, end in pairwise(edges):
        yield int(numbers[first]), batch.slice(first, end - first)


@dataclass(frozen=True, slots=True)
class Run:
    """Files with equal columns: what is read of them, the query, and the text of their key."""

    rows: Rows
    sql: str
    key: str


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the targets come to over the dataset's columns."""

    bodies: Sequence[Skeleton]
    size: PromptChars
    rules: Sequence[str | None]
    reads: frozenset[str]

    @property
    def routed(self) -> bool:
        """Whether a row has to be asked where it goes."""
        return self.rules != [None]

    @property
    def prepared(self) -> dict[str, str]:
        """Expressions over the row's own columns that others are made of, by name."""
        cells = chain(self.size.cells, *(body.cells for body in self.bodies))
        return {name: sql for cell in cells for name, sql in cell.prepared}

    @property
    def reasons(self) -> list[str]:
        """For each target, why a row cannot be sent there; null where it can."""
        wrongs = (
            dict.fromkeys([*(cell.wrong for cell in body.cells), *body.garbled])
            for body in self.bodies
        )
        known = ([wrong for wrong in each if wrong is not None] for each in wrongs)
        return [f"coalesce({', '.join(each)})" if each else "NULL" for each in known]

    def rows(
        self, selections: Sequence[tuple[int, Selection]], keys: Sequence[str], names: Sequence[str]
    ) -> Rows:
        """The rows with every column that a part needs."""
        templates = chain(self.size.templates, *(body.templates for body in self.bodies))
        cells = chain(self.size.cells, *(body.cells for body in self.bodies))
        garbled = chain(*(each.bytes for body in self.bodies for each in body.templates))
        also = [*(cell.column for cell in cells), *sorted(self.reads), *garbled]
        return Rows(selections, keys, list(dict.fromkeys(templates)), also, names)


def line_query(
    con: duckdb.DuckDBPyConnection,
    job: BatchJob,
    targets: Sequence[CompiledTarget],
    selections: Mapping[str, Selection],
) -> LineQuery:
    """Compile the targets' bodies and rules over the columns of each file of the partitions.

    Neighbouring files of equal columns are one query, whichever partitions they are of. Raises
    TemplateError, SpecError and DatasetError for what those columns cannot fill.
    """
    used = used_columns(con, job, targets)
    parts: dict[_Look, _Parts] = {}
    alike: list[tuple[_Look, list[tuple[int, Selection]]]] = []
    for number, selection in enumerate(selections.values()):
        for look, group in _looks(job, selection, used):
            if look not in parts:
                parts[look] = _parts(con, job, targets, group, frozenset(look.absent))
            if not alike or alike[-1][0] != look:
                alike.append((look, []))
            alike[-1][1].append((number, group))
    rejects = any(reason != "NULL" for each in parts.values() for reason in each.reasons)
    names = list(selections)
    return LineQuery(
        names, [_run(job, targets, of, parts[look], look, names, rejects) for look, of in alike]
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """What a query over files depends on: the types of what is used, there or absent."""

    used: tuple[tuple[str, str], ...]
    absent: tuple[str, ...]
    absent_kinds: tuple[str, ...]
    cast: tuple[tuple[str, str], ...]  # key columns whose type differs between the files
    has_prompt_chars: bool


def _looks(job: BatchJob, selection: Selection, used: Used) -> Iterator[tuple[_Look, Selection]]:
    """The files of a partition with equal columns, in order."""
    groups = selection.groups(used.folded)
    keys = key_types(groups, job.dataset.key)
    check_types(groups, used)
    for group in groups:
        absent = dict(sorted(used.absent_in(group, selection).items()))
        first = group.parts[0]
        look = _Look(
            used=first.looks(used.folded),
            absent=tuple(absent),
            absent_kinds=tuple(map(str, absent.values())),
            cast=tuple(sorted(keys.items())),
            has_prompt_chars=PROMPT_CHARS in {name.lower() for name in first.names},
        )
        in_rules = {name: kind for name, kind in absent.items() if name in used.rules}
        yield look, replace(group, absent=in_rules)


def _run(  # noqa: PLR0917 - what one query is made of
    job: BatchJob,
    targets: Sequence[CompiledTarget],
    selections: Sequence[tuple[int, Selection]],
    parts: _Parts,
    look: _Look,
    names: Sequence[str],
    rejects: bool,  # noqa: FBT001 - of all runs of the query
) -> Run:
    many = names if len(names) > 1 else ()
    rows = parts.rows(selections, job.dataset.key, many)
    source = _over(identifier(VIEW), parts.prepared)
    if parts.size.turns or parts.size.cells:
        source = _over(source, {PROMPT_CHARS: parts.size.sql(rows.text_of)})
    told: dict[str, str] = {}
    if parts.routed:
        source = _over(source, {_TARGET: _target_sql(parts.rules)})
        told[TARGET] = _TARGET
    if rejects:
        source = _over(source, {_REJECTED: f"CAST({_by_target(parts.reasons)} AS VARCHAR)"})
        told[REJECTED] = _REJECTED
    body = _by_target([one.sql([rows.text_of(t) for t in one.templates]) for one in parts.bodies])
    line = _by_target([_line_sql(compiled.envelope) for compiled in targets])
    if REJECTED in told:
        line = f"CASE WHEN {_REJECTED} IS NULL THEN {line} END"
    if many:
        told |= {identifier(name): identifier(name) for name in (NUMBER, PARTITION)}
    scope = scope_sql(job.name, None if many else names[0], column=PARTITION)
    first, cast = selections[0][1], dict(look.cast)
    query = _query(job, first, scope, source, body, line, told, cast)
    return Run(rows, query, key_sql(job.dataset.key, first.kinds))


def _parts(
    con: duckdb.DuckDBPyConnection,
    job: BatchJob,
    targets: Sequence[CompiledTarget],
    selection: Selection,
    absent: frozenset[str],
) -> _Parts:
    columns = selection.columns
    whens = {
        compiled.target.name: compiled.when for compiled in targets if compiled.when is not None
    }
    reads = frozenset(chain.from_iterable(check_rules(con, whens, columns).values()))
    own = frozenset({PROMPT_CHARS} - columns.keys())
    size = prompt_chars(job.request, columns, absent) if own & reads else PromptChars()
    return _Parts(
        bodies=[compile_body(compiled.body, columns, absent) for compiled in targets],
        size=size,
        rules=[compiled.when for compiled in targets],
        reads=reads - own,
    )


def _over(source: str, computed: Mapping[str, str]) -> str:
    """A layer over *source* with further columns, by their names."""
    if not computed:
        return source
    columns = ", ".join(f"{sql} AS {name}" for name, sql in computed.items())
    return f"(SELECT *, {columns} FROM {source})"


def _target_sql(rules: Iterable[str | None]) -> str:
    """The number of the first rule that is true; null is no match."""
    cases: list[str] = []
    for number, rule in enumerate(rules):
        if rule is None:
            return f"CASE {' '.join(cases)} ELSE {number} END" if cases else str(number)
        cases.append(f"WHEN {rule_sql(rule)} THEN {number}")
    return f"CASE {' '.join(cases)} END"


def _by_target(expressions: Sequence[str]) -> str:
    """The expression of the row's target; without a case where all say the same."""
    if len(set(expressions)) == 1:
        return expressions[0]
    cases = (f"WHEN {number} THEN {sql}" for number, sql in enumerate(expressions))
    return f"CASE {_TARGET} {' '.join(cases)} END"


def _line_sql(envelope: Envelope) -> str:
    return (
        f"concat({literal(envelope.before_id)}, '\"', custom_id, '\"', "
        f"{literal(envelope.before_body)}, body, {literal(envelope.after_body)})"
    )


def _query(  # noqa: PLR0913, PLR0917 - the layers, from below
    job: BatchJob,
    selection: Selection,
    scope: str,
    source: str,
    body: str,
    line: str,
    told: Mapping[str, str],
    cast: Mapping[str, str],
) -> str:
    keys, opaque = job.dataset.key, job.custom_id == "opaque"
    names = [f'"key {place}"' for place in range(len(keys))]
    kinds = selection.kinds
    values = [
        f"CAST({key_sql([key], kinds)} AS {cast[key]})" if key in cast else identifier(key)
        for key in keys
    ]
    given = [f"{value} AS {name}" for value, name in zip(values, names, strict=True)]
    key = key_sql(keys, kinds)
    custom_id = custom_id_sql("key", scope=scope, opaque=opaque)
    columns = [*names, "key", "custom_id", f"{line} AS line", f"hash(key) AS {KEY_HASH}"]
    columns += [f"{computed} AS {name}" for name, computed in told.items()]
    made = [*given, f"{key} AS key", f"{body} AS body", *told.values()]
    return (
        f"SELECT {', '.join(columns)} FROM (SELECT *, {custom_id} AS custom_id "
        f"FROM (SELECT {', '.join(made)} FROM {source}))"
    )
