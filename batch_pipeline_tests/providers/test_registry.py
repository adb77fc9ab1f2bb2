"""Names become codecs and clients in one place, and an SDK is loaded only when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batch_pipeline.catalog import OURS
from batch_pipeline.errors import Unauthorized, UsageError
from batch_pipeline.providers.registry import Registry
from batch_pipeline_tests.providers.factories import KEY, make_patience

REGISTRY = Registry()
KEYS = {f"{name.upper()}_API_KEY": KEY for name in OURS}


@pytest.mark.parametrize("name", OURS)
def test_every_provider_of_the_model_has_a_codec_and_a_client(name: str) -> None:
    codec = REGISTRY.codec(name)
    assert codec.name == codec.capabilities.provider == name
    assert REGISTRY.client(name, KEYS).account
    assert REGISTRY.sellers[name] == name
    assert REGISTRY.capabilities(name) is codec.capabilities


def test_a_client_takes_the_patience_it_is_given() -> None:
    client = REGISTRY.client("openai", KEYS, patience=make_patience(tries=1))
    assert "OpenAIClient" in repr(client)


def test_an_unknown_provider_is_a_usage_error_that_lists_the_known_ones() -> None:
    for ask in (lambda: REGISTRY.codec("opnai"), lambda: REGISTRY.client("opnai", {})):
        with pytest.raises(UsageError, match=r"'opnai'.*Did you mean 'openai'\? Known: openai"):
            ask()


@pytest.mark.parametrize("name", OURS)
def test_a_missing_key_is_told_by_the_name_of_its_variable(name: str) -> None:
    with pytest.raises(Unauthorized, match=f"{name.upper()}_API_KEY is not set or empty"):
        REGISTRY.client(name, {})


def test_importing_the_registry_loads_no_sdk() -> None:
    program = (
        "import sys, batch_pipeline.providers.registry\n"
        "print([name for name in ('openai', 'anthropic', 'mistralai', 'httpx2', 'dagster')"
        " if name in sys.modules])"
    )
    loaded = subprocess.run(  # noqa: S603 - our own interpreter on our own text
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
