"""The columns of `results` for Dagster's Columns panel: types from the file, meanings from here."""

from collections.abc import Collection, Mapping
from pathlib import Path

import dagster as dg

from batch_pipeline.escaping import line

_MEANINGS: Mapping[str, str] = {
    "custom_id": "The row's name at the provider and in every table.",
    "status": "succeeded or failed.",
    "failure": "Why it is no success; null for a success.",
    "error_code": "The provider's code of the failure.",
    "error_message": "The provider's or our words for the failure.",
    "text": "The answer as it came.",
    "output": "The answer as the output schema types it.",
    "embedding": "The vector.",
    "tool_calls": "What the model would call: JSON of id, name and arguments.",
    "finish_reason": "Why the model stopped, in the provider's word.",
    "provider": "Who answered.",
    "model": "The model that the answer names.",
    "attempt": "Which sending this outcome is of.",
    "batch_id": "The provider's batch.",
    "run_id": "The Dagster run that sent it.",
    "content_hash": "The version of the request: sha256 of its body.",
    "input_tokens": "Tokens read, cached ones included.",
    "cached_input_tokens": "Of these, read from the provider's cache.",
    "cache_write_tokens": "Of these, written to it.",
    "cache_write_1h_tokens": "Of those, kept for an hour, at a price of their own.",
    "output_tokens": "Tokens written, reasoning included.",
    "reasoning_tokens": "Of these, reasoning.",
    "annotations": "What OCR says of the document and its images: JSON.",
    "service_tier": "How it was served, in the provider's word; null and batch are one.",
    "extras": "What was billed beside tokens: JSON of name and count.",
    "cost_usd": "Dollars as it was served; null is unknown.",
    "cost_unknown": "Why cost_usd is null, where something was billed.",
    "price_as_of": "Since when the price is known.",
    "live_cost_usd": "Dollars for the same tokens outside a batch.",
    "price_source": "Where the price is from.",
    "ended_at": "When the batch ended.",
}


def column_schema(path: Path, keys: Collection[str]) -> dg.TableSchemaMetadataValue:
    """The columns of a results file; *keys* name the row."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - a second of import that most runs never pay

    columns = [
        dg.TableColumn(
            line(field.name),
            line(str(field.type)),
            description="Names the row." if field.name in keys else _MEANINGS.get(field.name),
        )
        for field in pq.read_schema(path)
    ]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns))
