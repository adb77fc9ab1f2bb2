"""Providers and services by name: their wire formats, and clients made when something needs one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from batch_pipeline.providers.patience import Patience
from batch_pipeline.providers.protocol import Client, Codec
from batch_pipeline.providers.registry import Registry


@dataclass(frozen=True)
class Clients:
    """A shard's `provider` names whose codec and client it needs: a provider, or a service.

    A client wants a key and loads an SDK, so none is made before it is needed.
    """

    registry: Registry
    env: Mapping[str, str]
    now: Callable[[], datetime]
    patience: Patience
    _made: dict[str, Client] = field(default_factory=dict, repr=False)

    def codec(self, provider: str) -> Codec:
        """The wire format; needs no key."""
        return self.registry.codec(provider)

    def client(self, provider: str) -> Client:
        """The client, the same one each time."""
        if provider not in self._made:
            made = self.registry.client(provider, self.env, patience=self.patience)
            self._made[provider] = made
        return self._made[provider]

    def made_client(self, provider: str) -> Client | None:
        """The client if something needed it already: some things are no reason to make one."""
        return self._made.get(provider)

    def there(self, provider: str) -> datetime:
        """The provider's own time, as its last answer told it; ours before it told any.

        Ask right after a call: what a provider says of its windows is judged by its clock.
        """
        return self.client(provider).clock.now() or self.now()

    def tells_time(self, provider: str) -> bool:
        """Whether the provider told its time at all."""
        return self.client(provider).clock.now() is not None

    def close(self) -> None:
        """Give back their connections."""
        while self._made:
            self._made.popitem()[1].close()
