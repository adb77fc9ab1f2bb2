"""Which answers satisfy the output schema: one verdict a row, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import jsonschema_rs
import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from batch_pipeline.errors import SpecError
from batch_pipeline.model import FailureKind
from batch_pipeline.stages import typed

MESSAGE = 200
"""Characters of a violation: its place and its rule, never the answer."""

DEEPEST = 128
"""Levels of nesting; readers of JSON give up at different depths, so ours is fixed."""

_ENCODER = msgspec.json.Encoder()
_AT_ONCE = 500  # documents alive together: fewer than wake Python's garbage collector


class Judge:
    """A compiled schema. Where a document repeats a key its last value counts."""

    def __init__(self, schema: Mapping[str, JsonValue]) -> None:
        """SpecError when *schema* is no JSON Schema or refers outside itself."""
        bounded = typed.bounded(dict(schema))
        assert isinstance(bounded, dict)  # noqa: S101 - an object stays one; told to the checker
        try:
            self._validator = jsonschema_rs.validator_for(bounded, mask="the value", offline=True)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise SpecError(
                f"request.output_schema is not a JSON Schema we can check: {reason}. Correct the "
                "schema; a $ref must point into the schema itself."
            ) from None

    def verdict(self, text: str | None) -> tuple[JsonValue, str | None]:
        """The document in *text* and why it is not valid, if it is not."""
        if text is None:
            return None, "the answer has no text"
        try:
            document = orjson.loads(text)
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

    `output` is the document as it was read, written compactly: one value per key. An answer that
    is nothing but tool calls is no document, and not judged.
    """
    no_text = pc.equal(pc.coalesce(batch["text"], pa.scalar("")), "")
    calls_alone = pc.and_(pc.is_valid(batch["tool_calls"]), no_text)
    judged = pc.and_not(pc.equal(batch["status"], "succeeded"), calls_alone)
    answers = batch["text"].filter(judged).to_pylist()
    encoded: list[bytes] = []
    said: list[str | None] = []
    for start in range(0, len(answers), _AT_ONCE):
        verdicts = [judge.verdict(text) for text in answers[start : start + _AT_ONCE]]
        # Encoded as one buffer: a buffer per document costs ten times as much.
        encoded += _ENCODER.encode_lines([document for document, _ in verdicts]).split(b"\n")[:-1]
        said += [problem for _, problem in verdicts]
    output = _spread(pa.array(encoded, pa.string()), judged)
    problems = _spread(pa.array(said, pa.string()), judged)
    invalid = pc.is_valid(problems)
    for name, value in (
        ("output", pc.if_else(invalid, None, output)),
        ("status", pc.if_else(invalid, "failed", batch["status"])),
        ("failure", pc.if_else(invalid, FailureKind.INVALID.value, batch["failure"])),
        ("error_message", pc.if_else(invalid, problems, batch["error_message"])),
    ):
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, batch.schema.field(index), value)
    return batch


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
