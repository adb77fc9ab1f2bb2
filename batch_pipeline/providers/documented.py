"""Capabilities as people read them: pages for docs/providers, one per provider.

`python -m batch_pipeline.providers.documented docs/providers` writes them; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from batch_pipeline.catalog import OURS
from batch_pipeline.providers.capabilities import FEATURES, Capabilities, Fact
from batch_pipeline.providers.registry import Registry


def page(known: Capabilities) -> str:
    """The provider's page in Markdown."""
    return "\n".join(_lines(known)) + "\n"


def _lines(known: Capabilities) -> Iterator[str]:
    yield f"# {known.title}"
    where = (
        f"Generated from `batch_pipeline/providers/{known.provider}/facts.py` by `make docs`; "
        f"`batch-pipeline providers {known.provider}` prints the same. "
    )
    yield f"{where if known.provider in OURS else ''}The key is read from `{known.key_variable}`."
    yield "\n## What it does"
    yield "| | | source |\n|---|---|---|"
    for topic, fact in known.facts.items():
        yield f"| {topic.replace('_', ' ')} | {_cell(fact.says)} | {_source(fact)} |"
    yield "\n## Endpoints and what one shard holds"
    yield "| endpoint | for | requests | bytes |\n|---|---|--:|--:|"
    for endpoint, purpose in known.endpoints.items():
        most = known.limits[endpoint]
        yield f"| `{endpoint}` | {_cell(purpose)} | {most.requests:,} | {most.bytes:,} |"
    for endpoint, most in known.disputed.items():
        yield (
            f"\nOther sources allow `{endpoint}` {most.requests:,} requests and {most.bytes:,} "
            "bytes: `shard.max_requests` and `shard.max_bytes` of a job reach up to there."
        )
    yield "\n## What a request may say"
    yield f"| | {' | '.join(f'`{name}`' for name in known.endpoints)} | else |"
    yield f"|---|{'---|' * len(known.endpoints)}---|"
    for feature in FEATURES:
        taken = ["yes" if feature in known.takes[name] else "" for name in known.endpoints]
        yield f"| `{feature}` | {' | '.join(taken)} | {_cell(known.notes.get(feature, ''))} |"
    if known.caveats:
        yield "\n## Caveats"
        yield from (f"- {fact.says} ({_source(fact)})" for fact in known.caveats)


def _source(fact: Fact) -> str:
    return f"[{fact.checked}]({fact.link})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(folder: Path) -> None:
    """Write every provider's page into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in OURS:
        text = page(Registry().capabilities(name))
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
