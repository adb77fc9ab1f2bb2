"""One model's price on a day: the user's override, else the published batch price, else half.

What genai-prices lacks or takes for another model is in `known.py`, with its date and source.

Published prices come from genai-prices, from the data in the installed package alone. The day is
an argument: batch prices are in that data only since 2026-10-14, so ask for the day of the
lookup, not for the day of an old batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Literal, TypeAlias

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
)

from batch_pipeline.prices import known
from batch_pipeline.prices.overrides import Amounts, Override

PriceSource: TypeAlias = Literal["override", "batch_price", "own_table", "assumed_half", "unknown"]
Served: TypeAlias = Literal["batch", "standard", "flex", "priority", "fast"]
"""How a row was served, which decides its price: not every row of a batch is served as one."""

PACKAGE = f"genai-prices {version('genai-prices')}"
"""Where published prices come from, for reports."""

_BATCH = {"processing": "batch"}
_OTHERS: Mapping[Served, tuple[dict[str, str], ...]] = {
    "flex": ({"service_tier": "flex"},),
    "priority": ({"service_tier": "priority"},),
    "fast": ({"speed": "fast"}, {"service_tier": "fast"}),
}
_EACH = {  # dollars per thousand in genai-prices, by our name for what is used
    "web_search": "web_searches_kcount",
    "file_search": "storage_searches_kcount",
    "ocr_pages": "input_document_kpages",
    "ocr_annotated_pages": "input_annotated_document_kpages",
}
_PAGES = frozenset({"ocr_pages", "ocr_annotated_pages"})
_AUDIO = {"audio_input": "input_audio_mtok", "audio_output": "output_audio_mtok"}
_THOUSAND = Decimal(1000)
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
    audio_input: Decimal | None = None  # unknown, where None
    audio_output: Decimal | None = None

    def times(self, share: Decimal) -> Tier:
        """This tier at *share* of its prices."""
        return Tier(
            self.above,
            self.input * share,
            self.cached_read * share,
            self.cache_write * share,
            self.cache_write_1h * share,
            self.output * share,
            None if self.audio_input is None else self.audio_input * share,
            None if self.audio_output is None else self.audio_output * share,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs in a batch and live; no tiers where unknown. Tiers ascend from -1."""

    source: PriceSource
    batch: tuple[Tier, ...] = ()
    live: tuple[Tier, ...] = ()
    others: Mapping[Served, tuple[Tier, ...]] = field(default_factory=dict)
    each: Mapping[str, Decimal] = field(default_factory=dict)  # dollars per use, in a batch
    live_each: Mapping[str, Decimal] = field(default_factory=dict)
    us_inference: Decimal | None = None  # what tokens cost more when they are kept in the US
    as_of: date | None = None  # since when the price is known

    def tiers(self, served: Served) -> tuple[Tier, ...]:
        """The tiers of a row that was served so."""
        if served == "batch":
            return self.batch
        return self.live if served == "standard" else self.others.get(served, ())

    @property
    def by_page(self) -> bool:
        """Whether pages are billed, and no tokens."""
        return not self.batch and bool(_PAGES & set(self.each))


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
            each = {name: dollars / _THOUSAND for name, dollars in override.per_thousand.items()}
            found = published or Price("unknown")
            return replace(
                found,
                source="override",
                batch=(_flat(override),),
                live=live,
                each=dict(found.each) | each,
                live_each=dict(found.live_each) | each,
                as_of=override.as_of,
            )
        return published or Price("unknown")

    def _published(self, provider: str, model: str) -> Price | None:
        seller = self.sellers.get(provider, provider)
        if seller is None:
            return None
        ours = known.MODELS.get((seller, model))
        if ours is not None:
            return _ours(seller, ours)
        alias = known.ALIASES.get((seller, model))
        try:
            name = model if alias is None else alias.model
            _, info = _bundled().find_provider_model(name, None, seller, None)
        except LookupError:
            return None
        return self._of(seller, info)

    def _of(self, seller: str, info: ModelInfo) -> Price | None:
        """What genai-prices says of a model, by token or by page."""
        standard, share = info.get_prices(self.on), known.CACHED.get(seller)
        live, each = _tiers(standard, share), _each(standard)
        published = _has_variant(info, self.on, _BATCH)
        if not live and not each.keys() & _PAGES:
            return None
        batch = info.get_prices(self.on, _BATCH) if published else standard
        half = Decimal(1) if published else _HALF
        others: dict[Served, tuple[Tier, ...]] = {
            served: _tiers(info.get_prices(self.on, when), share)
            for served, whens in _OTHERS.items()
            for when in whens
            if _has_variant(info, self.on, when)
        }
        surcharge = known.US_INFERENCE.get(seller)
        return Price(
            "batch_price" if published else "assumed_half",
            tuple(tier.times(half) for tier in _tiers(batch, share)),
            live,
            others,
            dict(known.EACH.get(seller, {}))
            | {name: one * (half if name in _PAGES else 1) for name, one in _each(batch).items()},
            dict(known.EACH.get(seller, {})) | each,
            None if surcharge is None else surcharge.share,
            data_date(self.on.date()),
        )


