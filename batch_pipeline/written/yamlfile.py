"""YAML files read with the line of each part; a mistake in one names its file and line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.reader import ReaderError

from batch_pipeline.errors import SpecError


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value as YAML gives it, and where it was written."""

    file: str
    value: object
    node: yaml.Node

    def line(self, where: Sequence[str | int]) -> int:
        """The 1-based line of the part at *where*, or of the deepest part of it that is there."""
        node, line = self.node, self.node.start_mark.line
        for part in where:
            found = _entry(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line
        return int(line) + 1

    def text(self, where: Sequence[str | int]) -> tuple[str, int] | None:
        """The text at *where* and the line its first line is on; None when no text is there."""
        node: yaml.Node = self.node
        for part in where:
            found = _entry(node, part)
            if found is None:
                return None
            node = found[1]
        if not isinstance(node, yaml.ScalarNode):
            return None
        below = 1 if node.style in {"|", ">"} else 0  # a block begins under its mark
        return node.value, int(node.start_mark.line) + 1 + below


def read(path: Path) -> list[Document]:
    """The documents of a file that are not empty.

    Raises SpecError for what cannot be read, is no YAML, or says a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}:{_line_of_byte(path, error.start)}: this is not UTF-8 text "
            f"({error.reason}). Save the file as UTF-8."
        ) from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}.") from None
    try:
        return list(_documents(path, yaml.SafeLoader(text)))
    except yaml.MarkedYAMLError as error:
        raise SpecError(_said(path, error)) from None
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise SpecError(
            f"{path}:{line}: not YAML: the character {chr(error.character)!r} may not stand in it."
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SpecError(f"{path}: not YAML: {error}") from None


def _documents(path: Path, loader: yaml.SafeLoader) -> Iterator[Document]:
    while loader.check_node():
        node = loader.get_node()
        if node is None:
            return
        _refuse_repeats(path, node)
        try:
            value = loader.construct_document(node)
        except ValueError as error:  # 2026-13-01 looks like a date and is none
            raise SpecError(
                f"{path}:{node.start_mark.line + 1}: a value looks like a date and is none "
                f"({error}). Write it in quotes if it is text."
            ) from None
        if value is not None:
            yield Document(str(path), value, node)


def _refuse_repeats(path: Path, root: yaml.Node) -> None:
    todo, seen = [root], set[int]()
    while todo:
        node = todo.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            _refuse_repeated_keys(path, node)
            todo += [value for _, value in node.value]


def _refuse_repeated_keys(path: Path, node: yaml.MappingNode) -> None:
    first: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            continue
        line, name = key.start_mark.line + 1, (key.tag, key.value)
        if name in first:
            raise SpecError(
                f"{path}:{line}: the key {key.value!r} is written twice, first on line "
                f"{first[name]}; only one of them would count. Keep one."
            )
        first[name] = line


def _entry(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value at *part*; an item of a list is its own key."""
    if isinstance(node, yaml.MappingNode):
        named = ((key, value) for key, value in node.value if key.value == str(part))
        return next(named, None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _said(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    at = str(path) if mark is None else f"{path}:{mark.line + 1}"
    problem = error.problem or "it cannot be read"
    hint = ""
    if "'\\t'" in problem:
        problem, hint = "a line begins with a tab", " Indent with spaces."
    elif "mapping values are not allowed" in problem:
        hint = " Text with `: ` in it has to stand in quotes, and keys of one level in one column."
    elif "unhashable" in problem or "expected <block end>" in problem:
        hint = " Text that holds { [ : or # has to stand in quotes; check the indentation too."
    return f"{at}: not YAML: {problem}.{hint}"


def _line_of_byte(path: Path, place: int) -> int:
    return path.read_bytes()[:place].count(b"\n") + 1
