"""Which answers satisfy the output schema: one verdict a row, a batch at a time."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

import jsonschema_rs
import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from batch_pipeline.errors import SpecError
from batch_pipeline.model import FailureKind
from batch_pipeline.stages.results import surrogates, typed_output
from batch_pipeline.stages.results.plain_answers import Plain

MESSAGE = 200
"""Characters of a violation: its place and its rule, never the answer."""

DEEPEST = 128
"""Levels of nesting; readers of JSON give up at different depths, so ours is fixed."""

_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_ENCODER = msgspec.json.Encoder()
Problems: TypeAlias = Sequence[str | None]
"""Why each answer is not valid; None where it is."""

_AT_ONCE = 500  # documents alive together: fewer than wake Python's garbage collector


def check_schema(schema: Mapping[str, JsonValue]) -> None:
    """SpecError, with the place and what stands there, when *schema* cannot judge answers.

    Stricter than building a validator: parts that it would not use are looked at too, for they
    are sent to the provider.
    """
    try:
        jsonschema_rs.validator_for(dict(schema), offline=True)
    except jsonschema_rs.ValidationError as error:
        if error.instance_path:
            raise _refused(error.instance_path, _why(error, dict(schema))) from None
        dangling = next(_dangling(dict(schema)), None)
        raise dangling or _refused((), str(error).partition("\n")[0]) from None
    except (ValueError, RecursionError) as error:
        raise _refused((), str(error).partition("\n")[0]) from None
    for wrong in _dangling(dict(schema)):
        raise wrong


def _why(error: jsonschema_rs.ValidationError, schema: JsonValue) -> str:
    """What is wrong with the part of *schema* that is wrong; a type gets its nearest."""
    part = schema
    for step in error.instance_path:
        match part, step:
            case dict(), str():
                part = part[step]
            case list(), int():
                part = part[step]
    if error.instance_path[-1] != "type" or not isinstance(part, str):
        return str(error).partition("\n")[0]
    near = difflib.get_close_matches(part, _TYPES, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else f"; there are {', '.join(_TYPES)}"
    return f"{part!r} is no type{hint}"


def _built(schema: dict[str, JsonValue]) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(schema, mask="the value", offline=True)
    except ValueError as error:
        raise _refused((), str(error).partition("\n")[0]) from None


def _dangling(schema: dict[str, JsonValue]) -> Iterator[SpecError]:
    """References that lead nowhere and patterns that cannot be compiled, used or not."""
    for place, part in typed_output.parts(schema):
        for word in ("$ref", "$dynamicRef", "$recursiveRef"):
            target = part.get(word)
            if isinstance(target, str) and not _leads_somewhere(target, schema):
                yield _refused((*place, word), f"{target!r} leads to nothing in this schema")
        pattern = part.get("pattern")
        if isinstance(pattern, str) and not _compiles(pattern):
            yield _refused((*place, "pattern"), f"{pattern!r} is no regular expression")


def _leads_somewhere(reference: str, schema: dict[str, JsonValue]) -> bool:
    if not reference.startswith("#"):  # a schema that gives itself a name may refer by it
        return "$id" in json.dumps(schema) and "#" in reference
    try:
        jsonschema_rs.validator_for({**schema, "allOf": [{"$ref": reference}]}, offline=True)
    except ValueError:
        return False
    return True


def _compiles(pattern: str) -> bool:
    try:
        jsonschema_rs.validator_for({"pattern": pattern}, offline=True)
    except ValueError:
        return False
    return True


def _refused(place: Sequence[str | int], reason: str) -> SpecError:
    at = "".join(f".{step}" for step in place)
    return SpecError(
        f"request.output_schema{at} is not a JSON Schema we can check: {reason}. Correct it; a "
        "$ref has to point into the schema itself."
    )


class Judge:
    """A compiled schema. Where a document repeats a key its last value counts."""

    def __init__(self, schema: Mapping[str, JsonValue]) -> None:
        """SpecError when *schema* is no JSON Schema or refers outside itself."""
        check_schema(schema)
        bounded = typed_output.bounded(dict(schema))
        assert isinstance(bounded, dict)  # noqa: S101 - an object stays one; told to the checker
        self._validator = _built(bounded)
        self.plain = Plain.of(schema)

    def outputs(self, texts: Sequence[str | None]) -> tuple[Sequence[str | bytes | None], Problems]:
        """The document in each of *texts*, written compactly, and why it is not valid."""
        problems: list[str | None] = [None] * len(texts)
        if self.plain is not None and self.plain.every(texts):
            return texts, problems
        found: list[str | bytes | None] = [
            None if self.plain is None else self.plain.output(text) for text in texts
        ]
        asked = [number for number, output in enumerate(found) if output is None]
        verdicts = [self.verdict(texts[number]) for number in asked]
        # Encoded as one buffer: a buffer per document costs ten times as much.
        lines = _ENCODER.encode_lines([document for document, _ in verdicts]).split(b"\n")[:-1]
        for number, line, (_, problem) in zip(asked, lines, verdicts, strict=True):
            found[number], problems[number] = line, problem
        return found, problems

    def verdict(self, text: str | None) -> tuple[JsonValue, str | None]:
        """The document in *text* and why it is not valid, if it is not."""
        if text is None:
            return None, "the answer has no text"
        try:
            document = _loaded(text)
        except orjson.JSONDecodeError as error:
            return None, f"not JSON: {error}"[:MESSAGE]
        if text.count("[") + text.count("{") > DEEPEST and _depth(document) > DEEPEST:
            return None, f"nested deeper than {DEEPEST} levels"
        if self._validator.is_valid(document):
            return document, None
        return None, self._first_violation(document)

    def _first_violation(self, document: object) -> str:
        violation = next(iter(self._validator.iter_errors(document)))
        place = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in violation.instance_path
        )
        message = f"${place}: {violation.message}"
        return message if len(message) <= MESSAGE else message[: MESSAGE - 1] + "…"


def validated(batch: pa.Table, judge: Judge) -> pa.Table:
    """*batch* of outcomes with `output` filled; succeeded rows that do not pass are `invalid`.

    `output` is the document as it was read, written compactly: one value per key. It is null
    where that is the `text`: whoever reads JUDGED outcomes takes the text there. An answer that is
    nothing but tool calls is no document, and not judged.
    """
    batch = _annotated(batch)
    no_text = pc.equal(pc.coalesce(batch["text"], pa.scalar("")), "")
    calls_alone = pc.and_(pc.is_valid(batch["tool_calls"]), no_text)
    judged = pc.and_not(pc.equal(batch["status"], "succeeded"), calls_alone)
    answers = batch["document"].filter(judged).to_pylist()
    encoded: list[str | bytes | None] = []
    said: list[str | None] = []
    as_they_came = batch["annotations"].null_count == batch.num_rows
    for start in range(0, len(answers), _AT_ONCE):
        some = answers[start : start + _AT_ONCE]
        outputs, problems = judge.outputs(some)
        as_they_came = as_they_came and outputs is some
        encoded += outputs
        said += problems
    if as_they_came:
        return batch.drop_columns(["document"])
    output = _spread(pa.array(encoded, pa.string()), judged)
    is_text = pc.fill_null(pc.equal(output, batch["text"]), fill_value=False)
    wrong = _spread(pa.array(said, pa.string()), judged)
    invalid = pc.is_valid(wrong)
    for name, value in (
        ("output", pc.if_else(pc.or_(invalid, is_text), None, output)),
        ("status", pc.if_else(invalid, "failed", batch["status"])),
        ("failure", pc.if_else(invalid, FailureKind.INVALID.value, batch["failure"])),
        ("error_message", pc.if_else(invalid, wrong, batch["error_message"])),
    ):
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, batch.schema.field(index), value)
    return batch.drop_columns(["document"])


def _annotated(batch: pa.Table) -> pa.Table:
    """*batch* with what is judged as `document`: what OCR says of a document, else the text."""
    annotations = batch["annotations"]
    if annotations.null_count == len(annotations):
        return batch.append_column("document", batch["text"])
    said = [None if one is None else _document(one) for one in annotations.to_pylist()]
    answers = pc.coalesce(pa.chunked_array([pa.array(said, pa.string())]), batch["text"])
    return batch.append_column("document", answers)


def _document(annotations: str) -> str | None:
    """The annotation of the whole document as JSON text; it comes as text, or as JSON."""
    document = orjson.loads(annotations)["document"]
    if document is None or isinstance(document, str):
        return document
    return orjson.dumps(document).decode()


def _loaded(text: str) -> JsonValue:
    """The document, with U+FFFD for half a surrogate pair."""
    try:
        document: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError:
        if (mended := surrogates.mended_text(text)) is None:
            raise
        document = orjson.loads(mended)
    return document


def _spread(values: pa.Array, there: pa.ChunkedArray) -> pa.Array:
    """*values* at the places where *there* is true, null elsewhere."""
    if len(values) == len(there):
        return values
    places = pc.if_else(there, pc.cumulative_sum(pc.cast(there, pa.int64())), None)
    return values.take(pc.subtract(places, 1).combine_chunks())


def _depth(document: JsonValue) -> int:
    """Levels of nesting, counted without recursion."""
    level, depth = [document], 0
    while level := [part for part in level if isinstance(part, list | dict)]:
        depth += 1
        inner = (part.values() if isinstance(part, dict) else part for part in level)
        level = list(chain.from_iterable(inner))
    return depth
