"""What OpenAI's result bodies say, per endpoint: the body's shape and a query over it.

Each query selects from `head` and adds the columns of an answer: `text`, `tool_calls`,
`embedding`, `finish_reason`, `refusal`, the token counts, `said` (null: nothing that is read),
`strange` (calls without a name), `bare` (an answer with nothing in it), `unread` (what is in it
instead) and `extras` (billed beside tokens).
"""
# ruff: noqa: S608 - every part of the queries is a literal of this file

from __future__ import annotations

import json

from batch_pipeline.providers.billed import counted_sql, extras_sql, unread_sql
from batch_pipeline.providers.complaints import given

_KEPT = {"cached_tokens": "VARCHAR", "cache_write_tokens": "VARCHAR"}
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
                "annotations": "JSON",
                "audio": "JSON",
                **dict.fromkeys(("reasoning", "reasoning_content"), "VARCHAR"),
            },
            "finish_reason": "VARCHAR",
        }
    ],
    "usage": {
        "prompt_tokens": "VARCHAR",
        "prompt_tokens_details": {**_KEPT, "audio_tokens": "VARCHAR"},
        "completion_tokens": "VARCHAR",
        "completion_tokens_details": {"reasoning_tokens": "VARCHAR", "audio_tokens": "VARCHAR"},
        "service_tier": "VARCHAR",
    },
}
_RESPONSES: dict[str, object] = {
    "status": "VARCHAR",
    "incomplete_details": {"reason": "VARCHAR"},
    "output": "JSON",
    "tool_usage": "JSON",
    "tools": "JSON",
    "usage": {
        "input_tokens": "VARCHAR",
        "input_tokens_details": {**_KEPT, "audio_tokens": "VARCHAR"},
        "output_tokens": "VARCHAR",
        "output_tokens_details": {"reasoning_tokens": "VARCHAR", "audio_tokens": "VARCHAR"},
        "tool_usage": "JSON",
        "service_tier": "VARCHAR",
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
            "action": {"type": "VARCHAR"},
            "environment": {"type": "VARCHAR"},
            **dict.fromkeys(("id", "call_id", "name", "arguments", "input"), "VARCHAR"),
            **dict.fromkeys(("phase", "container_id"), "VARCHAR"),
        }
    ]
)

# Arguments stay the model's own text; a call without any is one with none to give.
_TOOL_CALLS = """
    CASE WHEN len(calls) > 0 AND list_bool_and([call.name IS NOT NULL FOR call IN calls])
        THEN to_json(calls)::VARCHAR END
"""

_CHAT_UNREAD = unread_sql(
    f"[CASE WHEN {given('message.audio')} THEN 'audio' END, "
    "CASE WHEN coalesce(message.reasoning, message.reasoning_content, '') <> '' "
    "OR TRY_CAST(usage.completion_tokens_details.reasoning_tokens AS BIGINT) > 0 "
    "THEN 'reasoning' END]",
    known="()",
)
# A model that searches by itself says so with citations, or by its name; it counts no searches.
_CHAT_EXTRAS = extras_sql(
    {
        "audio_input_tokens": "usage.prompt_tokens_details.audio_tokens",
        "audio_output_tokens": "usage.completion_tokens_details.audio_tokens",
        "chat_web_search": f"""CASE WHEN {given("message.annotations")}
            OR model LIKE '%-search-%' THEN 1 END""",
    }
)
_CHAT_MORE = f"""({given("message.annotations")} OR model LIKE '%-search-%'
    OR coalesce(usage.prompt_tokens_details.audio_tokens, '0') <> '0'
    OR coalesce(usage.completion_tokens_details.audio_tokens, '0') <> '0')"""
