"""Anthropic result lines to outcome columns: one DuckDB query, pure text.

The relation `lines(line, source, position)` holds one result line a row; `line` may be null or no
JSON at all. Thinking is never part of the text. A row keeps its tokens and its text whatever its
failure is, because they were paid for.
"""
# ruff: noqa: S608 - every part of the query is a literal of this file

from __future__ import annotations

import json

from batch_pipeline.errors import SpecError
from batch_pipeline.providers import complaints
from batch_pipeline.providers.anthropic.facts import FAULTS
from batch_pipeline.providers.billed import EMPTY_WORDS, counted_sql, extras_sql, unread_sql

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
            "container": "JSON",
            "usage": {
                "input_tokens": "VARCHAR",
                "cache_read_input_tokens": "VARCHAR",
                "cache_creation_input_tokens": "VARCHAR",
                "cache_creation": {"ephemeral_1h_input_tokens": "VARCHAR"},
                "output_tokens": "VARCHAR",
                "output_tokens_details": {"thinking_tokens": "VARCHAR"},
                "server_tool_use": "JSON",
                "iterations": "JSON",
                **dict.fromkeys(("service_tier", "inference_geo", "speed"), "VARCHAR"),
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

_ITERATION = json.dumps(
    [
        {
            **dict.fromkeys(("type", "model", "input_tokens", "output_tokens"), "VARCHAR"),
            **dict.fromkeys(("cache_read_input_tokens", "cache_creation_input_tokens"), "VARCHAR"),
            "cache_creation": {"ephemeral_1h_input_tokens": "VARCHAR"},
        }
    ]
)

# Blocks of calls that the model answers itself; of these only some are billed beside tokens.
_READ = "('text', 'tool_use')"
_FREE_TOOLS = (
    "('web_search', 'web_fetch', 'web_search_requests', 'web_fetch_requests', "
    "'tool_search_tool_regex', 'tool_search_tool_bm25')"
)
_FREE_ITERATIONS = "('message', 'compaction')"
_EXTRAS = extras_sql(
    {
        "web_search": """coalesce(TRY_CAST(server ->> 'web_search_requests' AS BIGINT),
            len(list_filter(server_calls, lambda name: name = 'web_search')))""",
        "web_fetch": """coalesce(TRY_CAST(server ->> 'web_fetch_requests' AS BIGINT),
            len(list_filter(server_calls, lambda name: name = 'web_fetch')))""",
        "us_inference": "CASE WHEN usage.inference_geo = 'us' THEN 1 END",
        # One that ran is billed by its container's time, which no line tells.
        "code_execution": f"""CASE WHEN {complaints.given("message.container")}
            OR TRY_CAST(server ->> 'code_execution_requests' AS BIGINT) > 0
            OR len(list_filter(server_calls, lambda name: name LIKE '%code_execution')) > 0
            THEN 1 END""",
    },
    others=f"""list_concat(list_concat(
        {
        counted_sql(
            "list_filter(server_calls, lambda name: name NOT LIKE '%code_execution')",
            known=_FREE_TOOLS,
        )
    },
        {counted_sql("[one.type FOR one IN rounds]", known=_FREE_ITERATIONS)}),
        list_concat([{{'k': 'inference_geo ' || usage.inference_geo,
            'v': CASE WHEN usage.inference_geo NOT IN ('us', 'global', 'not_available', '')
                THEN 1::BIGINT END}}],
        [{{'k': tool, 'v': TRY_CAST(server ->> tool AS BIGINT)}} FOR tool IN json_keys(server)
            IF tool NOT IN ('web_search_requests', 'web_fetch_requests',
                'code_execution_requests')]))""",
)

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
        WHEN coalesce(words, '') = '' AND calls IS NULL THEN 'empty'
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
{_read()}, judged AS (
    SELECT *, {_FAILURE} AS failure,
        {unread_sql("[block.type FOR block IN blocks]", known=_READ)} AS unread
    FROM typed
)
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
        END AS blocks,
        CASE WHEN json_type(reply.result.message.usage.server_tool_use) = 'OBJECT'
            THEN reply.result.message.usage.server_tool_use END AS server,
        CASE WHEN json_type(reply.result.message.usage.iterations) = 'ARRAY'
            THEN TRY(json_transform(reply.result.message.usage.iterations, '{_ITERATION}'))
        END AS rounds
    FROM parsed
), said AS (
    SELECT *,
        {complaints.unwrapped("outer_error")} AS error,
        [block.name FOR block IN blocks IF block.type = 'server_tool_use'] AS server_calls,
        [block.text FOR block IN blocks IF block.type = 'text'] AS texts,
        nullif([
            {{'id': block.id, 'name': block.name, 'arguments': block.input::VARCHAR}}
            FOR block IN blocks IF block.type = 'tool_use'
        ], []) AS calls,
        {_counted("input_tokens")} AS plain,
        {_counted("cache_read_input_tokens")} AS cached_input_tokens,
        {_counted("cache_creation_input_tokens")} AS cache_write_tokens,
        {_counted("cache_creation.ephemeral_1h_input_tokens")} AS cache_write_1h_tokens,
        {_counted("output_tokens")} AS output_tokens,
        {_count("usage.output_tokens_details.thinking_tokens")} AS reasoning_tokens
    FROM head
), typed AS (
    SELECT *, nullif(error ->> 'type', '') AS error_type,
        nullif(error ->> '$.details.error_code', '') AS error_detail,
        {complaints.message("error")} AS error_text,
        list_aggregate(texts, 'string_agg', '') AS words
    FROM said
)"""


def _columns() -> str:
    """The SELECT of the outcome columns, in their order."""
    return f"""SELECT position, custom_id,
    CASE WHEN failure IS NULL THEN 'succeeded' ELSE 'failed' END AS status,
    failure,
    CASE WHEN failure = 'unreadable' THEN nullif(kind, 'succeeded')
        WHEN failure = 'empty' THEN coalesce(unread, 'empty')
        WHEN failure IS NOT NULL THEN coalesce(
            error_detail, error_type, details.category, stop_reason, kind) END AS error_code,
    CASE WHEN failure = 'empty' THEN {EMPTY_WORDS}
        ELSE coalesce(nullif(error_text, ''), details.explanation, {_WHY}) END AS error_message,
    words AS text,
    to_json(calls)::VARCHAR AS tool_calls,
    NULL::FLOAT[] AS embedding,
    stop_reason AS finish_reason,
    model,
    {_all_input()} AS input_tokens,
    cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens,
    reasoning_tokens,
    CASE WHEN usage.speed = 'fast' THEN 'fast' ELSE nullif(usage.service_tier, '') END
        AS service_tier,
    {_EXTRAS} AS extras,
    NULL::VARCHAR AS annotations"""


def _count(name: str) -> str:
    """A count of tokens; what cannot be one (negative, absurd, no number) is unknown."""
    count = f"TRY_CAST({name} AS BIGINT)"
    return f"CASE WHEN {count} BETWEEN 0 AND 999999999999 THEN {count} END"


def _counted(name: str) -> str:
    """A count of usage, with that of compactions: they are billed, and counted apart."""
    count, apart = _count(f"usage.{name}"), _count(f"round.{name}")
    return f"""CASE WHEN len(rounds) IS NULL THEN {count} ELSE {count} + coalesce(list_sum(
            [{apart} FOR round IN rounds IF round.type = 'compaction']), 0)::BIGINT END"""


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
