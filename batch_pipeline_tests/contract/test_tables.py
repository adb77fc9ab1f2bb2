"""What the documents say of providers and failures is what the code and the tests say."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from batch_pipeline.catalog import OURS
from batch_pipeline.providers.capabilities import FEATURES, TOPICS
from batch_pipeline.providers.documented import page
from batch_pipeline_tests.contract.cases import CASES, Case

ROOT = Path(__file__).parents[2]
FAILURES = ROOT / "docs" / "failure_table.md"
ROWS = 32


def test_every_provider_is_under_contract() -> None:
    assert tuple(case.provider for case in CASES) == OURS
    for case in CASES:
        assert set(case.models) == set(case.sdk) == set(case.record.endpoints)


def test_every_topic_is_told_with_a_link_and_the_day_somebody_looked(case: Case) -> None:
    known = case.codec.capabilities
    assert set(known.facts) == set(TOPICS)
    for fact in (*known.facts.values(), *known.caveats):
        assert fact.says
        assert urlsplit(fact.link).scheme == "https"
        assert "." in urlsplit(fact.link).netloc
        assert date.fromisoformat(fact.checked) > date(2026, 1, 1)


def test_a_table_knows_its_endpoints_their_limits_and_only_features_there_are(case: Case) -> None:
    known = case.codec.capabilities
    endpoints = set(case.record.endpoints)
    assert known.provider == case.provider
    assert set(known.endpoints) == set(known.limits) == set(known.takes) == endpoints
    assert set(known.disputed) <= endpoints
    assert set(known.notes) <= set(FEATURES)
    for endpoint in endpoints:
        assert case.codec.limits(endpoint) == known.limits[endpoint]
        assert known.takes[endpoint] <= set(FEATURES)
        loose, strict = known.disputed.get(endpoint), known.limits[endpoint]
        assert loose is None or (loose.requests, loose.bytes) > (strict.requests, strict.bytes)


def test_the_page_of_a_provider_is_its_table(case: Case) -> None:
    written = ROOT / "docs" / "providers" / f"{case.provider}.md"
    assert written.read_text(encoding="utf-8") == page(case.codec.capabilities), "run `make docs`"


def test_the_failure_table_has_every_row_and_names_tests_that_exist() -> None:
    text = FAILURES.read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (\d+) \|(.*)\|$", text)
    assert len(rows) >= ROWS
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    files = (ROOT / "batch_pipeline_tests").rglob("test_*.py")
    there = {
        name
        for path in files
        for name in re.findall(r"(?m)^def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    for number, row in rows:
        spoken = re.findall(r"`(test_\w+)`", row)
        assert spoken, f"row {number} names no test"
        assert set(spoken) <= there, f"row {number}: {set(spoken) - there}"
    assert set(re.findall(r"`(test_\w+)`", text)) <= there