_CHAT_FIELDS = f"""
    SELECT head.*,
        nullif(message.refusal, '') AS refusal,
        coalesce(nullif(message.content, ''), nullif(message.refusal, ''), tool_calls) AS said,
        len(calls) > 0 AND tool_calls IS NULL AS strange,
        false AS bare,
        CASE WHEN coalesce(message.content, '') = '' AND tool_calls IS NULL
            THEN {_CHAT_UNREAD} END AS unread,
        CASE WHEN {_CHAT_MORE} THEN {_CHAT_EXTRAS} END AS extras,
        choice.finish_reason AS finish_reason,
        CASE WHEN tool_calls IS NULL THEN message.content
            ELSE nullif(message.content, '') END AS text,
        NULL::FLOAT[] AS embedding,
        usage.service_tier AS usage_tier,
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

# What OpenAI bills by tokens alone; of other items nobody here knows what they cost.
_FREE = (
    "('message', 'function_call', 'function_call_output', 'custom_tool_call', "
    "'custom_tool_call_output', 'reasoning', 'compaction', 'computer_call', "
    "'computer_call_output', 'local_shell_call', 'local_shell_call_output', 'shell_call_output', "
    "'apply_patch_call', 'apply_patch_call_output', 'mcp_call', 'mcp_list_tools', "
    "'mcp_approval_request', 'mcp_approval_response', 'tool_search_call', 'tool_search_output', "
    "'additional_tools')"
)
_PRICED_ITEMS = (
    "('web_search_call', 'file_search_call', 'code_interpreter_call', 'image_generation_call', "
    "'shell_call')"
)
_READ_PARTS = "('output_text', 'refusal')"
_READ_ITEMS = "('message', 'function_call', 'custom_tool_call')"


def _items(kind: str, more: str = "true") -> str:
    return f"len([item FOR item IN items IF item.type = '{kind}' AND ({more})])"


# The count of billed searches is the provider's own, else that of the searches in the answer:
# pages that were only opened are not billed.
_SEARCHES = f"""coalesce(TRY_CAST(told ->> '$.web_search.num_requests' AS BIGINT),
    {_items("web_search_call", "coalesce(item.action.type, 'search') = 'search'")})"""
_PREVIEW = "coalesce(body.tools::VARCHAR LIKE '%\"web_search_preview%', false)"
_TOLD = """list_filter(json_keys(CASE WHEN json_type(told) = 'OBJECT' THEN told END),
    lambda tool: regexp_matches((told -> tool)::VARCHAR, '[:\\[ ]*[1-9]'))"""
_RESPONSES_EXTRAS = extras_sql(
    {
        "web_search": f"CASE WHEN NOT {_PREVIEW} THEN {_SEARCHES} END",
        "web_search_preview": f"CASE WHEN {_PREVIEW} THEN {_SEARCHES} END",
        "file_search": _items("file_search_call"),
        "code_interpreter": """len(list_distinct([coalesce(item.container_id, item.id, '')
            FOR item IN items IF item.type = 'code_interpreter_call']))""",
        "image_generation": f"""greatest({_items("image_generation_call")},
            CASE WHEN list_contains(told_tools, 'image_gen') THEN 1 END)""",
        "hosted_shell": _items("shell_call", "item.environment.type IS DISTINCT FROM 'local'"),
        "audio_input_tokens": "usage.input_tokens_details.audio_tokens",
        "audio_output_tokens": "usage.output_tokens_details.audio_tokens",
    },
    others=f"""list_concat(
        {counted_sql("[item.type FOR item IN items]", known=_FREE[:-1] + ", " + _PRICED_ITEMS[1:])},
        {
        counted_sql(
            "told_tools", known="('web_search', 'image_gen', 'file_search', 'code_interpreter')"
        )
    })""",
)

# The cheap question first: most rows used nothing of the provider's.
_RESPONSES_MORE = f"""(len(told_tools) > 0
    OR coalesce(usage.input_tokens_details.audio_tokens, '0') <> '0'
    OR coalesce(usage.output_tokens_details.audio_tokens, '0') <> '0'
    OR len([item FOR item IN items IF coalesce(item.type, '') NOT IN {_FREE}]) > 0)"""

# With phases named the final answer alone counts; without one the words are kept, as no success.
_WORDS = """list_aggregate(
    [part.text FOR part IN {parts} IF part.type = 'output_text'], 'string_agg', '')"""

# Text and refusal are looked for in message items alone: reasoning items have texts of their own.
_UNREAD_NAMES = "list_concat([item.type FOR item IN items], [part.type FOR part IN parts])"
_RESPONSES_FIELDS = f"""
    SELECT head.*,
        refused AS refusal,
        CASE WHEN unfinished THEN tool_calls
            ELSE coalesce(nullif(answered, ''), refused, tool_calls) END AS said,
        len(calls) > 0 AND tool_calls IS NULL AS strange,
        items IS NOT NULL OR body.status IS NOT NULL AS bare,
        CASE WHEN unfinished THEN 'commentary without a final answer'
            WHEN coalesce(answered, '') = '' AND tool_calls IS NULL THEN
            {unread_sql(_UNREAD_NAMES, known=_READ_ITEMS[:-1] + ", " + _READ_PARTS[1:])}
        END AS unread,
        CASE WHEN {_RESPONSES_MORE} THEN {_RESPONSES_EXTRAS} END AS extras,
        CASE WHEN tool_calls IS NULL THEN coalesce(answered, spoken)
            ELSE nullif(answered, '') END AS text,
        coalesce(body.incomplete_details.reason, body.status) AS finish_reason,
        NULL::FLOAT[] AS embedding,
        usage.service_tier AS usage_tier,
        usage.input_tokens AS input_tokens,
        usage.input_tokens_details.cached_tokens AS cached_input_tokens,
        usage.input_tokens_details.cache_write_tokens AS cache_write_tokens,
        usage.output_tokens AS output_tokens,
        usage.output_tokens_details.reasoning_tokens AS reasoning_tokens
    FROM (
        SELECT *, {_TOOL_CALLS} AS tool_calls,
            {_WORDS.format(parts="parts")} AS spoken,
            CASE WHEN NOT unfinished THEN {_WORDS.format(parts="final")} END AS answered,
            nullif(list_filter(parts, lambda part: part.type = 'refusal')[1].refusal, '')
                AS refused,
            {_TOLD} AS told_tools
        FROM (
            SELECT *,
                flatten([item.content FOR item IN items IF item.type = 'message']) AS parts,
                CASE WHEN phased
                    THEN flatten([item.content FOR item IN items
                        IF item.type = 'message' AND item.phase = 'final_answer'])
                    ELSE flatten([item.content FOR item IN items IF item.type = 'message'])
                    END AS final,
                coalesce(phased AND len([item FOR item IN items
                    IF item.type = 'message' AND item.phase = 'final_answer']) = 0, false)
                    AS unfinished,
                [{{
                    'id': coalesce(item.call_id, item.id),
                    'name': item.name,
                    'arguments': coalesce(item.arguments, item.input, '{{}}')
                }} FOR item IN items
                    IF item.type IN ('function_call', 'custom_tool_call')] AS calls
            FROM (
                SELECT *, coalesce(len([item FOR item IN items
                        IF item.type = 'message' AND item.phase IS NOT NULL]) > 0, false)
                        AS phased
                FROM (
                    SELECT *, body.usage AS usage,
                        coalesce(body.tool_usage, body.usage.tool_usage) AS told,
                        json_transform(body.output, '{_OUTPUT_ITEM}') AS items
                    FROM head
                )
            )
        )
    ) AS head
