"""Names become codecs and clients in one place, and an SDK is loaded only when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from batch_pipeline.errors import Unauthorized, UsageError
from batch_pipeline.model import PROVIDERS
from batch_pipeline.providers import registry
from batch_pipeline_tests.providers.factories import KEY, make_patience


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_of_the_model_has_a_codec_and_a_client(name: str) -> None:
    assert registry.codec(name).name == name
    assert registry.client(name, {"OPENAI_API_KEY": KEY}).account


def test_a_client_takes_the_patience_it_is_given() -> None:
    client = registry.client("openai", {"OPENAI_API_KEY": KEY}, patience=make_patience(tries=1))
    assert "OpenAIClient" in repr(client)


def test_an_unknown_provider_is_a_usage_error_that_lists_the_known_ones() -> None:
    for ask in (lambda: registry.codec("opnai"), lambda: registry.client("opnai", {})):
        with pytest.raises(UsageError, match=r"'opnai'.*Known providers: openai"):
            ask()


def test_a_missing_key_is_told_by_the_name_of_its_variable() -> None:
    with pytest.raises(Unauthorized, match="OPENAI_API_KEY is not set or empty"):
        registry.client("openai", {})


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
