from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from batch_pipeline.prices.find import PACKAGE, Prices, Tier
from batch_pipeline.prices.overrides import Amounts, Override

ON = datetime(2026, 11, 21, tzinfo=UTC)
BEFORE_BATCH_PRICES = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ["gpt-5-nano", "gpt-4o-mini", "gpt-4.1", "gpt-5.4", "text-embedding-3-small", "gpt-5-pro"]


def test_a_published_batch_price_is_used() -> None:
    price = Prices(ON).find("openai", "gpt-5-nano")
    assert price.source == "batch_price"
    (tier,) = price.batch
    assert (tier.input, tier.output) == (Decimal("0.025"), Decimal("0.2"))
    assert tier.cached_read == Decimal("0.0025")
    assert price.live[0].input == Decimal("0.05")


def test_a_dated_snapshot_has_its_models_price() -> None:
    prices = Prices(ON)
    assert prices.find("openai", "gpt-5-nano-2025-08-07") == prices.find("openai", "gpt-5-nano")
    assert prices.find("openai", "gpt-5.4-mini-2031-01-01").source == "batch_price"


@pytest.mark.parametrize(
    ("model", "on"), [("text-embedding-3-small", ON), ("gpt-5-nano", BEFORE_BATCH_PRICES)]
)
def test_without_a_batch_price_half_of_the_live_price_is_assumed_and_said(
    model: str, on: datetime
) -> None:
    price = Prices(on).find("openai", model)
    assert price.source == "assumed_half"
    assert price.batch[0].input * 2 == price.live[0].input


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-nope"), ("nobody", "gpt-5-nano")])
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    price = Prices(ON).find(provider, model)
    assert (price.source, price.batch, price.live) == ("unknown", (), ())


def test_a_model_priced_by_the_hour_has_no_price_per_token() -> None:
    assert Prices(ON).find("openai", "whisper-1").source == "unknown"


def test_the_users_price_comes_first_and_covers_snapshots() -> None:
    mine = Override(input=Decimal(1), output=Decimal(2), as_of=ON.date(), source="contract")
    price = Prices(ON, {"gpt-5-nano": mine}).find("openai", "gpt-5-nano-2025-08-07")
    assert price.source == "override"
    one = Decimal(1)
    assert price.batch == (Tier(-1, one, one, one, one, Decimal(2)),)
    assert price.live[0].input == Decimal("0.05")


def test_the_users_live_price_comes_first_too() -> None:
    live = Amounts(input=Decimal(3), cached_read=Decimal(0))
    mine = Override(input=Decimal(1), live=live, as_of=ON.date(), source="contract")
    price = Prices(ON, {"my-model": mine}).find("openai", "my-model")
    assert (price.live[0].input, price.live[0].cached_read) == (Decimal(3), Decimal(0))
    bare = Override(input=Decimal(1), as_of=ON.date(), source="contract")
    assert Prices(ON, {"my-model": bare}).find("openai", "my-model").live == ()


def test_the_package_of_published_prices_is_named_with_its_version() -> None:
    assert PACKAGE.startswith("genai-prices 0.")


@given(
    model=st.sampled_from(MODELS),
    tokens=st.integers(0, 400_000),
    share=st.floats(0, 1),
    output=st.integers(0, 50_000),
)
def test_our_tiers_agree_with_the_packages_own_arithmetic(
    model: str, tokens: int, share: float, output: int
) -> None:
    cached = int(tokens * share)
    price = Prices(ON).find("openai", model)
    tier = [tier for tier in price.batch if tier.above < tokens or tier.above == -1][-1]
    ours = (tokens - cached) * tier.input + cached * tier.cached_read + output * tier.output
    context = {"processing": "batch"} if price.source == "batch_price" else None
    theirs = calc_price(
        Usage(input_tokens=tokens, cache_read_tokens=cached, output_tokens=output),
        model,
        provider_id="openai",
        genai_request_timestamp=ON,
        price_context=context,
    ).total_price
    assert ours / 10**6 == (theirs if context else theirs / 2)


def test_what_is_kept_for_an_hour_costs_more_to_write() -> None:
    [tier] = Prices(ON).find("anthropic", "claude-haiku-4-5").batch
    assert tier.cache_write_1h > tier.cache_write > tier.input


def test_a_service_has_the_prices_it_names_and_no_others() -> None:
    prices = Prices(ON, sellers={"gateway": "openai", "house": None})
    assert prices.find("gateway", "gpt-5-nano") == prices.find("openai", "gpt-5-nano")
    assert prices.find("house", "gpt-5-nano").source == "unknown"
