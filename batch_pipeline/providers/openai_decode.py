"""OpenAI result lines to outcome columns: one DuckDB query per endpoint, pure text.

The relation `lines(line, source, position)` holds one result line a row; `line` may be null or no
JSON at all. Of several choices the first counts. A row keeps its tokens and its text whatever its
failure is, because they were paid for. Calls of tools are made alike on both wires; calls of a
kind we do not know make the row unreadable, so that its bytes are kept.
"""
# ruff: noqa: S608 - every part of the queries is a literal of this file

from __future__ import annotations

import json

from batch_pipeline.errors import SpecError
from batch_pipeline.providers.openai_faults import FAULTS

_CHAT: dict[str, object] = {
    "choices": [
        {
            "message": {
                "content": "VARCHAR",
                "refusal": "VARCHAR",
                "tool_calls": [
                    {
                        "id": "VARCHAR",
                        "function": {"name": "VARCHAR", "arguments": "VARCHAR"},
                        "custom": {"name": "VARCHAR", "input": "VARCHAR"},
                    }
                ],
                "function_call": {"name": "VARCHAR", "arguments": "VARCHAR"},
            },
            "finish_reason": "VARCHAR",
        }
    ],
    "usage": {
        "prompt_tokens": "VARCHAR",
        "prompt_tokens_details": {"cached_tokens": "VARCHAR", "cache_write_tokens": "VARCHAR"},
        "completion_tokens": "VARCHAR",
        "completion_tokens_details": {"reasoning_tokens": "VARCHAR"},
    },
}
_RESPONSES: dict[str, object] = {
    "status": "VARCHAR",
    "incomplete_details": {"reason": "VARCHAR"},
    "output": "JSON",
    "usage": {
        "input_tokens": "VARCHAR",
        "input_tokens_details": {"cached_tokens": "VARCHAR", "cache_write_tokens": "VARCHAR"},
        "output_tokens": "VARCHAR",
        "output_tokens_details": {"reasoning_tokens": "VARCHAR"},
    },
}
_EMBEDDINGS: dict[str, object] = {
    "data": [{"embedding": "JSON"}],
    "usage": {
        "prompt_tokens": "VARCHAR",
        "prompt_tokens_details": {"cached_tokens": "VARCHAR"},
    },
}
_MODERATIONS: dict[str, object] = {"results": ["JSON"]}
_OUTPUT_ITEM = json.dumps(
    [
        {
            "type": "VARCHAR",
            "content": [{"type": "VARCHAR", "text": "VARCHAR", "refusal": "VARCHAR"}],
            **dict.fromkeys(("id", "call_id", "name", "arguments", "input"), "VARCHAR"),
        }
    ]
)


def _there(name: str) -> str:
    """Whether JSON says something: null, false, 0, "", {} and [] are nothing."""
    return (
        f"({name} IS NOT NULL AND {name}::VARCHAR NOT IN ('null','false','0','\"\"','{{}}','[]'))"
    )


# Arguments stay the model's own text; a call without any is one with none to give.
_TOOL_CALLS = """
    CASE WHEN len(calls) > 0 AND list_bool_and([call.name IS NOT NULL FOR call IN calls])
        THEN to_json(calls)::VARCHAR END
"""

_CHAT_FIELDS = f"""
    SELECT head.*,
        nullif(message.refusal, '') AS refusal,
        coalesce(message.content, message.refusal, tool_calls) AS said,
        len(calls) > 0 AND tool_calls IS NULL AS strange,
        choice.finish_reason AS finish_reason,
        CASE WHEN tool_calls IS NULL THEN message.content
            ELSE nullif(message.content, '') END AS text,
        NULL::FLOAT[] AS embedding,
        usage.prompt_tokens AS input_tokens,
        usage.prompt_tokens_details.cached_tokens AS cached_input_tokens,
        usage.prompt_tokens_details.cache_write_tokens AS cache_write_tokens,
        usage.completion_tokens AS output_tokens,
        usage.completion_tokens_details.reasoning_tokens AS reasoning_tokens
    FROM (
        SELECT *, {_TOOL_CALLS} AS tool_calls
        FROM (
            SELECT *,
                CASE WHEN len(message.tool_calls) > 0 THEN [{{
                        'id': call.id,
                        'name': coalesce(call.function.name, call.custom.name),
                        'arguments': coalesce(call.function.arguments, call.custom.input, '{{}}')
                    }} FOR call IN message.tool_calls]
                WHEN message.function_call.name IS NOT NULL THEN [{{
                        'id': NULL::VARCHAR,
                        'name': message.function_call.name,
                        'arguments': coalesce(message.function_call.arguments, '{{}}')
                    }}] END AS calls
            FROM (
                SELECT *, choice.message AS message
                FROM (SELECT *, body.choices[1] AS choice, body.usage AS usage FROM head)
            )
        )
    ) AS head
"""

