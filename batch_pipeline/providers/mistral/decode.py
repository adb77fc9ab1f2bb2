"""Mistral result lines to outcome columns: one DuckDB query per endpoint, pure text.

The relation `lines(line, source, position)` holds one result line a row; `line` may be null or no
JSON at all. An error row's body is JSON inside a string: a body that names no model is looked at
again for that. Of several choices the first counts. A row keeps its tokens and its text whatever
its failure is.
"""
# ruff: noqa: S608 - every part of the queries is a literal of this file

from __future__ import annotations

import json

from batch_pipeline.errors import SpecError
from batch_pipeline.providers import complaints
from batch_pipeline.providers.billed import EMPTY_WORDS, extras_sql, unread_sql
from batch_pipeline.providers.mistral.facts import FAULTS
from batch_pipeline.providers.mistral.record import CHAT, EMBEDDINGS, MODERATIONS, OCR

_CACHED = {"cached_tokens": "VARCHAR"}
_USAGE: dict[str, object] = {
    "prompt_tokens": "VARCHAR",
    "completion_tokens": "VARCHAR",
    "prompt_tokens_details": _CACHED,
    "prompt_token_details": _CACHED,  # so written by the embeddings' documentation
    "prompt_audio_seconds": "VARCHAR",
    "connectors": "JSON",
    "service_tier": "VARCHAR",
}
_BODIES: dict[str, dict[str, object]] = {
    CHAT: {
        "choices": [
            {"message": {"content": "JSON", "tool_calls": "JSON"}, "finish_reason": "VARCHAR"}
        ],
        "usage": _USAGE,
    },
    EMBEDDINGS: {"data": [{"embedding": "JSON"}], "usage": _USAGE},
    MODERATIONS: {"results": ["JSON"], "usage": _USAGE},
    OCR: {
        "pages": [
            {
                "index": "BIGINT",
                "markdown": "VARCHAR",
                "images": [{"id": "VARCHAR", "image_annotation": "JSON"}],
            }
        ],
        "document_annotation": "JSON",
        "usage": _USAGE,
        "usage_info": {"pages_processed": "VARCHAR"},
    },
}
_ERROR: dict[str, object] = {
    "object": "VARCHAR",
    "message": "JSON",
    "detail": "JSON",
    "error": "JSON",
    "type": "VARCHAR",
    "code": "VARCHAR",
}
_ROW, _BODY, _FLAT = "row_problem", "body_problem", "flat_problem"
_PARTS = '[{"type":"VARCHAR","text":"VARCHAR"}]'
_CALLS = '[{"id":"VARCHAR","function":{"name":"VARCHAR","arguments":"JSON"}}]'

# Content is a text, or parts of which only those of type text are the answer: others are thoughts
# and references. Arguments are JSON text for every provider, though Mistral may send an object.
_CHAT_EXTRAS = extras_sql(
    {"audio_seconds": "body.usage.prompt_audio_seconds"},
    others="""[{'k': name, 'v': TRY_CAST(body.usage.connectors ->> name AS BIGINT)} FOR name IN
        json_keys(CASE WHEN json_type(body.usage.connectors) = 'OBJECT'
            THEN body.usage.connectors END)]""",
)
_CHAT_FIELDS = f"""
    SELECT * EXCLUDE (words),
        CASE WHEN len(calls) > 0 THEN nullif(words, '') ELSE words END AS text,
        CASE WHEN len(calls) > 0 THEN to_json([
            {{'id': call.id, 'name': call.function.name, 'arguments': coalesce(
                CASE WHEN json_type(call.function.arguments) = 'VARCHAR'
                    THEN call.function.arguments ->> '$'
                    ELSE call.function.arguments::VARCHAR END, '{{}}')}}
            FOR call IN calls
        ])::VARCHAR END AS tool_calls,
        NULL::FLOAT[] AS embedding,
        choice.finish_reason AS finish_reason,
        false AS bare,
        {unread_sql("[part.type FOR part IN parts]", known="('text')")} AS unread,
        {_CHAT_EXTRAS} AS extras,
        NULL::VARCHAR AS annotations,
        body.usage.completion_tokens AS output_tokens
    FROM (
        SELECT *,
            CASE json_type(content)
                WHEN 'VARCHAR' THEN content ->> '$'
                WHEN 'ARRAY' THEN list_aggregate(
                    [part.text FOR part IN parts IF part.type = 'text'], 'string_agg', '')
            END AS words,
            CASE WHEN json_type(choice.message.tool_calls) = 'ARRAY'
                THEN json_transform(choice.message.tool_calls, '{_CALLS}') END AS calls
        FROM (
            SELECT *, CASE WHEN json_type(content) = 'ARRAY'
                THEN json_transform(content, '{_PARTS}') END AS parts
            FROM (
                SELECT *, body.choices[1] AS choice, body.choices[1].message.content AS content
                FROM head
            )
        )
    )
"""

