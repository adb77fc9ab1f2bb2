"""A call that nobody answers says which address that was, and no more of the request."""

from __future__ import annotations

import socket

import pytest

from batch_pipeline.errors import Unavailable
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.registry import Registry
from batch_pipeline_tests.world import KEY


@pytest.mark.parametrize("provider", ["openai", "anthropic", "mistral"])
def test_an_address_that_does_not_answer_is_named(provider: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        port = nobody.getsockname()[1]
        name = provider.upper()
        base = f"http://user:secret@127.0.0.1:{port}/v1"
        env = {f"{name}_API_KEY": KEY, f"{name}_BASE_URL": base}
        client = Registry({}).client(provider, env, patience=Patience(tries=1))
        with pytest.raises(Unavailable) as said:
            client.retrieve("msgbatch_1")
        client.close()
    assert f"no whole answer from http://127.0.0.1:{port} (" in str(said.value)
    assert KEY not in str(said.value)
    assert "secret" not in str(said.value)
