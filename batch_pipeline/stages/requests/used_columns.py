"""Which columns a job uses, and whether the files of a partition can hold them side by side.

Every file is read by its own schema and printed as its own text, so that no file changes what is
asked about another's rows. What stands in one table or one rule has to be of one kind all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from batch_pipeline.errors import DatasetError
from batch_pipeline.model import Cell, Hole, Tree
from batch_pipeline.spec import BatchJob
from batch_pipeline.stages.requests.column_types import duckdb_type, family, unusable
from batch_pipeline.stages.requests.reading import Selection
from batch_pipeline.stages.requests.rules import PROMPT_CHARS, names_in
from batch_pipeline.stages.requests.sandbox import environment
from batch_pipeline.stages.requests.targets import CompiledTarget
from batch_pipeline.stages.requests.template import Names, names_of

_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}


@dataclass(frozen=True, slots=True)
class Used:
    """The columns that a job names: in templates, in cells, in rules, as key."""

    templates: Names
    cells: frozenset[str]
    rules: frozenset[str]
    keys: frozenset[str]

    @property
    def folded(self) -> frozenset[str] | None:
        """All of them in lower case; None when a template takes the row as a whole."""
        if self.templates.whole_row:
            return None
        named = self.templates.names | self.cells | self.rules | self.keys
        return frozenset(name.lower() for name in named)

    def uses(self, name: str) -> bool:
        """Whether the job may look at the column."""
        return self.folded is None or name.lower() in self.folded

    def in_rule(self, name: str) -> bool:
        """Whether a rule names the column; SQL does not mind how it is spelled."""
        return name.lower() in {rule.lower() for rule in self.rules}

    def absent_in(self, group: Selection, partition: Selection) -> dict[str, pa.DataType]:
        """Columns that this group lacks and other files have, with their type there.

        DatasetError for a cell's: an image or a conversation cannot be left out.
        """
        there = set(group.parts[0].names)
        folded = {name.lower() for name in there}
        lacking = {name for name in self.templates.names | self.cells if name not in there}
        lacking |= {name for name in self.rules if name.lower() not in folded}
        found = {name: partition.kind_of(name) for name in lacking if partition.may_use(name)}
        known = {name: kind for name, kind in found.items() if kind is not None}
        group.schema([name for name in sorted(self.cells) if name in known])
        return known


def used_columns(
    con: duckdb.DuckDBPyConnection, job: BatchJob, targets: Sequence[CompiledTarget]
) -> Used:
    """What the templates, cells and rules of *targets* name, there or not."""
    holes = list(_holes(*(compiled.body for compiled in targets)))
    env = environment()
    sources = {hole.template for hole in holes if isinstance(hole, Hole)}
    sources |= {turn.content for turn in job.request.turns}
    cells = {hole.column for hole in holes if isinstance(hole, Cell)}
    if job.request.conversation is not None:
        cells.add(job.request.conversation)
    rules = {name for compiled in targets if compiled.when for name in names_in(con, compiled.when)}
    return Used(
        templates=Names.of(names_of(source, env) for source in sorted(sources)),
        cells=frozenset(cells),
        rules=frozenset(rules - {PROMPT_CHARS}),
        keys=frozenset(job.dataset.key),
    )


def key_types(groups: Sequence[Selection], keys: Sequence[str]) -> dict[str, str]:
    """The DuckDB types that a table needs for keys whose type differs between the files.

    DatasetError for a file without a key column, or one of a type that is no name.
    """
    wanted: dict[str, str] = {}
    for key in keys:
        kinds = [group.schema([key]).field(0).type for group in groups]
        _must_match(groups, kinds, key, together=lambda one, other: "nested" not in {one, other})
        names = set()
        for group, kind in zip(groups, kinds, strict=True):
            if duckdb_type(kind) is None:
                raise unusable(group.files[0].path, key, kind)
            names.add(duckdb_type(kind))
        if len(names) > 1:
            wanted[key] = "BIGINT" if names <= _WHOLE else "VARCHAR"
    return wanted


def check_types(groups: Sequence[Selection], used: Used) -> None:
    """DatasetError for a used column that no rule, or no template, can take from all the files."""
    if len(groups) == 1:
        return
    for name in dict.fromkeys(name for group in groups for name in group.parts[0].names):
        if used.uses(name):
            kinds = [group.parts[0].kind(name) for group in groups]
            if used.in_rule(name):
                _must_match(groups, kinds, name, together=lambda one, other: one == other)
            else:
                _must_match(groups, kinds, name, together=_both_or_none_nested)


def _both_or_none_nested(one: str, other: str) -> bool:
    return (one == "nested") == (other == "nested")


def _must_match(
    groups: Sequence[Selection],
    kinds: Sequence[pa.DataType | None],
    name: str,
    *,
    together: Callable[[str, str], bool],
) -> None:
    """Compare all with the first that says something; equal types are always right."""
    there = [
        (group.files[0].path, kind)
        for group, kind in zip(groups, kinds, strict=True)
        if kind is not None and not pa.types.is_null(kind)
    ]
    for path, kind in there[1:]:
        first, wanted = there[0]
        if kind != wanted and not together(family(wanted), family(kind)):
            raise DatasetError(
                f"{path}: column {name!r} is {kind} here and {wanted} in {first}, of the same "
                "partition: nothing holds both without loss. Give the files of a partition one "
                "type for it."
            )


def _holes(*trees: Tree) -> Iterator[Hole | Cell]:
    for tree in trees:
        if isinstance(tree, Hole | Cell):
            yield tree
        elif isinstance(tree, Mapping):
            yield from _holes(*tree.values())
        elif isinstance(tree, Sequence) and not isinstance(tree, str):
            yield from _holes(*tree)
