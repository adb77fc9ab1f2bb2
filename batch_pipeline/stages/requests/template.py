"""Request templates, compiled once: to a DuckDB expression where that is exact, else for Jinja2."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from jinja2 import Environment, Template, TemplateSyntaxError, meta, nodes

from batch_pipeline.errors import TemplateError
from batch_pipeline.model import Cell, Form, Hole, Tree
from batch_pipeline.stages.requests.cells import CellText, compile_cell
from batch_pipeline.stages.requests.expressions import expression_of, row_name
from batch_pipeline.stages.requests.sandbox import environment
from batch_pipeline.stages.requests.suggestions import ROW, in_braces, there_are
from batch_pipeline.stages.sql import literal, not_text


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template over *columns*: exactly one of fixed text, a DuckDB text expression, Jinja2.

    Equal sources are equal: a template that several bodies have is rendered once.
    """

    columns: tuple[str, ...]
    source: str
    absent: tuple[str, ...] = ()  # columns it names that the rows' file lacks
    bytes: tuple[str, ...] = ()  # those of its columns that hold bytes, and have to be UTF-8
    fixed: str | None = None
    sql: str | None = None
    jinja: Template | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A request body as text with holes in it: pieces of JSON, JSON strings to be, cells."""

    parts: tuple[str | Compiled | CellText, ...]

    @property
    def templates(self) -> list[Compiled]:
        """The templates, in the order of their holes."""
        return [part for part in self.parts if isinstance(part, Compiled)]

    @property
    def cells(self) -> list[CellText]:
        """The cells, in order."""
        return [part for part in self.parts if isinstance(part, CellText)]

    @property
    def garbled(self) -> list[str]:
        """Expressions of why a row's bytes are no text; null where they are."""
        named = dict.fromkeys(name for each in self.templates for name in each.bytes)
        return [not_text(name) for name in named]

    def sql(self, rendered: Sequence[str]) -> str:
        """The DuckDB expression of the body; *rendered* names a text per template in turn."""
        texts = iter(rendered)
        return f"concat({', '.join(_sql(part, texts) for part in self.parts)})"


def _sql(part: str | Compiled | CellText, texts: Iterator[str]) -> str:
    if isinstance(part, CellText):
        return part.sql
    return literal(part) if isinstance(part, str) else f"to_json({next(texts)})"


def check_syntax(source: str) -> None:
    """TemplateError, with its line, when *source* is no template; needs no columns."""
    env = environment()
    with _said_of(source):
        env.from_string(source)


@contextmanager
def _said_of(source: str, columns: Iterable[str] = ()) -> Iterator[None]:
    try:
        source.encode("utf-8")
        yield
    except TemplateSyntaxError as error:
        raise TemplateError(
            f"template line {error.lineno}: {(error.message or '').rstrip('.')}."
            f"{in_braces(columns)} The line is: "
            f"{_line(source, error.lineno)!r}.",
            template=source,
            line=error.lineno,
        ) from None
    except UnicodeEncodeError as error:
        raise TemplateError(
            f"the template is not Unicode text: {error}.", template=source
        ) from None


@dataclass(frozen=True, slots=True)
class Names:
    """The names that templates take from the row; *whole_row* where they may take any."""

    names: frozenset[str]
    whole_row: bool = False

    @classmethod
    def of(cls, several: Iterable[Names]) -> Names:
        """Those of several templates."""
        each = list(several)
        names = frozenset(name for one in each for name in one.names)
        return cls(names, any(one.whole_row for one in each))


def names_of(source: str, env: Environment) -> Names:
    """What *source* takes from the row; nothing of what is no template."""
    try:
        tree = env.parse(source)
    except TemplateSyntaxError:
        return Names(frozenset())
    plain = meta.find_undeclared_variables(tree) - set(env.globals)
    return Names(frozenset(plain | set(_of_row(tree))), _takes_row(tree))


def _of_row(tree: nodes.Template) -> dict[str, int]:
    """The columns named as `row["name"]` or `row.name`, each with its first line."""
    found: dict[str, int] = {}
    for node in tree.find_all((nodes.Getitem, nodes.Getattr)):
        name = row_name(node)
        if name is not None:
            found.setdefault(name, node.lineno)
    return found


def _takes_row(tree: nodes.Template) -> bool:
    """Whether the row is used in any other way: as a whole, or by a name that is computed."""
    if ROW not in meta.find_undeclared_variables(tree):
        return False
    parts = tree.find_all((nodes.Getitem, nodes.Getattr))
    named = [part for part in parts if row_name(part) is not None]
    return len(named) < len([node for node in tree.find_all(nodes.Name) if node.name == ROW])


