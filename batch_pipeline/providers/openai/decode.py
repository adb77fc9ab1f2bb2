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
from batch_pipeline.providers import complaints
from batch_pipeline.providers.billed import EMPTY_WORDS
from batch_pipeline.providers.openai.facts import FAULTS
from batch_pipeline.providers.openai.fields import ENDPOINTS

_ERROR: dict[str, object] = {  # as gateways flatten it into the body
    "object": "VARCHAR",
    **dict.fromkeys(("error", "message", "detail"), "JSON"),
    **dict.fromkeys(("code", "type"), "VARCHAR"),
}
_FAILED = "(row_failed OR body_failed OR http IS NULL OR http NOT BETWEEN 200 AND 299)"
_ROW, _BODY, _FLAT = "row_problem", "body_problem", "flat_problem"
_ALL = (_ROW, _BODY, _FLAT)


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
        WHEN filtered THEN 'refused'
        WHEN http NOT BETWEEN 200 AND 299 OR row_failed OR body_failed THEN CASE {_FAULT}
            WHEN 'account' THEN 'withheld' WHEN 'request' THEN 'rejected' ELSE 'errored' END
        WHEN http IS NULL OR strange OR said IS NULL AND finish_reason IS NULL AND NOT bare
            THEN 'unreadable'
        WHEN refusal IS NOT NULL OR finish_reason = 'content_filter' THEN 'refused'
        WHEN finish_reason IN ('length', 'max_output_tokens') THEN 'truncated'
        WHEN finish_reason IN ('failed', 'incomplete', 'in_progress', 'queued') THEN 'errored'
        WHEN finish_reason = 'cancelled' THEN 'cancelled'
        WHEN said IS NULL THEN 'empty'
    END
"""


def decode_sql(endpoint: str) -> str:
    """A SELECT from `lines` to position, custom_id, status, failure and what the row says.

    A line that is no JSON, has no custom_id or no known shape comes out as failure `unreadable`.
    """
    if endpoint not in ENDPOINTS:
        known = ", ".join(ENDPOINTS)
        raise SpecError(f"OpenAI results of endpoint {endpoint!r} cannot be read. Known: {known}.")
    body, fields = ENDPOINTS[endpoint]
    body = {"model": "VARCHAR", "service_tier": "VARCHAR", **_ERROR, **body}
    reply: dict[str, object] = {
        "custom_id": "VARCHAR",
        "error": "JSON",
        "response": {"status_code": "VARCHAR", "body": body},
    }
    return f"""
WITH parsed AS (
    SELECT position, line, TRY(json_transform(line, '{json.dumps(reply)}')) AS reply FROM lines
), quoted AS (
    SELECT position, reply,
        CASE WHEN reply.custom_id IS NOT NULL AND reply.response.body.model IS NULL
            AND reply.response.body.error IS NULL THEN TRY(line ->> '$.response.body') END AS quote
    FROM parsed
), opened AS (
    SELECT position,
        nullif(reply.custom_id, '') AS custom_id,
        TRY_CAST(reply.response.status_code AS INTEGER) AS http,
        CASE WHEN quote IS NULL THEN reply.response.body
            ELSE TRY(json_transform(quote, '{json.dumps(body)}')) END AS body,
        quote,
        reply.error AS row_error
    FROM quoted
), head AS (
    SELECT *, body.model AS model,
        {complaints.given("row_error")} AS row_failed,
        {complaints.given("body.error")} OR coalesce(body.object = 'error', false) AS body_failed,
        CASE WHEN {complaints.given("row_error")} THEN {complaints.unwrapped("row_error")} END
            AS {_ROW},
        CASE WHEN {complaints.given("body.error")} THEN {complaints.unwrapped("body.error")} END
            AS {_BODY},
        CASE WHEN body.object = 'error' OR http NOT BETWEEN 200 AND 299 THEN
            to_json({{'code': body.code, 'type': body.type, 'message': body.message,
                'detail': body.detail}}) END AS {_FLAT}
    FROM opened
), fields AS ({fields}), coded AS (
    SELECT *,
        CASE WHEN {_FAILED} THEN {complaints.first(complaints.member("one", "type"), _ALL)}
            END AS error_type,
        CASE WHEN {_FAILED} THEN coalesce({complaints.first(complaints.code("one"), _ALL)},
            CASE WHEN http NOT BETWEEN 200 AND 299 THEN 'http_' || http END) END AS error_code,
        CASE WHEN {_FAILED} THEN coalesce({complaints.first(complaints.message("one"), _ALL)},
            refusal, CASE WHEN http NOT BETWEEN 200 AND 299 THEN nullif(quote, '') END)
            ELSE refusal END AS error_message
    FROM fields
), weighed AS (
    SELECT *,
        coalesce((http NOT BETWEEN 200 AND 299 OR row_failed OR body_failed)
            AND (error_code IN {complaints.CONTENT_FILTER}
                OR {_BODY} ->> '$.innererror.code' IN {complaints.CONTENT_FILTER}
                OR {_ROW} ->> '$.innererror.code' IN {complaints.CONTENT_FILTER}), false)
            AS filtered
    FROM coded
), known AS (SELECT *, {_STATUS} AS status FROM weighed
), judged AS (SELECT *, {_FAILURE} AS failure FROM known)
SELECT position, custom_id,
    CASE WHEN failure IS NULL THEN 'succeeded' ELSE 'failed' END AS status,
    failure,
    CASE WHEN failure = 'empty' THEN coalesce(unread, 'empty') ELSE error_code END AS error_code,
    CASE WHEN failure = 'empty' THEN {EMPTY_WORDS} ELSE error_message END AS error_message,
    text, tool_calls, embedding, finish_reason, model,
    {_tokens("input_tokens")},
    {_tokens("cached_input_tokens")},
    {_tokens("cache_write_tokens")},
    NULL::BIGINT AS cache_write_1h_tokens,
    {_tokens("output_tokens")},
    {_tokens("reasoning_tokens")},
    nullif(coalesce(body.service_tier, usage_tier), '') AS service_tier,
    extras,
    NULL::VARCHAR AS annotations
FROM judged
"""


def _tokens(name: str) -> str:
    """A count of tokens; what cannot be one (negative, absurd, no number) is unknown."""
    count = f"TRY_CAST({name} AS BIGINT)"
    return f"CASE WHEN {count} BETWEEN 0 AND 999999999999 THEN {count} END AS {name}"
