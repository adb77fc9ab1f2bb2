"""Our own dated prices, beside genai-prices: what it lacks, and names it takes for another model.

Each entry says since when it is known and who says it. A price without a source is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that is billed as *model*, which genai-prices knows."""

    model: str
    as_of: date
    source: str


@dataclass(frozen=True, slots=True)
class Known:
    """US dollars per million tokens outside a batch, and the share of it that a batch costs."""

    input: Decimal
    cached_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    output: Decimal
    batch_share: Decimal
    as_of: date
    source: str
    each: Mapping[str, Decimal] = field(default_factory=dict)  # dollars per use


@dataclass(frozen=True, slots=True)
class Share:
    """A part of another price, by a provider's rule for all its models."""

    share: Decimal
    as_of: date
    source: str


_MISTRAL = "https://docs.mistral.ai/getting-started/models, the dated name behind the alias"
_LOOKED = date(2026, 11, 25)

ALIASES: Mapping[tuple[str, str], Alias] = {
    ("mistral", name): Alias(model, _LOOKED, _MISTRAL)
    for name, model in {
        "ministral-3b-latest": "ministral-3b-2512",
        "ministral-14b-latest": "ministral-14b-2512",
        "devstral-latest": "devstral-2512",
        "devstral-medium-latest": "devstral-2512",
        "mistral-large-latest": "mistral-large-2512",
        "open-mistral-nemo-2407": "open-mistral-nemo",
        "ministral-3b-2410": "ministral-3b",
        "mistral-ocr-2503-completion": "mistral-ocr-2503",
        "mistral-ocr-2505-completion": "mistral-ocr-2505",
        "mistral-ocr-2512-completion": "mistral-ocr-2512",
    }.items()
}
"""(seller, name that answers echo) -> what it is billed as."""

_ANTHROPIC = "https://platform.claude.com/docs/en/about-claude/pricing"
_FABLE_5 = Known(
    input=Decimal(10),
    cached_read=Decimal(1),
    cache_write=Decimal("12.5"),
    cache_write_1h=Decimal(20),
    output=Decimal(50),
    batch_share=Decimal("0.5"),
    as_of=_LOOKED,
    source=_ANTHROPIC,
    each={"web_search": Decimal("0.01")},
)
_FABLE_5_1 = Known(
    input=Decimal(10),
    cached_read=Decimal("0.25"),
    cache_write=Decimal("12.5"),
    cache_write_1h=Decimal(20),
    output=Decimal(50),
    batch_share=Decimal("0.5"),
    as_of=_LOOKED,
    source=_ANTHROPIC,
    each={"web_search": Decimal("0.01")},
)

MODELS: Mapping[tuple[str, str], Known] = {
    ("anthropic", "claude-mythos-5"): _FABLE_5,
    ("anthropic", "claude-mythos-5-1"): _FABLE_5_1,
}
"""Models that genai-prices does not know."""

CACHED: Mapping[str, Share] = {
    "mistral": Share(
        Decimal("0.1"),
        _LOOKED,
        "https://docs.mistral.ai/inference/conversations/advanced/prompt-caching",
    )
}
"""What cached input costs of plain input, where a model's own price does not say."""

US_INFERENCE: Mapping[str, Share] = {
    "anthropic": Share(
        Decimal("1.1"), _LOOKED, "https://platform.claude.com/docs/en/manage-claude/data-residency"
    )
}
"""What tokens cost that were served in the United States by wish, of what they cost else."""

EACH: Mapping[str, Mapping[str, Decimal]] = {
    # https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-fetch-tool: no extra cost
    "anthropic": {"web_fetch": Decimal(0)},
}
"""Uses that cost the same with every model of a seller; 2026-11-25."""