# A vector in base64 stays as it came, in `text`; one with a hole in it is no vector.
_EMBEDDINGS_FIELDS = """
    SELECT * EXCLUDE (numbers),
        CASE WHEN json_type(vector) = 'VARCHAR' THEN vector ->> '$' END AS text,
        NULL::VARCHAR AS tool_calls,
        CASE WHEN len(numbers) > 0 AND len(numbers) = list_count(numbers)
            THEN numbers END AS embedding,
        NULL::VARCHAR AS finish_reason,
        coalesce(len(body.data) = 0 OR body.data[1] IS NOT NULL
            AND coalesce(vector::VARCHAR, 'null') IN ('null', '[]', '""'), false) AS bare,
        NULL::VARCHAR AS unread,
        NULL::VARCHAR AS extras,
        NULL::VARCHAR AS annotations,
        coalesce(body.usage.completion_tokens,
            CASE WHEN body.usage.prompt_tokens IS NOT NULL THEN '0' END) AS output_tokens
    FROM (
        SELECT *,
            TRY_CAST(CASE WHEN json_type(vector) = 'ARRAY' THEN vector END AS FLOAT[]) AS numbers
        FROM (SELECT *, body.data[1].embedding AS vector FROM head)
    )
"""

_NO_FIELDS = """
        NULL::VARCHAR AS tool_calls,
        NULL::FLOAT[] AS embedding,
        NULL::VARCHAR AS finish_reason,
        NULL::VARCHAR AS unread,
        body.usage.completion_tokens AS output_tokens
    FROM head
"""
_MODERATIONS_FIELDS = f"""
    SELECT *,
        CASE WHEN json_type(body.results[1]) = 'OBJECT'
            THEN body.results[1]::VARCHAR END AS text,
        coalesce(len(body.results) = 0, false) AS bare,
        NULL::VARCHAR AS extras,
        NULL::VARCHAR AS annotations,
        {_NO_FIELDS}
"""
# A document without a word on it is an answer too; one without a page is none. What was asked
# about the document and its images comes as JSON in texts; it stays so, with its place.
_IMAGES = f"""flatten([[{{'page': page.index, 'id': image.id, 'annotation': image.image_annotation}}
    FOR image IN page.images IF {complaints.given("image.image_annotation")}]
    FOR page IN body.pages])"""
_DOCUMENT = (
    f"CASE WHEN {complaints.given('body.document_annotation')} THEN body.document_annotation END"
)
_OCR_FIELDS = f"""
    SELECT *,
        CASE WHEN len(body.pages) > 0 THEN coalesce(list_aggregate(
            [page.markdown FOR page IN body.pages], 'string_agg', chr(10) || chr(10)), '')
        END AS text,
        coalesce(len(body.pages) = 0, false) AS bare,
        CASE WHEN document IS NOT NULL OR len(images) > 0 THEN
            to_json({{'document': document, 'images': images}})::VARCHAR END AS annotations,
        {{extras}} AS extras,
        {_NO_FIELDS.replace("FROM head", "")}
    FROM (SELECT *, {_DOCUMENT} AS document, coalesce({_IMAGES}, []) AS images FROM head)
""".replace(
    "{extras}",
    extras_sql(
        {
            "ocr_pages": "CASE WHEN document IS NULL AND len(images) = 0 "
            "THEN body.usage_info.pages_processed END",
            "ocr_annotated_pages": "CASE WHEN document IS NOT NULL OR len(images) > 0 "
            "THEN body.usage_info.pages_processed END",
        }
    ),
)

_FIELDS = {
    CHAT: _CHAT_FIELDS,
    EMBEDDINGS: _EMBEDDINGS_FIELDS,
    MODERATIONS: _MODERATIONS_FIELDS,
    OCR: _OCR_FIELDS,
}

