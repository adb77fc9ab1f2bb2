"""The only place that maps a provider's name to its codec and client; SDKs load when used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from batch_pipeline.errors import UsageError
from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Codec

_Made = TypeVar("_Made")


def codec(name: str) -> Codec:
    """The wire format of provider *name*; UsageError when there is none."""
    return _named(name, _CODECS)()


def client(name: str, env: Mapping[str, str], *, patience: Patience | None = None) -> Client:
    """The client of provider *name* for the key in *env*.

    Raises UsageError for an unknown name, Unauthorized when the key is missing.
    """
    return _named(name, _CLIENTS)(env, patience)


def _openai_codec() -> Codec:
    from batch_pipeline.providers.openai_wire import OpenAIWire  # noqa: PLC0415 - loads when used

    return OpenAIWire()


def _openai_client(env: Mapping[str, str], patience: Patience | None) -> Client:
    from batch_pipeline.providers.openai import OpenAIClient  # noqa: PLC0415 - the SDK is heavy

    return OpenAIClient.from_env(env, patience=patience)


_CODECS: dict[str, Callable[[], Codec]] = {"openai": _openai_codec}
_CLIENTS: dict[str, Callable[[Mapping[str, str], Patience | None], Client]] = {
    "openai": _openai_client
}


def _named(name: str, known: Mapping[str, _Made]) -> _Made:
    if name not in known:
        names = ", ".join(sorted(known))
        raise UsageError(f"provider {name!r} is not known. Known providers: {names}.")
    return known[name]
