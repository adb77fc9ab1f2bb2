"""One model's price on a day: the user's override, else the published batch price, else half.

Published prices come from genai-prices, from the data in the installed package alone. The day is
an argument: batch prices are in that data only since 2026-10-14, so ask for the day of the
lookup, not for the day of an old batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Literal, TypeAlias

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from batch_pipeline.prices.overrides import Amounts, Override

PriceSource: TypeAlias = Literal["override", "batch_price", "assumed_half", "unknown"]

PACKAGE = f"genai-prices {version('genai-prices')}"
"""Where published prices come from, for reports."""

_BATCH = {"processing": "batch"}
_SNAPSHOT_DATE = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")
_HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Tier:
    """US dollars per million tokens, for requests of more than *above* input tokens."""

    above: int
    input: Decimal
    cached_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    output: Decimal

    def times(self, share: Decimal) -> Tier:
        """This tier at *share* of its prices."""
        return Tier(
            self.above,
            self.input * share,
            self.cached_read * share,
            self.cache_write * share,
            self.cache_write_1h * share,
            self.output * share,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs in a batch and live; no tiers where unknown. Tiers ascend from -1."""

    source: PriceSource
    batch: tuple[Tier, ...] = ()
    live: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices on one day, with the user's overrides first."""

    on: datetime
    overrides: Mapping[str, Override] = field(default_factory=dict)
    sellers: Mapping[str, str | None] = field(default_factory=dict)
    """Under which name genai-prices has a service's prices; None: it has none."""

    def find(self, provider: str, model: str) -> Price:
        """The price of *model*; a dated snapshot without a price of its own has its family's."""
        names = (model, _SNAPSHOT_DATE.sub("", model))
        published = next(
            (found for name in names if (found := self._published(provider, name))), None
        )
        override = next((self.overrides[name] for name in names if name in self.overrides), None)
        if override is not None:
            live = (_flat(override.live),) if override.live else published.live if published else ()
            return Price("override", (_flat(override),), live)
        return published or Price("unknown")

    def _published(self, provider: str, model: str) -> Price | None:
        seller = self.sellers.get(provider, provider)
        if seller is None:
            return None
        try:
            _, info = _bundled().find_provider_model(model, None, seller, None)
        except LookupError:
            return None
        live = _tiers(info.get_prices(self.on))
        if not live:
            return None
        if _has_batch_price(info, self.on):
            return Price("batch_price", _tiers(info.get_prices(self.on, _BATCH)), live)
        return Price("assumed_half", tuple(tier.times(_HALF) for tier in live), live)


def _bundled() -> DataSnapshot:
    return get_snapshot()


def _has_batch_price(info: ModelInfo, on: datetime) -> bool:
    """Whether the data names a batch price of input tokens: asking for one does not tell."""
    return any(
        variant.when == _BATCH
        and (variant.constraint is None or variant.constraint.active(on))
        and variant.prices.input_mtok is not None
        for variant in info.price_variants or ()
    )


def _tiers(price: ModelPrice) -> tuple[Tier, ...]:
    """The price per range of input tokens; crossing a start reprices all tokens of a request."""
    columns = (
        *(price.input_mtok, price.cache_read_mtok, price.cache_write_mtok),
        *(price.cache_write_1h_mtok, price.output_mtok),
    )
    if price.input_mtok is None:
        return ()
    starts = {
        tier.start
        for column in columns
        if isinstance(column, TieredPrices)
        for tier in column.tiers
    }
    return tuple(_tier(above, columns) for above in (-1, *sorted(starts)))


def _tier(above: int, columns: tuple[Decimal | TieredPrices | None, ...]) -> Tier:
    """One tier; cached tokens without a price of their own cost what other input costs."""
    prompt, cached, write, hour, output = (_at(column, above) for column in columns)
    prompt = prompt or Decimal(0)
    write = prompt if write is None else write
    return Tier(
        above,
        prompt,
        prompt if cached is None else cached,
        write,
        write if hour is None else hour,
        output or Decimal(0),
    )


def _at(column: Decimal | TieredPrices | None, above: int) -> Decimal | None:
    if not isinstance(column, TieredPrices):
        return column
    reached = [tier.price for tier in column.tiers if tier.start <= above]
    return reached[-1] if reached else column.base


def _flat(said: Amounts) -> Tier:
    cached, hour = said.cached_read, said.cache_write_1h
    write = said.input if said.cache_write is None else said.cache_write
    return Tier(
        -1,
        said.input,
        said.input if cached is None else cached,
        write,
        write if hour is None else hour,
        said.output,
    )
