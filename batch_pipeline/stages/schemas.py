"""The columns of tables that several stages read or write."""

from __future__ import annotations

import pyarrow as pa

OUTCOMES = pa.schema(
    [
        pa.field(name, kind)
        for name, kind in (
            ("partition", pa.string()),
            ("custom_id", pa.string()),
            ("content_hash", pa.string()),
            ("shard", pa.string()),
            ("attempt", pa.int32()),
            ("provider", pa.string()),
            ("model", pa.string()),
            ("batch_id", pa.string()),
            ("run_id", pa.string()),
            ("status", pa.string()),
            ("failure", pa.string()),
            ("error_code", pa.string()),
            ("error_message", pa.string()),
            ("text", pa.string()),
            ("tool_calls", pa.string()),  # JSON
            ("output", pa.string()),
            ("embedding", pa.list_(pa.float32())),
            ("finish_reason", pa.string()),
            ("input_tokens", pa.int64()),
            ("cached_input_tokens", pa.int64()),
            ("cache_write_tokens", pa.int64()),
            ("cache_write_1h_tokens", pa.int64()),
            ("output_tokens", pa.int64()),
            ("reasoning_tokens", pa.int64()),
            ("service_tier", pa.string()),
            ("extras", pa.string()),  # JSON: what was billed beside tokens, name -> count
            ("annotations", pa.string()),  # JSON: of an OCR document and its images
            ("ended_at", pa.timestamp("us", tz="UTC")),
            ("raw", pa.string()),
        )
    ]
)