"""

# A vector in base64 stays as it came, in `text`; one with a hole in it is no vector.
_EMBEDDINGS_FIELDS = """
    SELECT head.*,
        NULL::VARCHAR AS refusal,
        coalesce(nullif(encoded, ''), embedding::VARCHAR) AS said,
        false AS strange,
        bare,
        NULL::VARCHAR AS unread,
        NULL::VARCHAR AS extras,
        NULL::VARCHAR AS usage_tier,
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
                coalesce(len(body.data) = 0 OR body.data[1] IS NOT NULL
                    AND coalesce(vector::VARCHAR, 'null') IN ('null', '[]', '""'), false) AS bare,
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
        coalesce(len(body.results) = 0, false) AS bare,
        NULL::VARCHAR AS unread,
        NULL::VARCHAR AS extras,
        NULL::VARCHAR AS usage_tier,
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

ENDPOINTS = {
    "/v1/chat/completions": (_CHAT, _CHAT_FIELDS),
    "/v1/responses": (_RESPONSES, _RESPONSES_FIELDS),
    "/v1/embeddings": (_EMBEDDINGS, _EMBEDDINGS_FIELDS),
    "/v1/moderations": (_MODERATIONS, _MODERATIONS_FIELDS),
}
"""Per endpoint the shape of a body, and the query over `head` that reads it."""
