"""Answers that need no validator: msgspec reads them and writes the same bytes again.

Most schemas say types and names and no more, and most answers are written as we would write them.
msgspec checks such an answer while it reads. Written again it has the schema's own keys, each once
and in order: where that is what stands there, byte for byte, the answer is valid and is its own
`output`. Everything else is for `validate`, whose word counts; so what is here may be stricter
than a schema and never more lenient (`test_plain_answers.py` compares the two).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Annotated, Literal, Union

import msgspec
from pydantic import JsonValue

from batch_pipeline.stages.results import typed_output

_INTEGER = Annotated[int, msgspec.Meta(ge=typed_output.LEAST, le=typed_output.MOST)]
_SCALARS: Mapping[str, object] = {
    "string": str,
    "integer": _INTEGER,
    "number": _INTEGER | float,
    "boolean": bool,
    "null": NoneType,
}
_NO_RULES = frozenset({
    *("title", "description", "default", "examples", "$comment", "deprecated"),
    *("readOnly", "writeOnly", "$defs", "definitions"),
})  # fmt: skip
_OF_TYPES = {"object": {"properties", "required", "additionalProperties"}, "array": {"items"}}
_REFERENCE = re.compile(r"#/(\$defs|definitions)/([^/%~]+)")
_CONTAINERS = 100  # of a schema without recursion: no answer of it is nested more deeply
_ENCODER = msgspec.json.Encoder()
_REFUSED = (msgspec.MsgspecError, ValueError, RecursionError)


@dataclass(frozen=True)
class Plain:
    """What reads the plain answers of a schema."""

    decoder: msgspec.json.Decoder[object]

    @classmethod
    def of(cls, schema: Mapping[str, JsonValue]) -> Plain | None:
        """None for a schema with rules beyond types, names, enums of texts and integers."""
        root = {word: value for word, value in schema.items() if word != "$schema"}
        parts = [part for _, part in typed_output.parts(root)]
        if any("$id" in part or "id" in part for part in parts):  # it would move references
            return None
        if sum(not part.keys().isdisjoint({"properties", "items"}) for part in parts) > _CONTAINERS:
            return None
        kind = _Compiling(root).kind(root)
        try:
            return None if kind is None else cls(msgspec.json.Decoder(kind))
        except (TypeError, ValueError, NotImplementedError):  # two kinds that it cannot tell apart
            return None

    def every(self, texts: Sequence[str | None]) -> bool:
        """Whether each of *texts* is a valid answer and its own `output`."""
        try:
            block = "\n".join([*texts, ""]).encode()  # type: ignore[list-item]  # None: see below
            documents = self.decoder.decode_lines(block)
            # Equal counts: else a text could hold two documents, and another none.
            return len(documents) == len(texts) and _ENCODER.encode_lines(documents) == block
        except (*_REFUSED, TypeError):  # a text that is None cannot be joined
            return False

    def output(self, text: str | None) -> bytes | None:
        """The `output` of a valid answer; None: ask the validator."""
        return None if text is None else self._one(text.encode())

    def _one(self, text: bytes) -> bytes | None:
        """White space between tokens is all that may differ."""
        try:
            written = _ENCODER.encode(self.decoder.decode(text))
            same = text == written or msgspec.json.format(text, indent=-1) == written
        except _REFUSED:
            return None
        return written if same else None


@dataclass(frozen=True)
class _Compiling:
    """From the parts of the schema *root* to kinds; None is a part with other rules."""

    root: Mapping[str, JsonValue]
    referred: dict[str, object] = field(default_factory=dict)

    def kind(self, schema: JsonValue) -> object:
        match rules := _rules(schema):
            case {"$ref": str(reference), **others} if not others:
                return self._referred(reference)
            case {"anyOf": list(branches), **others} if not others:
                return _either([self.kind(branch) for branch in branches])
            case {"const": value, **others} if others.keys() <= {"type"}:
                return _one_of([value], _names(others.get("type")))
            case {"enum": list(values), **others} if others.keys() <= {"type"}:
                return _one_of(values, _names(others.get("type")))
            case {"type": types, **others} if others.keys() <= _words(names := _names(types)):
                return _either([self._of_type(name, rules) for name in names or []])
        return None

    def _referred(self, reference: str) -> object:
        found = _REFERENCE.fullmatch(reference)
        named = self.root.get(found[1]) if found else None
        if not found or not isinstance(named, dict):
            return None
        if reference not in self.referred:
            self.referred[reference] = None  # what it says of itself: recursion is not for here
            self.referred[reference] = self.kind(named.get(found[2]))
        return self.referred[reference]

    def _of_type(self, name: str, schema: Mapping[str, JsonValue]) -> object:
        match name:
            case "object":
                return self._struct(schema.get("properties"), schema.get("required", []))
            case "array":
                kind = self.kind(schema.get("items"))
                return None if kind is None else list[kind]  # type: ignore[valid-type]  # a value
        return _SCALARS.get(name)

    def _struct(self, properties: JsonValue, required: JsonValue) -> object:
        """Further properties are left to the validator, whether they are allowed or not."""
        if not isinstance(properties, dict) or not isinstance(required, list):
            return None
        kinds = [self.kind(child) for child in properties.values()]
        if None in kinds or not properties.keys() >= {str(name) for name in required}:
            return None
        names = {f"field{number}": name for number, name in enumerate(properties)}
        fields = [
            (place, kind)
            if names[place] in required
            else (place, _either([kind, msgspec.UnsetType]), msgspec.UNSET)
            for place, kind in zip(names, kinds, strict=True)
        ]
        try:
            return msgspec.defstruct(
                "Answer", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False
            )
        except (TypeError, ValueError):  # a name that would have to be escaped
            return None


def _rules(schema: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(schema, dict):
        return {}
    return {word: value for word, value in schema.items() if word not in _NO_RULES}


def _names(types: JsonValue) -> list[str] | None:
    """The types that are named; None where none is."""
    if types is None:
        return None
    return [str(name) for name in types] if isinstance(types, list) else [str(types)]


def _words(types: Sequence[str] | None) -> set[str]:
    """The rules that these types may have."""
    return set().union(*(_OF_TYPES.get(name, ()) for name in types or []))


def _either(kinds: Sequence[object]) -> object:
    return None if None in kinds or not kinds else Union.__getitem__(tuple(kinds))


def _one_of(values: Sequence[JsonValue], types: Sequence[str] | None) -> object:
    """Texts, integers of 64 bits and null, each of one of the *types*."""
    fitting = {str: {"string"}, int: {"integer", "number"}, NoneType: {"null"}}
    for value in values:
        fits = fitting.get(type(value))
        if fits is None or (types is not None and fits.isdisjoint(types)):
            return None
        if isinstance(value, int) and not typed_output.LEAST <= value <= typed_output.MOST:
            return None
    return Literal.__getitem__(tuple(values)) if values else None
