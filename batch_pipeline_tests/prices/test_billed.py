"""What a whole result line costs: read by its provider's codec, priced by the table of the day."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from batch_pipeline.prices import sql as columns
from batch_pipeline.prices.find import Prices
from batch_pipeline.prices.overrides import Override
from batch_pipeline.providers.anthropic import decode as anthropic_decode
from batch_pipeline.providers.mistral import decode as mistral_decode
from batch_pipeline.providers.openai import decode as openai_decode

ON = datetime(2026, 11, 25, tzinfo=UTC)
CASES = Path(__file__).parents[3] / "shared" / "cases" / "lines.jsonl"
CHAT, RESPONSES, MESSAGES, OCR = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/ocr"
CON = duckdb.connect()
_DECODE = {
    "openai": openai_decode.decode_sql,
    "anthropic": anthropic_decode.decode_sql,
    "mistral": mistral_decode.decode_sql,
}


def billed(
    provider: str, endpoint: str, line: object, *, prices: Prices | None = None
) -> dict[str, Any]:
    """The columns of one line, with its cost, why it is unknown, and where the price is from."""
    decode = _DECODE[provider](endpoint)
    with CON.cursor() as con:
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE rows AS SELECT '{provider}' AS provider, * FROM (
                WITH lines AS (SELECT $line AS line, 'output' AS source, 1 AS position)
                SELECT * FROM ({decode}))
            """,  # noqa: S608 - ours
            {"line": json.dumps(line)},
        )
        [(model,)] = con.execute("SELECT model FROM rows").fetchall()
        con.register("prices", columns.table(prices or Prices(ON), [(provider, model or "")]))
        cost, live = columns.cost_sql("paid"), columns.cost_sql("live")
        query = f"""
            SELECT rows.*, {cost} AS cost, {live} AS live, price.source,
                {columns.unknown_reason_sql("cost")} AS why
            FROM {columns.join_sql("rows")}
        """  # noqa: S608 - ours
        [row] = con.sql(query).to_arrow_table().to_pylist()
        return dict(row)


def chat(model: str = "gpt-5-nano", *, content: str | None = "x", **more: object) -> object:
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    body = {
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
        **more,
    }
    return {"custom_id": "r", "response": {"status_code": 200, "body": body}, "error": None}


def response(*items: object, model: str = "gpt-5.4-nano", **more: object) -> object:
    text = {"type": "output_text", "text": "Found."}
    said = {"type": "message", "phase": "final_answer", "content": [text]}
    body = {
        "model": model,
        "status": "completed",
        "output": [*items, said],
        "usage": {"input_tokens": 1000, "output_tokens": 100},
        **more,
    }
    return {"custom_id": "r", "response": {"status_code": 200, "body": body}, "error": None}


def claude(*blocks: object, model: str = "claude-opus-5", **usage: object) -> object:
    content = [{"type": "text", "text": "Found."}, *blocks]
    counts = {"input_tokens": 13333, "output_tokens": 203, "service_tier": "batch"} | usage
    message = {"model": model, "content": content, "stop_reason": "end_turn", "usage": counts}
    return {"custom_id": "r", "result": {"type": "succeeded", "message": message}}


def ocr(pages: int = 10, **more: object) -> object:
    body = {
        "model": "mistral-ocr-latest",
        "pages": [{"index": 0, "markdown": "# Bill", "images": []}],
        "usage_info": {"pages_processed": pages},
        **more,
    }
    return {"custom_id": "r", "response": {"status_code": 200, "body": body}, "error": None}


def test_a_search_of_anthropics_is_billed_beside_the_tokens_as_recorded() -> None:
    row = billed("anthropic", MESSAGES, claude(server_tool_use={"web_search_requests": 1}))
    # 13,333 x 2.50 / 1e6 + 203 x 12.50 / 1e6 + 0.01
    assert row["cost"] == Decimal("0.045870000")
    # 13,333 x 5 / 1e6 + 203 x 25 / 1e6 + 0.01
    assert row["live"] == Decimal("0.081740000")


def test_searches_of_openais_are_counted_by_usage_body_or_items() -> None:
    item = {"type": "web_search_call", "action": {"type": "search"}}
    opened = {"type": "web_search_call", "action": {"type": "open_page"}}
    told = {"web_search": {"num_requests": 2}}
    usage = {"input_tokens": 1000, "output_tokens": 100, "tool_usage": told}
    # 1,000 x 0.10 / 1e6 + 100 x 0.625 / 1e6 + 2 x 0.01
    for line in (response(tool_usage=told), response(usage=usage), response(item, item, opened)):
        row = billed("openai", RESPONSES, line)
        assert (row["cost"], row["extras"]) == (Decimal("0.020162500"), '{"web_search":2}')


