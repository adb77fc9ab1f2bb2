"""Request templates, compiled once: to a DuckDB expression where that is exact, else for Jinja2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from jinja2 import Environment, Template, TemplateSyntaxError, meta, nodes

from batch_pipeline.errors import TemplateError
from batch_pipeline.model import Cell, Form, Hole, Tree
from batch_pipeline.stages.cells import CellText, compile_cell
from batch_pipeline.stages.sandbox import environment
from batch_pipeline.stages.spelling import there_are
from batch_pipeline.stages.twins import literal, twin_of


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template over *columns*: exactly one of fixed text, a DuckDB text expression, Jinja2.

    Equal sources are equal: a template that several bodies have is rendered once.
    """

    columns: tuple[str, ...]
    source: str
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
def _said_of(source: str) -> Iterator[None]:
    try:
        source.encode("utf-8")
        yield
    except TemplateSyntaxError as error:
        raise TemplateError(
            f"template line {error.lineno}: {(error.message or '').rstrip('.')}. The line is: "
            f"{_line(source, error.lineno)!r}.",
            template=source,
            line=error.lineno,
        ) from None
    except UnicodeEncodeError as error:
        raise TemplateError(
            f"the template is not Unicode text: {error}.", template=source
        ) from None


def compile_template(source: str, columns: Mapping[str, str], *, env: Environment) -> Compiled:
    """Compile *source* over *columns* (name -> DuckDB type).

    Raises TemplateError for bad syntax, with its line, and for a column that is not there.
    """
    with _said_of(source):
        tree = env.parse(source)
        jinja = env.from_string(source)
    names = _columns_of(source, tree, columns, env)
    pieces = [_piece(node, columns) for node in _printed(tree)]
    if any(piece is None for piece in pieces):
        return Compiled(names, source, jinja=jinja)
    known = [piece for piece in pieces if piece is not None]
    if not names:
        return Compiled((), source, fixed="".join(text for text, _ in known))
    return Compiled(names, source, sql=f"concat({', '.join(sql for _, sql in known)})")


def compile_body(body: Tree, columns: Mapping[str, str]) -> Skeleton:
    """The body's JSON, keys in their given order, with a Compiled where a hole depends on a row.

    Raises TemplateError for a template or a cell that *columns* cannot fill.
    """
    env = environment()
    parts: list[str | Compiled | CellText] = []
    for part in _walk(body, columns, env):
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return Skeleton(tuple(parts))


def _walk(
    tree: Tree, columns: Mapping[str, str], env: Environment
) -> Iterator[str | Compiled | CellText]:
    if isinstance(tree, Hole):
        compiled = compile_template(tree.template, columns, env=env)
        yield compiled if compiled.fixed is None else _json(compiled.fixed)
    elif isinstance(tree, Cell):
        yield compile_cell(tree, columns)
    elif isinstance(tree, Mapping):
        yield "{"
        yield from _members(tree, columns, env)
        yield "}"
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        for place, value in enumerate(tree):
            yield "[" if place == 0 else ","
            yield from _walk(value, columns, env)
        yield "]" if tree else "[]"
    else:
        yield _json(tree)


def _members(
    tree: Mapping[str, Tree], columns: Mapping[str, str], env: Environment
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
            yield from _walk(value, columns, env)
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
    twin = twin_of(node, columns)
    return None if twin is None else ("", twin.text)


def _columns_of(
    source: str, tree: nodes.Template, columns: Mapping[str, str], env: Environment
) -> tuple[str, ...]:
    # Jinja calls its own functions undeclared too; a column of the same name wins.
    used = meta.find_undeclared_variables(tree)
    for name in sorted(used - set(columns) - set(env.globals)):
        lines = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name]
        raise TemplateError(
            f"template line {min(lines)}: {name!r} is no column of the dataset."
            f"{there_are(name, columns)} The line is: {_line(source, min(lines))!r}.",
            template=source,
            line=min(lines),
        )
    return tuple(name for name in columns if name in used)


def _line(source: str, number: int) -> str:
    lines = source.splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
