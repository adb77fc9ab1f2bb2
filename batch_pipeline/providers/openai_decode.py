"""OpenAI result lines to outcome columns: one DuckDB query per endpoint, pure text.

The relation `lines(line, source, position)` holds one result line a row; `line` may be null or no
JSON at all. Of several choices the first counts. A row keeps its tokens and its text whatever its
failure is, because they were paid for.
"""
# ruff: noqa: S608 - every part of the queries is a literal of this file

from __future__ import annotations

import json

from batch_pipeline.errors import SpecError

_CHAT: dict[str, object] = {
    "choices": [
        {
            "message": {
                "content": "VARCHAR",
                "refusal": "VARCHAR",
                "tool_calls": "JSON",
                "function_call": "JSON",
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
_OUTPUT_ITEM = json.dumps(
    [{"type": "VARCHAR", "content": [{"type": "VARCHAR", "text": "VARCHAR", "refusal": "VARCHAR"}]}]
)

_CHAT_FIELDS = """
    SELECT head.*,
        nullif(message.refusal, '') AS refusal,
        coalesce(message.content, message.refusal, tool_calls, function_call) AS said,
        choice.finish_reason AS finish_reason,
        coalesce(message.content, tool_calls, function_call) AS text,
        NULL::FLOAT[] AS embedding,
        usage.prompt_tokens AS input_tokens,
        usage.prompt_tokens_details.cached_tokens AS cached_input_tokens,
        usage.prompt_tokens_details.cache_write_tokens AS cache_write_tokens,
        usage.completion_tokens AS output_tokens,
        usage.completion_tokens_details.reasoning_tokens AS reasoning_tokens
    FROM (
        SELECT *, choice.message AS message,
            nullif(choice.message.tool_calls::VARCHAR, '[]') AS tool_calls,
            choice.message.function_call::VARCHAR AS function_call
        FROM (SELECT *, body.choices[1] AS choice, body.usage AS usage FROM head)
    ) AS head
"""

# Text and refusal are looked for in message items alone: reasoning items have texts of their own.
_RESPONSES_FIELDS = f"""
    SELECT head.*,
        list_filter(parts, lambda part: part.type = 'refusal')[1].refusal AS refusal,
        coalesce(list_aggregate(texts, 'string_agg', ''), calls) AS said,
        coalesce(body.incomplete_details.reason, body.status) AS finish_reason,
        coalesce(list_aggregate(texts, 'string_agg', ''), calls) AS text,
        NULL::FLOAT[] AS embedding,
        usage.input_tokens AS input_tokens,
        usage.input_tokens_details.cached_tokens AS cached_input_tokens,
        usage.input_tokens_details.cache_write_tokens AS cache_write_tokens,
        usage.output_tokens AS output_tokens,
        usage.output_tokens_details.reasoning_tokens AS reasoning_tokens
    FROM (
        SELECT *, [part.text FOR part IN parts IF part.type = 'output_text'] AS texts
        FROM (
            SELECT *,
                flatten([item.content FOR item IN items IF item.type = 'message']) AS parts,
            FROM (
                SELECT *, body.usage AS usage,
                    json_transform(body.output, '{_OUTPUT_ITEM}') AS items,
                    nullif(
                        list_filter(
                            json_transform(body.output, '["JSON"]'),
                            lambda item: item ->> 'type' IN ('function_call', 'custom_tool_call')
                        ), []
                    )::JSON::VARCHAR AS calls
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

# 200 and an error object is still an error; 4xx means that the request is at fault, except for
# timeouts, conflicts and rate limits, which pass. Status 0 is a row the provider lost.
_FAILURE = """
    CASE
        WHEN custom_id IS NULL THEN 'unreadable'
        WHEN error_code = 'batch_expired' THEN 'expired'
        WHEN error_code = 'batch_cancelled' THEN 'cancelled'
        WHEN http BETWEEN 400 AND 499 AND http NOT IN (408, 409, 429) THEN 'rejected'
        WHEN http NOT BETWEEN 200 AND 299 OR row_failed OR body_failed THEN 'errored'
        WHEN http IS NULL OR said IS NULL AND finish_reason IS NULL THEN 'unreadable'
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
        {_error("row_error")} AS row_failed,
        {_error("body_error")} AS body_failed
    FROM parsed
), fields AS ({fields}), coded AS (
    SELECT *,
        coalesce({_said("row_error", "code")}, {_said("body_error", "code")},
            {_said("body_error", "type")},
            CASE WHEN http NOT BETWEEN 200 AND 299 THEN 'http_' || http END) AS error_code,
        coalesce({_said("row_error", "message")}, {_said("body_error", "message")},
            CASE WHEN json_type(row_error) = 'VARCHAR' THEN nullif(row_error ->> '$', '') END,
            CASE WHEN json_type(body_error) = 'VARCHAR' THEN nullif(body_error ->> '$', '') END,
            refusal) AS error_message
    FROM fields
), judged AS (SELECT *, {_FAILURE} AS failure FROM coded)
SELECT position, custom_id,
    CASE WHEN failure IS NULL THEN 'succeeded' ELSE 'failed' END AS status,
    failure, error_code, error_message, text, embedding, finish_reason, model,
    {_tokens("input_tokens")},
    {_tokens("cached_input_tokens")},
    {_tokens("cache_write_tokens")},
    {_tokens("output_tokens")},
    {_tokens("reasoning_tokens")}
FROM judged
"""


def _error(name: str) -> str:
    """Whether an error is there: null, false, 0, "", {{}} and [] are none."""
    return (
        f"({name} IS NOT NULL AND {name}::VARCHAR NOT IN ('null','false','0','\"\"','{{}}','[]'))"
    )


def _said(name: str, key: str) -> str:
    return f"nullif({name} ->> '{key}', '')"


def _tokens(name: str) -> str:
    """A count of tokens; what cannot be one (negative, absurd, no number) is unknown."""
    count = f"TRY_CAST({name} AS BIGINT)"
    return f"CASE WHEN {count} BETWEEN 0 AND 999999999999 THEN {count} END AS {name}"