@pytest.mark.parametrize(
    ("provider", "endpoint", "line", "why"),
    [
        ("openai", RESPONSES, response({"type": "code_interpreter_call"}), "code interpreter"),
        ("openai", RESPONSES, response({"type": "image_generation_call"}), "image generation"),
        ("openai", RESPONSES, response({"type": "new_call"}), "new call"),
        (
            "openai",
            RESPONSES,
            response(
                {"type": "web_search_call"}, tools=[{"type": "web_search_preview_2025_03_11"}]
            ),
            "web search preview",
        ),
        ("openai", RESPONSES, response(tool_usage={"maps": {"calls": 3}}), "maps"),
        ("openai", CHAT, chat("gpt-4o-search-preview"), "chat web search"),
        (
            "openai",
            CHAT,
            chat(
                usage={
                    "prompt_tokens": 9,
                    "completion_tokens": 9,
                    "prompt_tokens_details": {"audio_tokens": 5},
                }
            ),
            "audio input tokens",
        ),
        (
            "anthropic",
            MESSAGES,
            claude({"type": "server_tool_use", "name": "bash_code_execution"}),
            "code execution",
        ),
        ("anthropic", MESSAGES, claude(server_tool_use={"maps_requests": 1}), "maps requests"),
        ("anthropic", MESSAGES, claude(inference_geo="eu"), "inference geo eu"),
        (
            "anthropic",
            MESSAGES,
            claude(iterations=[{"type": "advisor_message", "input_tokens": 5, "output_tokens": 5}]),
            "advisor message",
        ),
        (
            "mistral",
            CHAT,
            chat(
                "mistral-small-latest",
                usage={"prompt_tokens": 9, "completion_tokens": 9, "connectors": {"web_search": 2}},
            ),
            "web search",
        ),
        (
            "mistral",
            CHAT,
            chat(
                "mistral-small-latest",
                usage={"prompt_tokens": 9, "completion_tokens": 9, "prompt_audio_seconds": 12},
            ),
            "audio seconds",
        ),
    ],
)
def test_what_has_no_dated_price_makes_the_cost_unknown_and_says_so(
    provider: str, endpoint: str, line: object, why: str
) -> None:
    row = billed(provider, endpoint, line)
    assert (row["status"], row["cost"]) == ("succeeded", None)
    assert row["why"] == f"{why}: no dated price"


def test_what_is_billed_by_tokens_alone_leaves_the_cost_known() -> None:
    free = [{"type": kind} for kind in ("mcp_call", "mcp_list_tools", "reasoning", "computer_call")]
    assert billed("openai", RESPONSES, response(*free))["cost"] == Decimal("0.000162500")
    fetched = claude(server_tool_use={"web_search_requests": 0, "web_fetch_requests": 4})
    assert billed("anthropic", MESSAGES, fetched)["cost"] == Decimal("0.035870000")


@pytest.mark.parametrize(
    ("tier", "dollars", "source"),
    [
        (None, "0.000045000", "batch_price"),  # 1,000 x 0.025 / 1e6 + 100 x 0.20 / 1e6
        ("batch", "0.000045000", "batch_price"),
        ("default", "0.000090000", "standard_price"),
        ("standard", "0.000090000", "standard_price"),
        ("flex", "0.000045000", "flex_price"),
        ("scale", None, "unknown"),
        ("priority", None, "unknown"),
    ],
)
def test_the_tier_that_served_a_row_decides_its_price(
    tier: str | None, dollars: str | None, source: str
) -> None:
    row = billed("openai", CHAT, chat(service_tier=tier))
    assert row["cost"] == (None if dollars is None else Decimal(dollars))
    assert (row["source"], row["live"]) == (source, Decimal("0.000090000"))
    if dollars is None:
        assert row["why"] == f"served as {tier}: no dated price"


def test_a_tier_in_the_usage_counts_too() -> None:
    row = billed("anthropic", MESSAGES, claude(service_tier="standard"))
    # 13,333 x 5 / 1e6 + 203 x 25 / 1e6
    assert row["cost"] == Decimal("0.071740000")
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "service_tier": "standard"}
    row = billed("mistral", CHAT, chat("mistral-small-latest", usage=usage))
    # 1,000 x 0.15 / 1e6 + 100 x 0.60 / 1e6
    assert row["cost"] == Decimal("0.000210000")