def compile_template(
    source: str,
    columns: Mapping[str, str],
    absent: Collection[str] = (),
    *,
    env: Environment,
) -> Compiled:
    """Compile *source* over *columns* (name -> DuckDB type).

    *absent* are columns of other files: it may name them, and does without.

    Raises TemplateError for bad syntax, with its line, and for a column that is not there.
    """
    with _said_of(source, columns):
        tree = env.parse(source)
        jinja = env.from_string(source)
    names, lacking = _columns_of(source, tree, columns, absent, env)
    blobs = tuple(name for name in names if columns[name] == "BLOB")
    known = dict.fromkeys(columns, "") | _for_sql(names, columns)
    pieces = [_piece(node, known) for node in _printed(tree)]
    if any(piece is None for piece in pieces):
        return Compiled(names, source, lacking, blobs, jinja=jinja)
    texts = [piece for piece in pieces if piece is not None]
    if not names:
        return Compiled((), source, fixed="".join(text for text, _ in texts))
    said = f"concat({', '.join(sql for _, sql in texts)})"
    return Compiled(names, source, lacking, blobs, sql=said)


def _for_sql(names: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """The types of *names* but of those that differ in case alone: DuckDB knows one of them."""
    often = Counter(name.lower() for name in columns)
    return {name: columns[name] for name in names if often[name.lower()] == 1}


def compile_body(body: Tree, columns: Mapping[str, str], absent: Collection[str] = ()) -> Skeleton:
    """The body's JSON, keys in their given order, with a Compiled where a hole depends on a row.

    Raises TemplateError for a template or a cell that *columns* cannot fill.
    """
    env = environment()
    parts: list[str | Compiled | CellText] = []
    for part in _walk(body, columns, absent, env):
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return Skeleton(tuple(parts))


def _walk(
    tree: Tree, columns: Mapping[str, str], absent: Collection[str], env: Environment
) -> Iterator[str | Compiled | CellText]:
    if isinstance(tree, Hole):
        compiled = compile_template(tree.template, columns, absent, env=env)
        yield compiled if compiled.fixed is None else _json(compiled.fixed)
    elif isinstance(tree, Cell):
        yield compile_cell(tree, columns)
    elif isinstance(tree, Mapping):
        yield "{"
        yield from _members(tree, columns, absent, env)
        yield "}"
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        for place, value in enumerate(tree):
            yield "[" if place == 0 else ","
            yield from _walk(value, columns, absent, env)
        yield "]" if tree else "[]"
    else:
        yield _json(tree)


def _members(
    tree: Mapping[str, Tree], columns: Mapping[str, str], absent: Collection[str], env: Environment
) -> Iterator[str | Compiled | CellText]:
    """The members with commas; one that a row may lack takes its comma from a neighbour's side."""
    may_lack = [_may_lack(value) for value in tree.values()]
    always = may_lack.index(False) if False in may_lack else 0
    for place, (key, value) in enumerate(tree.items()):
        before, after = ("," if place > always else ""), ("," if place < always else "")
        if isinstance(value, Cell) and may_lack[place]:
            cell = compile_cell(value, columns)
            # DuckDB's || is null where the value is, and concat() leaves nulls out.
            member = f"{literal(f'{before}{_json(key)}:')} || {cell.sql} || {literal(after)}"
            yield replace(cell, sql=f"({member})")
        else:
            yield f"{before}{_json(key)}:"
            yield from _walk(value, columns, absent, env)
            yield after


def _may_lack(value: Tree) -> bool:
    return isinstance(value, Cell) and value.form is Form.SYSTEM


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _printed(tree: nodes.Template) -> list[nodes.Node]:
    """What the template prints in turn; a statement among it stands for itself."""
    found: list[nodes.Node] = []
    for node in tree.body:
        found += node.nodes if isinstance(node, nodes.Output) else [node]
    return found


def _piece(node: nodes.Node, columns: Mapping[str, str]) -> tuple[str, str] | None:
    """The node as (fixed text, DuckDB expression), or None when only Jinja2 can print it."""
    if isinstance(node, nodes.TemplateData):
        return node.data, literal(node.data)
    found = expression_of(node, columns)
    return None if found is None else ("", found.text)


def _columns_of(
    source: str,
    tree: nodes.Template,
    columns: Mapping[str, str],
    absent: Collection[str],
    env: Environment,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that are used, and those of them that the rows' file lacks."""
    # Jinja calls its own functions undeclared too; a column of the same name wins.
    used = meta.find_undeclared_variables(tree)
    lines = {n.name: n.lineno for n in reversed(list(tree.find_all(nodes.Name)))}
    if ROW in used and ROW not in columns and ROW not in absent:
        lines |= _of_row(tree)
        used = (used - {ROW}) | set(_of_row(tree)) | (set(columns) if _takes_row(tree) else set())
    there = [*columns, *sorted(absent)]
    for name in sorted(used - set(there) - set(env.globals)):
        raise TemplateError(
            f"template line {lines[name]}: {name!r} is no column of the dataset."
            f"{there_are(name, there)}{in_braces(there)} The line is: "
            f"{_line(source, lines[name])!r}.",
            template=source,
            line=lines[name],
        )
    return tuple(n for n in columns if n in used), tuple(n for n in sorted(absent) if n in used)


def _line(source: str, number: int) -> str:
    lines = source.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