# Text and refusal are looked for in message items alone: reasoning items have texts of their own.
_RESPONSES_FIELDS = f"""
    SELECT head.*,
        list_filter(parts, lambda part: part.type = 'refusal')[1].refusal AS refusal,
        coalesce(text, tool_calls) AS said,
        len(calls) > 0 AND tool_calls IS NULL AS strange,
        coalesce(body.incomplete_details.reason, body.status) AS finish_reason,
        NULL::FLOAT[] AS embedding,
        usage.input_tokens AS input_tokens,
        usage.input_tokens_details.cached_tokens AS cached_input_tokens,
        usage.input_tokens_details.cache_write_tokens AS cache_write_tokens,
        usage.output_tokens AS output_tokens,
        usage.output_tokens_details.reasoning_tokens AS reasoning_tokens
    FROM (
        SELECT *, {_TOOL_CALLS} AS tool_calls,
            list_aggregate(
                [part.text FOR part IN parts IF part.type = 'output_text'], 'string_agg', ''
            ) AS text
        FROM (
            SELECT *,
                flatten([item.content FOR item IN items IF item.type = 'message']) AS parts,
                [{{
                    'id': coalesce(item.call_id, item.id),
                    'name': item.name,
                    'arguments': coalesce(item.arguments, item.input, '{{}}')
                }} FOR item IN items
                    IF item.type IN ('function_call', 'custom_tool_call')] AS calls
            FROM (
                SELECT *, body.usage AS usage,
                    json_transform(body.output, '{_OUTPUT_ITEM}') AS items
                FROM head
            )
        )
    ) AS head
"""

# A vector in base64 stays as it came, in `text`; one with a hole in it is no vector.
_EMBEDDINGS_FIELDS = """
    SELECT head.*,
        NULL::VARCHAR AS refusal,
        coalesce(encoded, embedding::VARCHAR) AS said,
        false AS strange,
        NULL::VARCHAR AS tool_calls,
        NULL::VARCHAR AS finish_reason,
        encoded AS text,
        usage.prompt_tokens AS input_tokens,
        usage.prompt_tokens_details.cached_tokens AS cached_input_tokens,
        NULL::VARCHAR AS cache_write_tokens,
        CASE WHEN usage.prompt_tokens IS NOT NULL THEN '0' END AS output_tokens,
        NULL::VARCHAR AS reasoning_tokens
    FROM (
        SELECT * EXCLUDE (numbers),
            CASE WHEN len(numbers) > 0 AND len(numbers) = list_count(numbers)
                THEN numbers END AS embedding
        FROM (
            SELECT *, body.usage AS usage,
                CASE WHEN json_type(vector) = 'VARCHAR' THEN vector ->> '$' END AS encoded,
                TRY_CAST(
                    CASE WHEN json_type(vector) = 'ARRAY' THEN vector END AS FLOAT[]
                ) AS numbers
            FROM (SELECT *, body.data[1].embedding AS vector FROM head)
        )
    ) AS head
"""

# One text or picture has one verdict. It costs nothing, but OpenAI does not say so: no tokens.
_MODERATIONS_FIELDS = """
    SELECT head.*,
        NULL::VARCHAR AS refusal,
        text AS said,
        false AS strange,
        NULL::VARCHAR AS tool_calls,
        NULL::VARCHAR AS finish_reason,
        NULL::FLOAT[] AS embedding,
        NULL::VARCHAR AS input_tokens,
        NULL::VARCHAR AS cached_input_tokens,
        NULL::VARCHAR AS cache_write_tokens,
        NULL::VARCHAR AS output_tokens,
        NULL::VARCHAR AS reasoning_tokens
    FROM (
        SELECT *, CASE WHEN json_type(body.results[1]) = 'OBJECT'
            THEN body.results[1]::VARCHAR END AS text
        FROM head
    ) AS head
"""