def _ours(seller: str, ours: known.Known) -> Price:
    live = Tier(
        -1, ours.input, ours.cached_read, ours.cache_write, ours.cache_write_1h, ours.output
    )
    each = {**known.EACH.get(seller, {}), **ours.each}
    surcharge = known.US_INFERENCE.get(seller)
    return Price(
        "own_table",
        (live.times(ours.batch_share),),
        (live,),
        {},
        each,
        each,
        None if surcharge is None else surcharge.share,
        ours.as_of,
    )


@cache
def data_date(until: date) -> date | None:
    """The latest day, up to *until*, that the data of genai-prices names: it is no older."""
    days = [
        part.constraint.start_date
        for provider in _bundled().providers
        for info in provider.models
        for part in (*_conditional(info), *(info.price_variants or ()))
        if isinstance(part.constraint, StartDateConstraint)
    ]
    return max((day for day in days if day <= until), default=None)


def _conditional(info: ModelInfo) -> list[ConditionalPrice]:
    return info.prices if isinstance(info.prices, list) else []


def _bundled() -> DataSnapshot:
    return get_snapshot()


def _has_variant(info: ModelInfo, on: datetime, when: Mapping[str, str]) -> bool:
    """Whether the data names such a price: asking for one does not tell.

    One without amounts of its own says that they are the same as outside.
    """
    return any(
        variant.when == when and (variant.constraint is None or variant.constraint.active(on))
        for variant in info.price_variants or ()
    )


def _each(price: ModelPrice) -> dict[str, Decimal]:
    found = {name: getattr(price, theirs, None) for name, theirs in _EACH.items()}
    return {name: one / _THOUSAND for name, one in found.items() if isinstance(one, Decimal)}


def _tiers(price: ModelPrice, share: known.Share | None = None) -> tuple[Tier, ...]:
    """The price per range of input tokens; crossing a start reprices all tokens of a request."""
    columns = (
        *(price.input_mtok, price.cache_read_mtok, price.cache_write_mtok),
        *(price.cache_write_1h_mtok, price.output_mtok),
        *(getattr(price, theirs, None) for theirs in _AUDIO.values()),
    )
    if price.input_mtok is None:
        return ()
    starts = {
        tier.start
        for column in columns
        if isinstance(column, TieredPrices)
        for tier in column.tiers
    }
    return tuple(_tier(above, columns, share) for above in (-1, *sorted(starts)))


def _tier(
    above: int, columns: tuple[Decimal | TieredPrices | None, ...], share: known.Share | None
) -> Tier:
    """One tier; cached tokens without a price of their own cost *share* of other input, or all."""
    prompt, cached, write, hour, output, *audio = (_at(column, above) for column in columns)
    prompt = prompt or Decimal(0)
    if cached is None and share is not None:
        cached = prompt * share.share
    write = prompt if write is None else write
    return Tier(
        above,
        prompt,
        prompt if cached is None else cached,
        write,
        write if hour is None else hour,
        output or Decimal(0),
        *audio,
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
