"""Anthropic result lines to outcome columns: one DuckDB query, pure text.

The relation `lines(line, source, position)` holds one result line a row; `line` may be null or no
JSON at all. Thinking is never part of the text. A row keeps its tokens and its text whatever its
failure is, because they were paid for.
"""
# ruff: noqa: S608 - every part of the query is a literal of this file

from __future__ import annotations

import json

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.anthropic_faults import FAULTS

_ENDPOINT = "/v1/messages"
_REPLY: dict[str, object] = {
    "custom_id": "VARCHAR",
    "result": {
        "type": "VARCHAR",
        "error": "JSON",
        "message": {
            "model": "VARCHAR",
            "stop_reason": "VARCHAR",
            "stop_details": {"category": "VARCHAR", "explanation": "VARCHAR"},
            "content": "JSON",
            "usage": {
                "input_tokens": "VARCHAR",
                "cache_read_input_tokens": "VARCHAR",
                "cache_creation_input_tokens": "VARCHAR",
                "cache_creation": {"ephemeral_1h_input_tokens": "VARCHAR"},
                "output_tokens": "VARCHAR",
                "output_tokens_details": {"thinking_tokens": "VARCHAR"},
            },
        },
    },
}
_BLOCK: dict[str, object] = {
    "type": "VARCHAR",
    "text": "VARCHAR",
    "id": "VARCHAR",
    "name": "VARCHAR",
    "input": "JSON",
}

# An answer that paused is incomplete but paid for, and would most likely pause again: truncated.
_FAULT = FAULTS.sql(
    code="error_detail", kind="error_type", words="error_text", status="NULL::INTEGER"
)
_FAILURE = f"""
    CASE
        WHEN custom_id IS NULL THEN 'unreadable'
        WHEN kind = 'canceled' THEN 'cancelled'
        WHEN kind = 'expired' THEN 'expired'
        WHEN kind = 'errored' THEN CASE {_FAULT}
            WHEN 'account' THEN 'withheld' WHEN 'request' THEN 'rejected' ELSE 'errored' END
        WHEN kind IS DISTINCT FROM 'succeeded' OR (blocks IS NULL AND stop_reason IS NULL)
            THEN 'unreadable'
        WHEN stop_reason = 'refusal' THEN 'refused'
        WHEN stop_reason IN ('max_tokens', 'model_context_window_exceeded', 'pause_turn')
            THEN 'truncated'
    END
"""

_WHY = """
    CASE failure
        WHEN 'cancelled' THEN 'Not run: the batch was cancelled before.'
        WHEN 'expired' THEN 'Not run: the batch''s 24 hours were over.'
    END
"""


def decode_sql(endpoint: str) -> str:
    """A SELECT from `lines` to position, custom_id, status, failure and what the row says.

    A line that is no JSON, has no custom_id or no known shape comes out as failure `unreadable`.
    """
    if endpoint != _ENDPOINT:
        raise SpecError(
            f"Anthropic results of endpoint {endpoint!r} cannot be read. Known: {_ENDPOINT}."
        )
    return f"""
{_read()}, judged AS (SELECT *, {_FAILURE} AS failure FROM typed)
{_columns()}
FROM judged
"""


def _read() -> str:
    """The lines' parts, up to the relation `typed`."""
    return f"""WITH parsed AS (
    SELECT position, TRY(json_transform(line, '{json.dumps(_REPLY)}')) AS reply FROM lines
), head AS (
    SELECT position,
        nullif(reply.custom_id, '') AS custom_id,
        reply.result.type AS kind,
        reply.result.error AS outer_error,
        reply.result.message AS message,
        reply.result.message.model AS model,
        reply.result.message.stop_reason AS stop_reason,
        reply.result.message.stop_details AS details,
        reply.result.message.usage AS usage,
        CASE WHEN json_type(reply.result.message.content) = 'ARRAY'
            THEN TRY(json_transform(reply.result.message.content, '[{json.dumps(_BLOCK)}]'))
        END AS blocks
    FROM parsed
), said AS (
    SELECT *,
        CASE WHEN json_type(outer_error -> 'error') = 'OBJECT'
            THEN outer_error -> 'error' ELSE outer_error END AS error,
        [block.text FOR block IN blocks IF block.type = 'text'] AS texts,
        nullif([
            {{'id': block.id, 'name': block.name, 'arguments': block.input::VARCHAR}}
            FOR block IN blocks IF block.type = 'tool_use'
        ], []) AS calls,
        {_count("usage.input_tokens")} AS plain,
        {_count("usage.cache_read_input_tokens")} AS cached_input_tokens,
        {_count("usage.cache_creation_input_tokens")} AS cache_write_tokens,
        {_count("usage.cache_creation.ephemeral_1h_input_tokens")} AS cache_write_1h_tokens,
        {_count("usage.output_tokens")} AS output_tokens,
        {_count("usage.output_tokens_details.thinking_tokens")} AS reasoning_tokens
    FROM head
), typed AS (
    SELECT *, nullif(error ->> 'type', '') AS error_type,
        nullif(error ->> '$.details.error_code', '') AS error_detail,
        CASE WHEN json_type(error) = 'VARCHAR' THEN error ->> '$'
            ELSE error ->> 'message' END AS error_text
    FROM said
)"""


def _columns() -> str:
    """The SELECT of the outcome columns, in their order."""
    return f"""SELECT position, custom_id,
    CASE WHEN failure IS NULL THEN 'succeeded' ELSE 'failed' END AS status,
    failure,
    CASE WHEN failure = 'unreadable' THEN nullif(kind, 'succeeded')
        WHEN failure IS NOT NULL THEN coalesce(
            error_detail, error_type, details.category, stop_reason, kind) END AS error_code,
    coalesce(nullif(error_text, ''), details.explanation, {_WHY}) AS error_message,
    list_aggregate(texts, 'string_agg', '') AS text,
    to_json(calls)::VARCHAR AS tool_calls,
    NULL::FLOAT[] AS embedding,
    stop_reason AS finish_reason,
    model,
    {_all_input()} AS input_tokens,
    cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens,
    reasoning_tokens"""


def _count(name: str) -> str:
    """A count of tokens; what cannot be one (negative, absurd, no number) is unknown."""
    count = f"TRY_CAST({name} AS BIGINT)"
    return f"CASE WHEN {count} BETWEEN 0 AND 999999999999 THEN {count} END"


def _all_input() -> str:
    """Input with what the cache gave and took, which Anthropic counts apart; absent is none."""
    parts = {
        "cache_read_input_tokens": "cached_input_tokens",
        "cache_creation_input_tokens": "cache_write_tokens",
    }
    known = " AND ".join(
        f"(usage.{theirs} IS NULL OR {ours} IS NOT NULL)" for theirs, ours in parts.items()
    )
    added = " + ".join(f"coalesce({ours}, 0)" for ours in parts.values())
    return f"CASE WHEN {known} THEN plain + {added} END"