# Whose fault an error is says the provider's own table. A row without a status may name one as its
# code; 200 and an error object is still an error; status 0 is a row the provider lost.
_STATUS = """
    CASE WHEN http NOT BETWEEN 200 AND 299 THEN http
        ELSE TRY_CAST(regexp_extract(error_code, '^(http_)?([45][0-9][0-9])$', 2) AS INTEGER) END
"""
_FAULT = FAULTS.sql(code="error_code", kind="error_type", words="error_message", status="status")
_FAILURE = f"""
    CASE
        WHEN custom_id IS NULL THEN 'unreadable'
        WHEN error_code = 'batch_expired' THEN 'expired'
        WHEN error_code = 'batch_cancelled' THEN 'cancelled'
        WHEN http NOT BETWEEN 200 AND 299 OR row_failed OR body_failed THEN CASE {_FAULT}
            WHEN 'account' THEN 'withheld' WHEN 'request' THEN 'rejected' ELSE 'errored' END
        WHEN http IS NULL OR strange OR said IS NULL AND finish_reason IS NULL THEN 'unreadable'
        WHEN refusal IS NOT NULL OR finish_reason = 'content_filter' THEN 'refused'
        WHEN finish_reason IN ('length', 'max_output_tokens') THEN 'truncated'
        WHEN finish_reason IN ('failed', 'incomplete', 'in_progress', 'queued') THEN 'errored'
        WHEN finish_reason = 'cancelled' THEN 'cancelled'
    END
"""

_ENDPOINTS = {
    "/v1/chat/completions": (_CHAT, _CHAT_FIELDS),
    "/v1/responses": (_RESPONSES, _RESPONSES_FIELDS),
    "/v1/embeddings": (_EMBEDDINGS, _EMBEDDINGS_FIELDS),
    "/v1/moderations": (_MODERATIONS, _MODERATIONS_FIELDS),
}


def decode_sql(endpoint: str) -> str:
    """A SELECT from `lines` to position, custom_id, status, failure and what the row says.

    A line that is no JSON, has no custom_id or no known shape comes out as failure `unreadable`.
    """
    if endpoint not in _ENDPOINTS:
        known = ", ".join(_ENDPOINTS)
        raise SpecError(f"OpenAI results of endpoint {endpoint!r} cannot be read. Known: {known}.")
    body, fields = _ENDPOINTS[endpoint]
    reply: dict[str, object] = {
        "custom_id": "VARCHAR",
        "error": "JSON",
        "response": {
            "status_code": "VARCHAR",
            "body": {"model": "VARCHAR", "error": "JSON", **body},
        },
    }
    return f"""
WITH parsed AS (
    SELECT position, TRY(json_transform(line, '{json.dumps(reply)}')) AS reply FROM lines
), head AS (
    SELECT position,
        nullif(reply.custom_id, '') AS custom_id,
        TRY_CAST(reply.response.status_code AS INTEGER) AS http,
        reply.response.body AS body,
        reply.response.body.model AS model,
        reply.error AS row_error,
        reply.response.body.error AS body_error,
        {_there("row_error")} AS row_failed,
        {_there("body_error")} AS body_failed
    FROM parsed
), fields AS ({fields}), coded AS (
    SELECT *,
        coalesce({_said("row_error", "type")}, {_said("body_error", "type")}) AS error_type,
        coalesce({_said("row_error", "code")}, {_said("body_error", "code")},
            {_said("body_error", "type")},
            CASE WHEN http NOT BETWEEN 200 AND 299 THEN 'http_' || http END) AS error_code,
        coalesce({_said("row_error", "message")}, {_said("body_error", "message")},
            CASE WHEN json_type(row_error) = 'VARCHAR' THEN nullif(row_error ->> '$', '') END,
            CASE WHEN json_type(body_error) = 'VARCHAR' THEN nullif(body_error ->> '$', '') END,
            refusal) AS error_message
    FROM fields
), known AS (SELECT *, {_STATUS} AS status FROM coded
), judged AS (SELECT *, {_FAILURE} AS failure FROM known)
SELECT position, custom_id,
    CASE WHEN failure IS NULL THEN 'succeeded' ELSE 'failed' END AS status,
    failure, error_code, error_message, text, tool_calls, embedding, finish_reason, model,
    {_tokens("input_tokens")},
    {_tokens("cached_input_tokens")},
    {_tokens("cache_write_tokens")},
    NULL::BIGINT AS cache_write_1h_tokens,
    {_tokens("output_tokens")},
    {_tokens("reasoning_tokens")}
FROM judged
"""


def _said(name: str, key: str) -> str:
    return f"nullif({name} ->> '{key}', '')"


def _tokens(name: str) -> str:
    """A count of tokens; what cannot be one (negative, absurd, no number) is unknown."""
    count = f"TRY_CAST({name} AS BIGINT)"
    return f"CASE WHEN {count} BETWEEN 0 AND 999999999999 THEN {count} END AS {name}"
