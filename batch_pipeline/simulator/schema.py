"""JSON that satisfies a JSON schema: compiled once per schema, then written per prompt."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias

import orjson

from batch_pipeline.simulator.prompt_reading import Hints, TurnedHints
from batch_pipeline.simulator.regexes import matching

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Writer: TypeAlias = Callable[[Hints, int], Json]  # (what the prompt says, depth) -> a value
_Schema: TypeAlias = Mapping[str, object]

_ABYSS = 60  # a schema that gets here has no finite values
_DEEP = 6  # from here on recursive schemas take the shortest way out
_FORMATS = {
    "date": "2026-11-21",
    "date-time": "2026-11-21T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "idn-email": "someone@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "uri": "https://example.com/simulated",
    "iri": "https://example.com/simulated",
    "uri-reference": "/simulated",
    "iri-reference": "/simulated",
    "uri-template": "/simulated",
    "json-pointer": "/simulated",
    "relative-json-pointer": "0",
    "regex": "^simulated$",
}
_LABEL_NAMES = ("topic", "tag", "keyword", "categor", "label", "theme", "aspect", "entit")
_LINE_NAMES = ("summary", "title", "headline", "subject", "gist", "text", "description", "quote")


@lru_cache(maxsize=256)
def writer_for(schema: bytes) -> Writer:
    """The writer of values for a schema given as JSON text."""
    root = orjson.loads(schema)
    return _Compiler(root).compile(root, "answer")


class _Compiler:
    """Turns a schema into nested functions; references are resolved when first written."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._references: dict[str, Writer] = {}

    def compile(self, schema: object, name: str) -> Writer:
        """The writer for a part of the schema; *name* is the field it fills."""
        if not isinstance(schema, Mapping) or not schema:
            return lambda hints, _: hints.summary(6)
        makers: dict[str, Callable[[_Schema, str], Writer]] = {
            "const": lambda part, _: _constant(part["const"]),
            "enum": _enum,
            "$ref": self._reference,
            "anyOf": self._any_of,
            "oneOf": self._any_of,
            "allOf": lambda part, field: self.compile(self._merged(part), field),
        }
        make = next((makers[key] for key in makers if key in schema), self._typed)
        return make(schema, name)

    def _typed(self, schema: _Schema, name: str) -> Writer:
        kind = schema.get("type") or _guessed(schema)
        if isinstance(kind, list):
            variants = [{**schema, "type": each} for each in kind]
            return self._any_of({"anyOf": variants}, name)
        makers: dict[str, Callable[[_Schema, str], Writer]] = {
            "object": self._object,
            "array": self._array,
            "string": _string,
            "integer": _number,
            "number": _number,
            "boolean": lambda _, field: lambda hints, __: hints.number(field) % 2 == 0,
        }
        return makers.get(str(kind), _null)(schema, name)

    def _reference(self, schema: _Schema, name: str) -> Writer:
        reference = str(schema["$ref"])

        def write(hints: Hints, depth: int) -> Json:
            if depth > _ABYSS:
                return None
            if reference not in self._references:
                self._references[reference] = self.compile(self._target(reference), name)
            return self._references[reference](hints, depth + 1)

        return write

    def _target(self, reference: str) -> object:
        target: object = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and step:
                target = target.get(key, {})
        return target

    def _any_of(self, schema: _Schema, name: str) -> Writer:
        variants = _list(schema.get("anyOf", schema.get("oneOf")))
        rest = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf"}}
        rest.pop("description", None)
        writers = [
            self.compile({**rest, **variant} if isinstance(variant, Mapping) else variant, name)
            for variant in variants
        ]
        real = [
            write for write, variant in zip(writers, variants, strict=True) if not _is_null(variant)
        ]
        simple = min(range(len(variants)), key=lambda at: _weight(variants[at]))

        def write(hints: Hints, depth: int) -> Json:
            if depth > _DEEP or not real:
                return writers[simple](hints, depth)
            return real[hints.number(name) % len(real)](hints, depth)

        return write

    def _merged(self, schema: _Schema) -> _Schema:
        merged: dict[str, object] = {key: schema[key] for key in schema if key != "allOf"}
        for part in _list(schema["allOf"]):
            whole = part
            if isinstance(part, Mapping) and "$ref" in part:
                whole = self._target(str(part["$ref"]))
            for key, value in whole.items() if isinstance(whole, Mapping) else ():
                before = merged.get(key)
                if key in {"properties", "$defs"} and isinstance(before, dict):
                    merged[key] = {**before, **value}
                elif key == "required" and isinstance(before, list):
                    merged[key] = [*before, *value]
                else:
                    merged[key] = value
        return merged

    def _object(self, schema: _Schema, _: str) -> Writer:
        properties = schema.get("properties")
        required = schema.get("required")
        must = set(required) if isinstance(required, list) else set()
        named = properties if isinstance(properties, Mapping) else {}
        fields = [(key, self.compile(named[key], key), key in must) for key in named]
        fields += [(key, self.compile({}, key), True) for key in sorted(must - set(named))]

        def write(hints: Hints, depth: int) -> Json:
            return {
                key: write_field(hints, depth + 1)
                for key, write_field, needed in fields
                if needed or depth <= _DEEP
            }

        return write

    def _array(self, schema: _Schema, name: str) -> Writer:
        low = _int(schema.get("minItems"), 0)
        high = _int(schema.get("maxItems"), max(low, 3))
        items = schema.get("items", {"type": "string"})
        write_item = self.compile(items, name)
        distinct = bool(schema.get("uniqueItems"))

        def write(hints: Hints, depth: int) -> Json:
            wanted = low if depth > _DEEP else max(low, min(high, 1 + hints.number(name) % 3))
            values: list[Json] = []
            for turn in range(wanted + (20 * wanted if distinct else 0)):
                value = write_item(hints if turn == 0 else TurnedHints(hints, turn), depth + 1)
                if not distinct or value not in values:
                    values.append(value)
                if len(values) == wanted:
                    break
            return values

        return write