def test_tokens_kept_in_the_united_states_cost_a_tenth_more_and_searches_do_not() -> None:
    geo = claude(inference_geo="us", server_tool_use={"web_search_requests": 1})
    # 0.03587 x 1.1 + 0.01
    assert billed("anthropic", MESSAGES, geo)["cost"] == Decimal("0.049457000")
    assert billed("anthropic", MESSAGES, claude(inference_geo="global"))["cost"] == Decimal(
        "0.035870000"
    )


def test_a_compaction_is_billed_although_it_is_counted_apart() -> None:
    rounds = [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 100},
        {"type": "message", "input_tokens": 13333, "output_tokens": 203},
    ]
    row = billed("anthropic", MESSAGES, claude(iterations=rounds))
    assert (row["input_tokens"], row["output_tokens"]) == (14333, 303)
    # 14,333 x 2.50 / 1e6 + 303 x 12.50 / 1e6
    assert row["cost"] == Decimal("0.039620000")


def test_audio_has_a_price_of_its_own_where_there_is_one() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"audio_tokens": 400},
        "completion_tokens_details": {"audio_tokens": 60},
    }
    row = billed("openai", CHAT, chat("gpt-audio", usage=usage, service_tier="default"))
    # 600 x 2.50 + 400 x 32 + 40 x 10 + 60 x 64, / 1e6
    assert row["cost"] == Decimal("0.018540000")


def test_ocr_is_billed_by_the_page_and_dearer_with_annotations() -> None:
    plain = billed("mistral", OCR, ocr())
    assert (plain["cost"], plain["live"]) == (Decimal("0.020000000"), Decimal("0.040000000"))
    asked = billed("mistral", OCR, ocr(document_annotation='{"total": 12.5}'))
    assert (asked["cost"], asked["live"]) == (Decimal("0.025000000"), Decimal("0.050000000"))
    assert json.loads(asked["annotations"]) == {"document": '{"total": 12.5}', "images": []}


@pytest.mark.parametrize(
    ("provider", "model", "batch"),
    [
        ("openai", "gpt-3.5-turbo-1106", (1, 2)),  # its batch price is its live price
        ("mistral", "ministral-3b-latest", ("0.05", "0.05")),
        ("mistral", "ministral-14b-latest", ("0.1", "0.1")),
        ("mistral", "devstral-latest", ("0.2", 1)),
        ("mistral", "mistral-large-latest", ("0.25", "0.75")),
        ("mistral", "open-mistral-nemo-2407", ("0.075", "0.075")),
        ("mistral", "ministral-3b-2410", ("0.02", "0.02")),
        ("anthropic", "claude-mythos-5", (5, 25)),
        ("anthropic", "claude-mythos-5-1", (5, 25)),
    ],
)
def test_names_that_the_published_data_lacks_or_mistakes_have_their_price(
    provider: str, model: str, batch: tuple[object, object]
) -> None:
    price = Prices(ON).find(provider, model)
    [tier] = price.batch
    assert (tier.input, tier.output) == tuple(Decimal(str(one)) for one in batch)
    assert price.as_of is not None


@pytest.mark.parametrize(
    "model", ["codestral-latest", "magistral-medium-latest", "open-mistral-nemo", "ministral-8b"]
)
def test_cached_input_of_mistrals_costs_a_tenth(model: str) -> None:
    price = Prices(ON).find("mistral", model)
    assert price.batch[0].cached_read * 10 == price.batch[0].input
    assert price.live[0].cached_read * 10 == price.live[0].input


def test_a_users_price_of_what_is_used_comes_first() -> None:
    mine = Override(
        input=Decimal(0),
        per_thousand={"code_interpreter": Decimal(30)},
        as_of=ON.date(),
        source="contract",
    )
    line = response({"type": "code_interpreter_call", "container_id": "c"})
    row = billed("openai", RESPONSES, line, prices=Prices(ON, {"gpt-5.4-nano": mine}))
    assert row["cost"] == Decimal("0.030000000")


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not in this checkout")
def test_the_collected_cases_of_money_and_answers_are_right() -> None:
    for case in map(json.loads, CASES.read_text().splitlines()):
        row = billed(case["provider"], case["endpoint"], case["line"])
        right = case["right"]
        if "no success" in right:
            assert (row["failure"], row["cost"] is None) == ("empty", False), case
        elif right.startswith("succeeded"):
            assert (row["status"], row["cost"] is None) == ("succeeded", False), case
        elif "server_error" in right:
            assert (row["failure"], row["error_code"]) == ("errored", "server_error")
        elif "invalid_prompt" in right:
            assert (row["failure"], row["error_code"]) == ("rejected", "invalid_prompt")