# Whose fault an error is says the provider's own table; 200 and an error is still an error.
_STATUS = """
    CASE WHEN http NOT BETWEEN 200 AND 299 THEN http
        ELSE TRY_CAST(regexp_extract(error_code, '^(http_)?([45][0-9][0-9])$', 2) AS INTEGER) END
"""
_FAULT = FAULTS.sql(code="error_code", kind="body.type", words="error_message", status="status")
_FAILURE = f"""
    CASE
        WHEN custom_id IS NULL THEN 'unreadable'
        WHEN error_code IN {complaints.CONTENT_FILTER} AND finish_reason IS NULL THEN 'refused'
        WHEN http NOT BETWEEN 200 AND 299 OR row_failed OR body_failed THEN CASE {_FAULT}
            WHEN 'account' THEN 'withheld' WHEN 'request' THEN 'rejected' ELSE 'errored' END
        WHEN http IS NULL THEN 'unreadable'
        WHEN coalesce(text, tool_calls, embedding::VARCHAR, finish_reason) IS NULL AND NOT bare
            THEN 'unreadable'
        WHEN finish_reason IN ('length', 'model_length') THEN 'truncated'
        WHEN finish_reason = 'content_filter' THEN 'refused'
        WHEN finish_reason = 'error' THEN 'errored'
        WHEN bare OR finish_reason IS NOT NULL AND coalesce(text, '') = '' AND tool_calls IS NULL
            THEN 'empty'
    END
"""


def decode_sql(endpoint: str) -> str:
    """A SELECT from `lines` to position, custom_id, status, failure and what the row says.

    A line that is no JSON, has no custom_id or no known shape comes out as failure `unreadable`.
    """
    if endpoint not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise SpecError(f"Mistral results of endpoint {endpoint!r} cannot be read. Known: {known}.")
    body = {"model": "VARCHAR", "service_tier": "VARCHAR", **_ERROR, **_BODIES[endpoint]}
    reply = {
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
            THEN TRY(line ->> '$.response.body') END AS quote
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
    SELECT *,
        {complaints.given("row_error")} AS row_failed,
        {complaints.given("body.error")} OR coalesce(body.object = 'error', false) AS body_failed,
        {complaints.unwrapped("row_error")} AS {_ROW},
        {complaints.unwrapped("body.error")} AS {_BODY},
        to_json({{'message': body.message, 'detail': body.detail}}) AS {_FLAT}
    FROM opened
), fields AS ({_FIELDS[endpoint]}), coded AS (
    SELECT *,
        body.model AS model,
        body.usage.prompt_tokens AS input_tokens,
        coalesce(body.usage.prompt_tokens_details.cached_tokens,
            body.usage.prompt_token_details.cached_tokens) AS cached_input_tokens,
        coalesce({complaints.code(_ROW)}, nullif(body.code, ''), nullif(body.type, ''),
            {complaints.code(_BODY)},
            CASE WHEN http NOT BETWEEN 200 AND 299 THEN 'http_' || http END) AS error_code,
        coalesce({complaints.first(complaints.message("one"), (_ROW, _FLAT, _BODY))},
            CASE WHEN http NOT BETWEEN 200 AND 299 THEN nullif(quote, '') END) AS error_message
    FROM fields
), known AS (SELECT *, {_STATUS} AS status FROM coded
), judged AS (SELECT *, {_FAILURE} AS failure FROM known)
SELECT position, custom_id,
    CASE WHEN failure IS NULL THEN 'succeeded' ELSE 'failed' END AS status,
    failure,
    CASE WHEN failure = 'empty' THEN coalesce(unread, 'empty') ELSE error_code END AS error_code,
    CASE WHEN failure = 'empty' THEN {EMPTY_WORDS} ELSE error_message END AS error_message,
    text, tool_calls, embedding, finish_reason, model,
    {_tokens("input_tokens")},
    {_tokens("cached_input_tokens")},
    NULL::BIGINT AS cache_write_tokens,
    NULL::BIGINT AS cache_write_1h_tokens,
    {_tokens("output_tokens")},
    NULL::BIGINT AS reasoning_tokens,
    nullif(coalesce(body.service_tier, body.usage.service_tier), '') AS service_tier,
    extras, annotations
FROM judged
"""


def _tokens(name: str) -> str:
    """A count of tokens; what cannot be one (negative, absurd, no number) is unknown."""
    count = f"TRY_CAST({name} AS BIGINT)"
    return f"CASE WHEN {count} BETWEEN 0 AND 999999999999 THEN {count} END AS {name}"