def _constant(value: object) -> Writer:
    constant: Json = orjson.loads(orjson.dumps(value))
    return lambda _, __: constant


def _null(_: _Schema, __: str) -> Writer:
    return _constant(None)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _enum(schema: _Schema, name: str) -> Writer:
    options: list[Json] = orjson.loads(orjson.dumps(schema["enum"]))
    texts = [option for option in options if isinstance(option, str)]
    if texts and len(texts) == len([option for option in options if option is not None]):
        return lambda hints, _: hints.choose(name, texts)
    return lambda hints, _: options[hints.number(name) % len(options)]


def _string(schema: _Schema, name: str) -> Writer:
    low = _int(schema.get("minLength"), 0)
    high = _int(schema.get("maxLength"), 10_000)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        text = matching(pattern, low)
        if text is not None:
            return _constant(text)
    fixed = _FORMATS.get(str(schema.get("format")))
    if fixed is not None:
        return _constant(fixed)
    one_word = any(part in name.lower() for part in _LABEL_NAMES)
    long = any(part in name.lower() for part in _LINE_NAMES)

    def write(hints: Hints, _: int) -> Json:
        if one_word and hints.keywords:
            text = hints.keywords[0]
        else:
            text = hints.summary(12 if long else 6)
        text = text[:high]
        return text if len(text) >= low else text + "." * (low - len(text))

    return write


def _number(schema: _Schema, name: str) -> Writer:
    whole = schema.get("type") == "integer"
    step = _float(schema.get("multipleOf"), 1.0 if whole else 0.0)
    low = _bound(schema, "minimum", "exclusiveMinimum", step, sign=1)
    high = _bound(schema, "maximum", "exclusiveMaximum", step, sign=-1)
    if low is None and high is None:
        low, high = 0.0, (100.0 if whole else 1.0)
    low = (high - 100 * (step or 1)) if low is None and high is not None else low or 0.0
    high = (low + 100 * (step or 1)) if high is None else high

    def write(hints: Hints, _: int) -> Json:
        part = (hints.number(name) % 1001) / 1000
        if step:
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            value = (first + int(part * max(0, last - first))) * step
        else:
            value = round(low + part * (high - low), 3)
            value = value if low <= value <= high else low
        return int(value) if whole else value

    return write


def _bound(
    schema: _Schema, inclusive: str, exclusive: str, step: float, *, sign: int
) -> float | None:
    """The bound on one side, an exclusive one moved inwards."""
    bounds = []
    if isinstance(schema.get(inclusive), int | float):
        bounds.append(_float(schema[inclusive], 0.0))
    if isinstance(schema.get(exclusive), int | float):
        edge = _float(schema[exclusive], 0.0)
        bounds.append(edge + sign * (step or max(1e-6, abs(edge) * 1e-9)))
    if not bounds:
        return None
    return max(bounds) if sign > 0 else min(bounds)


def _guessed(schema: _Schema) -> str:
    """The type of a schema that names none."""
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema:
        return "array"
    if {"minimum", "maximum", "multipleOf"} & set(schema):
        return "number"
    return "string"


def _is_null(schema: object) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _weight(schema: object) -> int:
    """How far a schema may lead: null first, references last."""
    if _is_null(schema):
        return 0
    text = orjson.dumps(schema)
    return len(text) + (1_000_000 if b'"$ref"' in text else 0)


def _int(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _float(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
