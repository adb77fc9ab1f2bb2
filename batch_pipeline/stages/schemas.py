"""The columns of outcomes and results: what is written, read, shown and documented is from here."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import pyarrow as pa

_TEXT, _COUNT = pa.string(), pa.int64()
_DOLLARS = pa.decimal128(18, 9)


class Source(StrEnum):
    """Where a column's values are from."""

    REQUEST = "request"
    BATCH = "batch"  # the same for every row of a shard
    ANSWER = "answer"  # as the provider's decoder says, unless `outcomes` knows better
    PRICE = "price"


class Column(NamedTuple):
    """A column; *repeats* is worth a dictionary. Outcomes older than *since* lack it: null."""

    name: str
    type: pa.DataType
    source: Source
    meaning: str
    repeats: bool = False
    since: int = 1


_OF_REQUEST, _OF_BATCH, _SAID, _PRICED = Source
RESULTS = (
    Column("custom_id", _TEXT, _OF_REQUEST, "The row's name at the provider and in every table."),
    Column("status", _TEXT, _SAID, "succeeded or failed.", repeats=True),
    Column("failure", _TEXT, _SAID, "Why it is no success; null for a success.", repeats=True),
    Column("error_code", _TEXT, _SAID, "The provider's code of the failure.", repeats=True),
    Column(
        "error_message", _TEXT, _SAID, "The provider's or our words for the failure.", repeats=True
    ),
    Column("text", _TEXT, _SAID, "The answer as it came."),
    Column(
        "tool_calls", _TEXT, _SAID, "What the model would call: JSON of id, name and arguments."
    ),
    Column(
        "annotations", _TEXT, _SAID, "What OCR says of the document and its images: JSON.", since=3
    ),
    Column("output", _TEXT, _SAID, "The answer as the output schema types it."),
    Column("embedding", pa.list_(pa.float32()), _SAID, "The vector."),
    Column(
        "finish_reason",
        _TEXT,
        _SAID,
        "Why the model stopped, in the provider's word.",
        repeats=True,
    ),
    Column("provider", _TEXT, _OF_BATCH, "Who answered.", repeats=True),
    Column("model", _TEXT, _SAID, "The model that the answer names.", repeats=True),
    Column("attempt", pa.int32(), _OF_BATCH, "Which sending this outcome is of."),
    Column("batch_id", _TEXT, _OF_BATCH, "The provider's batch.", repeats=True),
    Column("run_id", _TEXT, _OF_BATCH, "The Dagster run that sent it.", repeats=True),
    Column("content_hash", _TEXT, _OF_REQUEST, "The version of the request: sha256 of its body."),
    Column("input_tokens", _COUNT, _SAID, "Tokens read, cached ones included."),
    Column("cached_input_tokens", _COUNT, _SAID, "Of these, read from the provider's cache."),
    Column("cache_write_tokens", _COUNT, _SAID, "Of these, written to it."),
    Column(
        "cache_write_1h_tokens",
        _COUNT,
        _SAID,
        "Of those, kept for an hour, at a price of their own.",
    ),
    Column("output_tokens", _COUNT, _SAID, "Tokens written, reasoning included."),
    Column("reasoning_tokens", _COUNT, _SAID, "Of these, reasoning."),
    Column(
        "service_tier",
        _TEXT,
        _SAID,
        "How it was served, in the provider's word; null and batch are one.",
        repeats=True,
        since=2,
    ),
    Column(
        "extras",
        _TEXT,
        _SAID,
        "What was billed beside tokens: JSON of name and count.",
        repeats=True,
        since=2,
    ),
    Column("cost_usd", _DOLLARS, _PRICED, "Dollars as it was served; null is unknown."),
    Column("live_cost_usd", _DOLLARS, _PRICED, "Dollars for the same tokens outside a batch."),
    Column(
        "cost_unknown",
        _TEXT,
        _PRICED,
        "Why cost_usd is null, where something was billed.",
        repeats=True,
    ),
    Column("price_source", _TEXT, _PRICED, "Where the price is from.", repeats=True),
    Column("price_as_of", pa.date32(), _PRICED, "Since when the price is known.", repeats=True),
    Column("ended_at", pa.timestamp("us", tz="UTC"), _OF_BATCH, "When the batch ended."),
)
"""The columns of results after the key's, in their order; adding one adds it to outcomes too.

`output` and `embedding` stand there where the job has them, of the type that its answers have.
"""

_BESIDE = (
    Column("partition", _TEXT, _OF_REQUEST, "Whose request it is.", repeats=True),
    Column("shard", _TEXT, _OF_BATCH, "Where it was sent.", repeats=True),
    Column("raw", _TEXT, _SAID, "The line, where it cannot be read or nothing is in it."),
)
_BY_NAME = {one.name: one for one in (*RESULTS, *_BESIDE)}
_SENT_AS = (
    *("partition", "custom_id", "content_hash", "shard", "attempt", "provider", "model"),
    *("batch_id", "run_id"),
)
_LAST = ("ended_at", "raw")
_ANSWERED = sorted(
    (one for one in RESULTS if one.source is _SAID and one.name not in _SENT_AS),
    key=lambda one: one.since,
)
OUTCOME_COLUMNS = (
    *(_BY_NAME[name] for name in _SENT_AS),
    *_ANSWERED,
    *(_BY_NAME[name] for name in _LAST),
)
OUTCOMES = pa.schema([pa.field(one.name, one.type) for one in OUTCOME_COLUMNS])
REPEATING = [one.name for one in _BY_NAME.values() if one.repeats]
"""Columns worth a dictionary, of whichever table has them."""

JUDGED = {b"batch_pipeline.output": b"text"}
"""In the footer of outcomes whose answers were checked: `output` is null where it is the `text`."""

VERSION = {b"batch_pipeline.results": b"3"}


def result_schema(
    keys: Sequence[pa.Field], output: pa.DataType | None, embedding: pa.DataType | None
) -> pa.Schema:
    """RESULTS for these key columns, with `output` and `embedding` where they have a type."""
    typed = {"output": output, "embedding": embedding}
    named = ((one.name, typed.get(one.name, one.type)) for one in RESULTS)
    fields = [pa.field(name, kind) for name, kind in named if kind is not None]
    return pa.schema([*keys, *fields], metadata=VERSION)
